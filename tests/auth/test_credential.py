"""Where a key is looked for, in which order, and what is no key."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from apipod_proxy.auth import credential

ALL = {"authorization": "Bearer B", "x-api-key": "X", "x-goog-api-key": "G"}

CASES: list[tuple[str, dict[str, str], dict[str, str], str | None]] = [
    ("openai_chat", ALL, {"key": "Q"}, "B"),
    ("openai_responses", ALL, {}, "B"),
    ("anthropic", ALL, {"key": "Q"}, "X"),
    ("gemini", ALL, {"key": "Q"}, "G"),
    ("gemini", {"authorization": "Bearer B"}, {"key": "Q"}, "Q"),
    ("gemini", {"authorization": "Bearer B"}, {}, "B"),
    ("gemini", {"x-api-key": "X"}, {}, "X"),
    ("anthropic", {"authorization": "Bearer B"}, {}, "B"),
    ("anthropic", {"x-goog-api-key": "G"}, {}, "G"),
    ("openai_chat", {"x-api-key": "X"}, {}, "X"),
    ("openai_chat", {}, {"key": "Q"}, None),
    ("openai_chat", {}, {}, None),
    ("openai_chat", {"authorization": "bearer   B "}, {}, "B"),
    ("openai_chat", {"authorization": "BEARER B"}, {}, "B"),
    ("openai_chat", {"authorization": "Basic abc", "x-api-key": "X"}, {}, "X"),
    ("openai_chat", {"authorization": "Basic abc"}, {}, None),
    ("openai_chat", {"authorization": "Bearer", "x-api-key": "X"}, {}, "X"),
    ("openai_chat", {"authorization": "", "x-api-key": " "}, {}, None),
    ("anthropic", {"x-api-key": "", "authorization": "Bearer B"}, {}, "B"),
    ("unheard_of", ALL, {}, "B"),
]


@pytest.mark.parametrize(("dialect", "headers", "query", "expected"), CASES)
def test_the_first_key_in_the_order_of_the_dialect_counts(
    dialect: str, headers: dict[str, str], query: dict[str, str], expected: str | None
) -> None:
    assert credential(dialect, headers, query) == expected
    assert (
        credential(dialect, CIMultiDict({name.title(): value for name, value in headers.items()}), query)
        == expected
    )
