"""How hard a model is asked to think: the words in their order, and the budgets of tokens that stand for them elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apipod_proxy.dialect.vocabulary import Reasoning

ORDER = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
USUAL = ("low", "medium", "high")
"""What every model takes that takes an effort at all, but for a few that have only one."""

BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32000,
    "max": 48000,
}
"""Thinking tokens for an effort."""


def asked(reasoning: Reasoning) -> str | None:
    """The word for what is asked, ``none`` for no thinking; None where the model is left to itself."""
    if reasoning.off:
        return "none"
    if reasoning.effort is not None:
        return reasoning.effort
    return of_budget(reasoning.budget) if reasoning.budget is not None and reasoning.budget > 0 else None


def of_budget(budget: int) -> str:
    """The effort nearest to a budget. The two highest are for those who say them: a large budget is a ceiling, not a wish."""
    return "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"


def nearest(effort: str, known: Sequence[str]) -> str | None:
    """``effort``, or the nearest that a model knows, the lower one of two. None where it knows none, for ``none`` where it cannot but think, and
    for words that are not of ORDER: some dialects' clients may say any.
    """
    if effort in known:
        return effort
    words = [word for word in known if word != "none"]
    if effort == "none" or effort not in ORDER or not words:
        return None
    place = ORDER.index(effort)
    return min(words, key=lambda word: (abs(ORDER.index(word) - place), ORDER.index(word)))
