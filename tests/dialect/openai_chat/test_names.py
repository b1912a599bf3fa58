from __future__ import annotations

import pytest

from apipod_proxy.dialect.openai_chat.names import (
    FORMAT_OF,
    FORMATS,
    REASONS,
    WORDS,
    effort_of,
    effort_of_budget,
    fixed_sampling,
    thinks,
    thinks_without_tools,
)
from apipod_proxy.dialect.vocabulary import Reasoning, StopReason


def test_every_reason_has_a_word_and_openais_words_come_back() -> None:
    assert set(WORDS) == set(StopReason)
    for word in ("stop", "length", "tool_calls", "content_filter"):
        assert WORDS[REASONS[word]] == word
    assert all(WORDS[reason] in REASONS for reason in StopReason)
    assert {name: FORMAT_OF[dialect] for name, dialect in FORMATS.items()} == {name: name for name in FORMATS}


@pytest.mark.parametrize(
    ("budget", "effort"), [(0, "none"), (1024, "minimal"), (2048, "low"), (8192, "medium"), (24576, "high")]
)
def test_a_budget_is_an_effort(budget: int, effort: str) -> None:
    assert effort_of_budget(budget) == effort
    assert effort_of(Reasoning(enabled=True, budget=budget), own=False) == effort


def test_the_highest_efforts_are_only_for_those_who_asked_in_this_dialect() -> None:
    assert effort_of(Reasoning(effort="max"), own=False) == "high"
    assert effort_of(Reasoning(effort="xhigh"), own=True) == "xhigh"
    assert effort_of(Reasoning(enabled=False, effort="high"), own=False) == "none"
    assert effort_of(Reasoning(adaptive=True, enabled=True), own=False) is None
    assert effort_of(Reasoning(budget=-1), own=False) is None


@pytest.mark.parametrize(
    ("model", "known", "expected"),
    [
        ("gpt-4o", None, False),
        ("openai/gpt-4.1", None, False),
        ("gpt-5", None, True),
        ("gpt-4o", True, True),
        ("gpt-5", False, False),
        ("qwen3", None, True),
    ],
)
def test_models_that_never_think_are_known(model: str, known: bool | None, expected: bool) -> None:
    assert thinks(model, known) is expected


@pytest.mark.parametrize(
    ("model", "fixed", "divided"),
    [
        ("gpt-4.1", False, False),
        ("gpt-4o", False, False),
        ("gpt-oss-120b", False, False),
        ("o1", True, False),
        ("o4-mini", True, False),
        ("omni-moderation", False, False),
        ("gpt-5", True, False),
        ("gpt-5-chat-latest", False, False),
        ("gpt-5.1", True, False),
        ("gpt-5.2-chat-latest", True, False),
        ("gpt-5.2-2025-12-11", True, True),
        ("gpt-5.10", True, True),
        ("gpt-6-mini", True, True),
        ("openai/gpt-5.2", False, False),
    ],
)
def test_the_name_tells_what_a_model_of_openai_refuses(model: str, fixed: bool, divided: bool) -> None:
    assert (fixed_sampling(model), thinks_without_tools(model)) == (fixed, divided)
