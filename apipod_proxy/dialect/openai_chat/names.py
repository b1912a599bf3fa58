"""Words of Chat Completions: finish reasons, formats of reasoning details, efforts."""

from __future__ import annotations

import re
from collections.abc import Mapping

from apipod_proxy.dialect.vocabulary import Reasoning, StopReason

NAME = "openai_chat"

REASONS: Mapping[str, StopReason] = {
    "stop": StopReason.STOP,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOL_USE,
    "content_filter": StopReason.CONTENT_FILTER,
    # Of its accents:
    "function_call": StopReason.TOOL_USE,
    "tool_use": StopReason.TOOL_USE,
    "end_turn": StopReason.STOP,
    "eos": StopReason.STOP,
    "eos_token": StopReason.STOP,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.LENGTH,
    "model_length": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.CONTEXT_WINDOW,
    "refusal": StopReason.REFUSAL,
    "sensitive": StopReason.CONTENT_FILTER,
    "safety": StopReason.CONTENT_FILTER,
    "blacklist": StopReason.CONTENT_FILTER,
}
WORDS: Mapping[StopReason, str] = {
    StopReason.STOP: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.LENGTH: "length",
    StopReason.CONTEXT_WINDOW: "length",
    StopReason.TOOL_USE: "tool_calls",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.REFUSAL: "content_filter",
    StopReason.PAUSE: "stop",
    StopReason.MALFORMED_CALL: "stop",
    StopReason.OTHER: "stop",
}
"""The inverse of REASONS in OpenAI's own words."""

FORMATS: Mapping[str, str] = {
    "anthropic-claude-v1": "anthropic",
    "google-gemini-v1": "gemini",
    "openai-responses-v1": "openai_responses",
}
"""The ``format`` of a reasoning detail → the dialect whose signature it holds."""
FORMAT_OF: Mapping[str, str] = {dialect: name for name, dialect in FORMATS.items()}

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

_NEVER_THINKS = re.compile(r"(?:^|/)(?:gpt-3|gpt-4|chatgpt-4o|davinci|babbage)", re.IGNORECASE)


def thinks(model: str, known: bool | None) -> bool:
    """Whether the model takes a reasoning effort; those of OpenAI that do not refuse the whole request for it."""
    return known if known is not None else not _NEVER_THINKS.search(model)


_OPENAI_REASONS = re.compile(r"o[1-9](?:-|$)|gpt-(?:[5-9]|\d\d)(?!-chat)", re.IGNORECASE)
_VERSION = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?!.*-chat)", re.IGNORECASE)


def fixed_sampling(model: str) -> bool:
    """Whether the model is one of OpenAI's own that refuse sampling other than their own, and stops. Routers, which put a vendor before the
    name, leave out themselves what a model does not take.
    """
    return _OPENAI_REASONS.match(model) is not None


def thinks_without_tools(model: str) -> bool:
    """Whether the model is one of OpenAI's own that take tools here only where they need not think; with both they want Responses."""
    found = _VERSION.match(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= (5, 2)


def effort_of_budget(budget: int) -> str:
    """The effort nearest to a budget of thinking tokens."""
    if budget <= 0:
        return "none"
    return (
        "minimal" if budget <= 1024 else "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"
    )


def effort_of(reasoning: Reasoning, own: bool) -> str | None:
    """The word for ``reasoning_effort``, None where nothing is asked. The two highest are only known to a few models."""
    if reasoning.enabled is False:
        return "none"
    if reasoning.effort is not None:
        return "high" if not own and reasoning.effort in ("xhigh", "max") else reasoning.effort
    if reasoning.budget is not None and reasoning.budget >= 0:
        return effort_of_budget(reasoning.budget)
    return None
