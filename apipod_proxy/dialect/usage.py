"""Token counts of every dialect ↔ the neutral classes, which do not overlap. Each reader's writer stands below it.

What differs: prompt counts of Chat, Responses and Gemini include cached tokens, those of Messages exclude them; output counts of Chat, Responses
and Messages include reasoning, those of Gemini exclude it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from msgspec import Meta, Struct

from apipod_proxy.dialect.vocabulary import Json, Opaque, Usage

_MOST = 2**53
"""What is larger is no count, and some writers of JSON refuse it."""
CHAT = "openai_chat"
MESSAGES = "anthropic"
GEMINI = "gemini"
RESPONSES = "openai_responses"


def count(source: Json, *names: str) -> int | None:
    """The first of ``names`` that holds a count in ``source``; None where none does."""
    if isinstance(source, dict):
        for name in names:
            value = source.get(name)
            if type(value) is int and 0 <= value < _MOST:
                return value
            if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _MOST:
                return int(value)
    return None


def less(total: int | None, *parts: int | None) -> int | None:
    """``total`` without what is counted apart; never below zero, for providers whose counts do not add up."""
    return None if total is None else max(0, total - sum(part or 0 for part in parts))


def from_chat(wire: Json) -> Usage:
    """Usage of Chat Completions, with the spellings of its dialects."""
    prompt = count(wire, "prompt_tokens")
    details = wire.get("prompt_tokens_details") if isinstance(wire, dict) else None
    read = count(details, "cached_tokens")
    if read is None:
        read = count(wire, "prompt_cache_hit_tokens", "cached_tokens", "precached_prompt_tokens")
    if read is not None and prompt is not None:
        # Grok on Azure reports more cached tokens than the prompt has.
        read = min(read, prompt)
    written = count(details, "cache_write_tokens", "cache_creation_tokens")
    reasoning = count(
        wire.get("completion_tokens_details") if isinstance(wire, dict) else None, "reasoning_tokens"
    )
    if reasoning is None:
        reasoning = count(wire, "reasoning_tokens")
    completion = count(wire, "completion_tokens")
    output = completion
    if not _excludes_reasoning(count(wire, "total_tokens"), prompt, completion, reasoning):
        output = less(completion, reasoning)
    return Usage(less(prompt, read, written), read, written, output, reasoning, Opaque(CHAT, wire, "usage"))


def _excludes_reasoning(
    total: int | None, prompt: int | None, completion: int | None, reasoning: int | None
) -> bool:
    """xAI and some others count reasoning beside ``completion_tokens``; the total tells."""
    if not reasoning or completion is None:
        return False
    return reasoning > completion or total == completion + reasoning + (prompt or 0)


Count = Annotated[int, Meta(ge=0, lt=_MOST)] | None


class PromptDetails(Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None
    cache_creation_tokens: Count = None


class CompletionDetails(Struct, gc=False):
    reasoning_tokens: Count = None


class ChatCounts(Struct, gc=False):
    """``usage`` of Chat Completions in its ordinary form: every count that is read is a whole number or not there."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: Count = None
    cached_tokens: Count = None
    precached_prompt_tokens: Count = None
    reasoning_tokens: Count = None


def of_chat(counts: ChatCounts) -> Usage:
    """What ``from_chat`` gives of the same object, but for ``extra``: for answers that are passed on as they are."""
    prompt, completion = counts.prompt_tokens, counts.completion_tokens
    read = written = reasoning = None
    if counts.prompt_tokens_details is not None:
        details = counts.prompt_tokens_details
        read, written = details.cached_tokens, details.cache_write_tokens
        if written is None:
            written = details.cache_creation_tokens
    if read is None:
        read = counts.prompt_cache_hit_tokens
        if read is None:
            read = (
                counts.cached_tokens if counts.cached_tokens is not None else counts.precached_prompt_tokens
            )
    if counts.completion_tokens_details is not None:
        reasoning = counts.completion_tokens_details.reasoning_tokens
    if reasoning is None:
        reasoning = counts.reasoning_tokens
    uncached, output = prompt, completion
    if prompt is not None:
        if read is not None and read > prompt:
            read = prompt
        if read or written:
            uncached = less(prompt, read, written)
    if reasoning and not _excludes_reasoning(counts.total_tokens, prompt, completion, reasoning):
        output = less(completion, reasoning)
    return Usage(uncached, read, written, output, reasoning)


def to_chat(usage: Usage) -> dict[str, Json]:
    """The ``usage`` object of Chat Completions; its own wire object where it came from one."""
    if usage.extra is not None and usage.extra.dialect == CHAT and isinstance(usage.extra.payload, dict):
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0} | {
            name: value for name, value in usage.extra.payload.items() if value is not None
        }
    prompt = (usage.input or 0) + (usage.cache_read or 0) + (usage.cache_write or 0)
    completion = (usage.output or 0) + (usage.reasoning or 0)
    wire: dict[str, Json] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    details = {}
    if usage.cache_read is not None:
        details["cached_tokens"] = usage.cache_read
    if usage.cache_write is not None:
        details["cache_write_tokens"] = usage.cache_write
    if details:
        wire["prompt_tokens_details"] = details
    if usage.reasoning is not None:
        wire["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return wire


def from_messages(wire: Json) -> Usage:
    """Usage of Messages. Thinking is part of the output count there; newer answers tell how much."""
    output = count(wire, "output_tokens")
    details = wire.get("output_tokens_details") if isinstance(wire, dict) else None
    reasoning = count(details, "thinking_tokens", "reasoning_tokens")
    written = count(wire, "cache_creation_input_tokens")
    if written is None and isinstance(wire, dict) and isinstance(wire.get("cache_creation"), dict):
        parts = [count(wire["cache_creation"], name) for name in wire["cache_creation"]]
        written = sum(part or 0 for part in parts)
    return Usage(
        input=count(wire, "input_tokens"),
        cache_read=count(wire, "cache_read_input_tokens"),
        cache_write=written,
        output=less(output, reasoning),
        reasoning=reasoning,
        extra=Opaque(MESSAGES, wire, "usage"),
    )


class OutputDetails(Struct, gc=False):
    thinking_tokens: Count = None
    reasoning_tokens: Count = None


class MessagesCounts(Struct, gc=False):
    """``usage`` of Messages in its ordinary form: every count that is read is a whole number or not there."""

    input_tokens: Count = None
    output_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_creation: dict[str, Count] | None = None
    output_tokens_details: OutputDetails | None = None


def of_messages(counts: MessagesCounts) -> Usage:
    """What ``from_messages`` gives of the same object, but for ``extra``: for answers that are passed on as they are."""
    output, written = counts.output_tokens, counts.cache_creation_input_tokens
    reasoning = None
    details = counts.output_tokens_details
    if details is not None:
        reasoning = details.thinking_tokens
        if reasoning is None:
            reasoning = details.reasoning_tokens
        output = less(output, reasoning)
    if written is None and counts.cache_creation is not None:
        written = sum(filter(None, counts.cache_creation.values()))
    return Usage(counts.input_tokens, counts.cache_read_input_tokens, written, output, reasoning)


def to_messages(usage: Usage) -> dict[str, Json]:
    """The ``usage`` object of Messages, with the four counts that its SDKs read always present."""
    if usage.extra is not None and usage.extra.dialect == MESSAGES and isinstance(usage.extra.payload, dict):
        # A later report may leave out what an earlier one said; the merged counts fill it in.
        output = (usage.output or 0) + (usage.reasoning or 0)
        return {"input_tokens": usage.input or 0, "output_tokens": output} | usage.extra.payload
    return {
        "input_tokens": usage.input or 0,
        "cache_creation_input_tokens": usage.cache_write or 0,
        "cache_read_input_tokens": usage.cache_read or 0,
        "output_tokens": (usage.output or 0) + (usage.reasoning or 0),
    }


_GEMINI_NAMES = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
)
_SNAKE_NAMES = (
    "prompt_token_count",
    "tool_use_prompt_token_count",
    "cached_content_token_count",
    "candidates_token_count",
    "thoughts_token_count",
    "total_token_count",
)


def from_gemini(wire: Json) -> Usage:
    """``usageMetadata``: prompts of tools are counted apart, and so are thoughts."""
    if not isinstance(wire, dict):
        return Usage(extra=Opaque(GEMINI, wire, "usageMetadata"))
    names = _GEMINI_NAMES if wire.keys().isdisjoint(_SNAKE_NAMES) else _SNAKE_NAMES
    prompt, tools, read, output, reasoning, total = [
        None if wire.get(name) is None else count(wire, name) for name in names
    ]
    whole = None if prompt is None and tools is None else (prompt or 0) + (tools or 0)
    if output is None and total is not None and whole is not None:
        output = max(0, total - whole - (reasoning or 0))
    return Usage(less(whole, read), read, None, output, reasoning, Opaque(GEMINI, wire, "usageMetadata"))


def from_responses(wire: Json) -> Usage:
    """Usage of Responses."""
    details = wire.get("input_tokens_details") if isinstance(wire, dict) else None
    read = count(details, "cached_tokens")
    written = count(details, "cache_write_tokens", "cache_creation_tokens")
    reasoning = count(
        wire.get("output_tokens_details") if isinstance(wire, dict) else None, "reasoning_tokens"
    )
    return Usage(
        input=less(count(wire, "input_tokens"), read, written),
        cache_read=read,
        cache_write=written,
        output=less(count(wire, "output_tokens"), reasoning),
        reasoning=reasoning,
        extra=Opaque(RESPONSES, wire, "usage"),
    )


READERS: Mapping[str, Callable[[Json], Usage]] = {
    CHAT: from_chat,
    MESSAGES: from_messages,
    GEMINI: from_gemini,
    RESPONSES: from_responses,
}
