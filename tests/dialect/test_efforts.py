from __future__ import annotations

import pytest

from apipod_proxy.dialect.anthropic.names import efforts_of as efforts_of_claude
from apipod_proxy.dialect.efforts import BUDGETS, ORDER, USUAL, asked, nearest, of_budget
from apipod_proxy.dialect.vocabulary import Reasoning


@pytest.mark.parametrize(
    ("reasoning", "word"),
    [
        (Reasoning(), None),
        (Reasoning(enabled=True, adaptive=True), None),
        (Reasoning(budget=-1), None),
        (Reasoning(budget=0), "none"),
        (Reasoning(enabled=False, effort="high"), "none"),
        (Reasoning(effort="none"), "none"),
        (Reasoning(enabled=True, effort="xhigh", budget=1024), "xhigh"),
        (Reasoning(enabled=True, budget=1024), "low"),
        (Reasoning(enabled=True, budget=8192), "medium"),
        (Reasoning(enabled=True, budget=31_999), "high"),
    ],
)
def test_what_is_asked_is_one_word(reasoning: Reasoning, word: str | None) -> None:
    assert asked(reasoning) == word


@pytest.mark.parametrize("word", USUAL)
def test_an_effort_survives_a_budget(word: str) -> None:
    assert of_budget(BUDGETS[word]) == word


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("low", USUAL, "low"),
        ("minimal", USUAL, "low"),
        ("minimal", ("none", *USUAL), "low"),
        ("max", USUAL, "high"),
        ("xhigh", ("low", "medium", "high", "max"), "high"),
        ("medium", ("low", "high"), "low"),
        ("low", ("medium",), "medium"),
        ("none", ("none", *USUAL), "none"),
        ("none", USUAL, None),
        ("low", (), None),
        ("low", ("none",), None),
        ("ultra", USUAL, None),
    ],
)
def test_the_nearest_word_that_a_model_knows(word: str, known: tuple[str, ...], expected: str | None) -> None:
    assert nearest(word, known) == expected


def test_words_of_claude_are_words() -> None:
    for model in ("claude-opus-4-6", "claude-opus-4-7", "claude-sonnet-5"):
        assert set(efforts_of_claude(model)) <= set(ORDER)
    assert "xhigh" not in efforts_of_claude("claude-opus-4-6")
    assert "xhigh" in efforts_of_claude("claude-opus-5")
