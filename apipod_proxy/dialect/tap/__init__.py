"""Taps: what reads along in an answer of the client's own dialect, which is passed on as it is.

A tap learns usage, the end and errors, and puts the client's name for the model where the provider's stood. ``rewrite_answer`` is the same for a
unary answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from apipod_proxy.dialect import members as objects
from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.tap.base import NOTHING, BaseTap, loads, place_of, with_model
from apipod_proxy.dialect.tap.chat import ChatTap
from apipod_proxy.dialect.tap.gemini import GeminiTap
from apipod_proxy.dialect.tap.messages import MessagesTap
from apipod_proxy.dialect.tap.responses import ResponsesTap
from apipod_proxy.dialect.usage import (
    CHAT,
    MESSAGES,
    READERS,
    ChatCounts,
    MessagesCounts,
    of_chat,
    of_messages,
)
from apipod_proxy.dialect.vocabulary import Failure, Usage


def Tap(dialect: str, model: str, *, strip_usage: bool = False, choices: int = 1) -> BaseTap:
    """A tap for one stream. ``strip_usage``: the client did not ask for the usage-only chunk. ``choices``: how many were asked for."""
    if dialect == CHAT:
        return ChatTap(model, strip_usage, choices)
    if dialect == "anthropic":
        return MessagesTap(model)
    if dialect == "gemini":
        return GeminiTap(model, choices=choices)
    if dialect == "openai_responses":
        return ResponsesTap(model)
    return ChatTap(model, strip_usage, choices)


class Answer(NamedTuple):
    """A unary answer under the client's model name. ``failure``: it is an error in the guise of an answer."""

    body: bytes
    usage: Usage
    found_model: str | None = None
    failure: Failure | None = None


class _Top(Struct, gc=False):
    """What is read of an ordinary answer."""

    model: str | None = None
    error: Any = None
    usage: dict[str, Any] | None = None


class _ChatTop(Struct, gc=False):
    """The same of Chat Completions, with its counts as they mostly are."""

    model: str | None = None
    error: Any = None
    usage: ChatCounts | None = None


class _MessagesTop(Struct, gc=False):
    """The same of Messages."""

    model: str | None = None
    error: Any = None
    usage: MessagesCounts | None = None


_TOP: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Top)
_TOPS: Mapping[str, msgspec.json.Decoder[Any]] = {
    CHAT: msgspec.json.Decoder(_ChatTop),
    MESSAGES: msgspec.json.Decoder(_MessagesTop),
}


def rewrite_answer(dialect: str, body: bytes, model: str) -> Answer:
    """``body`` with the model's name replaced, and what it says of usage. What is no JSON object passes as it is."""
    if dialect != "gemini":
        quick = _rewrite_ordinary(dialect, body, model)
        if quick is not None:
            return quick
    return _rewrite_any(dialect, body, model)


def _rewrite_ordinary(dialect: str, body: bytes, model: str) -> Answer | None:
    """One typed pass and two searches, which takes a tenth of the time; None where the answer is not of the ordinary form.

    Where the member's name stands in the body only once, in any spelling, it is the one at the top.
    """
    top: _Top | _ChatTop | _MessagesTop
    try:
        top = _TOPS.get(dialect, _TOP).decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    theirs = top.model
    if theirs is None or top.error:
        return None
    name = objects.dumps(theirs)
    at = place_of(body, name)
    if at < 0:
        return None
    end = at + len(name)
    counts = top.usage
    usage = NOTHING
    if isinstance(counts, ChatCounts):
        usage = of_chat(counts)
    elif isinstance(counts, MessagesCounts):
        usage = of_messages(counts)
    elif counts is not None:
        usage = READERS[dialect](counts)
    return Answer(b"".join((body[:at], objects.dumps(model), body[end:])), usage, theirs)


def _rewrite_any(dialect: str, body: bytes, model: str) -> Answer:
    found = objects.read(body)
    if found is None:
        return Answer(body, Usage())
    error = found.get("error")
    if error is not None and len(error) > 4 and "choices" not in found and "output" not in found:
        return Answer(body, Usage(), failure=failure_of(loads(body)))
    raw = found.get("usageMetadata" if dialect == "gemini" else "usage")
    wire = None if raw is None else loads(bytes(raw))
    usage = READERS[dialect](wire) if isinstance(wire, dict) else Usage()
    name = "modelVersion" if dialect == "gemini" else "model"
    data, start, end = with_model(body, (name,), objects.dumps(model))
    return Answer(data, usage, loads(body[start:end]) if start >= 0 else None)
