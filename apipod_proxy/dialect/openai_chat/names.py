"""Words of Chat Completions: finish reasons, formats of reasoning details."""

from __future__ import annotations

from collections.abc import Mapping

from apipod_proxy.dialect.vocabulary import StopReason

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
