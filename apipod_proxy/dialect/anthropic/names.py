"""Words of Messages: stop reasons, efforts, what a model's name tells."""

from __future__ import annotations

import re
from collections.abc import Mapping

from apipod_proxy.dialect.vocabulary import StopReason

NAME = "anthropic"

REASONS: Mapping[str, StopReason] = {
    "end_turn": StopReason.STOP,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.LENGTH,
    "tool_use": StopReason.TOOL_USE,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
    "model_context_window_exceeded": StopReason.CONTEXT_WINDOW,
}
WORDS: Mapping[StopReason, str] = {reason: word for word, reason in REASONS.items()} | {
    StopReason.CONTENT_FILTER: "refusal",
    StopReason.MALFORMED_CALL: "end_turn",
    StopReason.OTHER: "end_turn",
}
"""The inverse of REASONS, and the nearest word for what Messages does not know."""

MIN_BUDGET = 1024
DEFAULT_MAX_TOKENS = 4096

_VERSION = re.compile(
    r"claude-(?:opus|sonnet|haiku|[a-z]+)-(\d{1,2})(?:[-.](\d{1,2}))?(?![\d])", re.IGNORECASE
)


def version(model: str) -> tuple[int, int]:
    """The version in a model's name; (0, 0) where it tells none."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def adapts(model: str) -> bool:
    """Whether the model sizes its own thinking, steered by an effort; older ones want a budget."""
    return version(model) >= (4, 6)


def efforts_of(model: str) -> tuple[str, ...]:
    """The efforts that a model of those knows."""
    return (
        ("low", "medium", "high", "xhigh", "max")
        if version(model) >= (4, 7)
        else ("low", "medium", "high", "max")
    )


def fixed_sampling(model: str) -> bool:
    """Whether the model refuses temperature, top_p and top_k."""
    return version(model) >= (4, 7)
