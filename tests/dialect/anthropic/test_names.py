from __future__ import annotations

import pytest

from apipod_proxy.dialect.anthropic.names import REASONS, WORDS, adapts, fixed_sampling, version
from apipod_proxy.dialect.vocabulary import StopReason


def test_reasons_and_words_are_inverse() -> None:
    assert set(WORDS) == set(StopReason)
    assert {word: REASONS[WORDS[reason]] for word, reason in REASONS.items()} == dict(REASONS)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-6", (4, 6)),
        ("claude-sonnet-4-5-20250929", (4, 5)),
        ("anthropic/claude-opus-4.7", (4, 7)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-haiku-5", (5, 0)),
        ("claude-3-7-sonnet-latest", (0, 0)),
        ("some-model", (0, 0)),
    ],
)
def test_the_version_is_read_from_the_name(model: str, expected: tuple[int, int]) -> None:
    assert version(model) == expected
    assert adapts(model) is (expected >= (4, 6))
    assert fixed_sampling(model) is (expected >= (4, 7))
