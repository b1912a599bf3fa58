"""Cohere's v2 ``/chat``, which providers speak and clients do not: answers → events.

Usage counts what is billed, where the answer says so: its other count includes a preamble of the provider's own, which nobody pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import orjson

from apipod_proxy.dialect import NO_QUIRKS, IdMaker, ProtocolError, Quirks, Tongue, Truncated, provider_errors
from apipod_proxy.dialect.cohere_requests import NAME, encode_request
from apipod_proxy.dialect.sse import FrameReader
from apipod_proxy.dialect.usage import count, less
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Failure,
    Finish,
    Json,
    Opaque,
    Start,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Unknown,
    Usage,
    UsageReport,
)
from apipod_proxy.errors import Kind

REASONS: Mapping[str, StopReason] = MappingProxyType(
    {
        "COMPLETE": StopReason.STOP,
        "STOP_SEQUENCE": StopReason.STOP_SEQUENCE,
        "MAX_TOKENS": StopReason.LENGTH,
        "TOOL_CALL": StopReason.TOOL_USE,
        "ERROR_TOXIC": StopReason.CONTENT_FILTER,
        "ERROR_LIMIT": StopReason.CONTEXT_WINDOW,
    }
)

FAILURES = frozenset({"ERROR", "TIMEOUT"})
"""Finish reasons of an answer that is none."""

SILENT = frozenset({"content-end", "tool-call-end", "citation-end", "debug"})

Object = dict[str, Json]


class Decoder:
    """Of a stream."""

    def __init__(self, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> None:
        self._reader = FrameReader()
        self._ids = ids
        self._ended = False
        self._next = 0
        self._kind = ""
        self._blocks: dict[tuple[str, Json], int] = {}

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for _, text in self._reader.feed(data):
            self._frame(text, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        for _, text in self._reader.eof():
            self._frame(text, events)
        if not self._ended:
            raise Truncated("the stream ended before message-end")
        return events

    def _frame(self, text: bytes | None, events: list[Event]) -> None:
        if self._ended or (text is not None and text.strip() in (b"", b"[DONE]")):
            return
        try:
            event = None if text is None else orjson.loads(text)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict):
            events.append(Unknown(text or b""))
            return
        kind = event.get("type")
        delta = event.get("delta")
        message = delta.get("message") if isinstance(delta, dict) else None
        if kind == "message-end":
            self._end(delta if isinstance(delta, dict) else {}, events)
        elif kind == "message-start":
            events.append(Start(_text(event.get("id"))))
        elif isinstance(message, dict) and isinstance(kind, str):
            self.message(kind, event.get("index"), message, events)
        elif kind not in SILENT:
            if "message" in event or "error" in event:
                events.append(provider_errors.failure_of(event))
            else:
                events.append(Unknown(text or b""))

    def message(self, kind: str, index: Json, message: Object, events: list[Event]) -> None:
        """What one event of type ``kind`` adds to the message."""
        content, call, citation = (message.get(name) for name in ("content", "tool_calls", "citations"))
        if kind == "tool-plan-delta" and isinstance(message.get("tool_plan"), str):
            events.append(TextDelta(message["tool_plan"], self._block("plan", 0)))
        elif kind in ("content-start", "content-delta") and isinstance(content, dict):
            if isinstance(content.get("thinking"), str) and content["thinking"]:
                events.append(ThinkingDelta(content["thinking"], self._block("thinking", index)))
            elif isinstance(content.get("text"), str) and content["text"]:
                events.append(TextDelta(content["text"], self._block("text", index)))
        elif kind in ("tool-call-start", "tool-call-delta") and isinstance(call, dict):
            self._call(kind, index, call, events)
        elif kind == "citation-start" and isinstance(citation, dict):
            events.append(self._citation(citation))
        elif kind not in SILENT:
            events.append(Unknown(kind.encode()))

    def _call(self, kind: str, index: Json, call: Object, events: list[Event]) -> None:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        block = self._block("call", index)
        if kind == "tool-call-start":
            given = _text(call.get("id")) or self._ids("call_")
            events.append(ToolOpen(given, _text(function.get("name")) or "", block))
        arguments = _text(function.get("arguments"))
        if arguments:
            events.append(ToolArgs(arguments, block))

    def _citation(self, citation: Object) -> Annotation:
        index = citation.get("content_index")
        text = [(key, block) for key, block in self._blocks.items() if key[0] in ("text", "plan")]
        found = self._blocks.get(("text", index))
        block = found if found is not None else text[-1][1] if text else self._block("text", 0)
        source = next((item for item in citation.get("sources") or () if isinstance(item, dict)), {})
        document = source.get("document")
        document = document if isinstance(document, dict) else {}
        return Annotation(
            Opaque(NAME, citation, "citations"),
            block,
            url=_text(document.get("url")),
            title=_text(document.get("title")) or _text(source.get("id")),
            quote=_text(document.get("text")) or _text(document.get("snippet")),
            start=count(citation, "start"),
            end=count(citation, "end"),
        )

    def _block(self, kind: str, index: Json) -> int:
        key = (kind, index if isinstance(index, int) else 0)
        if key not in self._blocks:
            self._blocks[key] = self._next
            self._next += 1
        return self._blocks[key]

    def _end(self, delta: Object, events: list[Event]) -> None:
        reason = _text(delta.get("finish_reason"))
        if isinstance(delta.get("usage"), dict):
            events.append(UsageReport(usage_of(delta["usage"])))
        self._ended = True
        if reason in FAILURES or delta.get("error"):
            said = _text(delta.get("error")) or "The provider reported an error."
            status = 504 if reason == "TIMEOUT" else 500
            events.append(Failure(provider_errors.cleaned(said), Kind.UPSTREAM.value, status))
            return
        events.append(Finish(REASONS.get(reason or "", StopReason.OTHER), raw=reason))
        events.append(End())

    def close(self, delta: Object) -> list[Event]:
        """The closing events of a whole answer."""
        events: list[Event] = []
        self._end(delta, events)
        return events


def decode_unary(body: bytes, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> list[Event]:
    """The events of a whole answer; raises ProtocolError for what is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Truncated(f"the answer is no JSON: {exc.msg}") from exc
    message = answer.get("message") if isinstance(answer, dict) else None
    if isinstance(message, str):
        return [provider_errors.failure_of(answer)]
    if not isinstance(message, dict) or not isinstance(answer.get("finish_reason"), str):
        raise ProtocolError("the answer holds no message")
    decoder = Decoder(ids)
    events: list[Event] = [Start(_text(answer.get("id")))]
    if message.get("tool_plan"):
        decoder.message("tool-plan-delta", 0, message, events)
    for index, part in enumerate(_items(message.get("content"))):
        decoder.message("content-start", index, {"content": part}, events)
    for index, call in enumerate(_items(message.get("tool_calls"))):
        decoder.message("tool-call-start", index, {"tool_calls": call}, events)
    for citation in _items(message.get("citations")):
        decoder.message("citation-start", 0, {"citations": citation}, events)
    return events + decoder.close(answer)


def usage_of(wire: Object) -> Usage:
    """What was billed, where that is said, else what was counted."""
    billed = wire.get("billed_units")
    paid = count(billed, "input_tokens")
    if paid is not None:
        return Usage(input=paid, output=count(billed, "output_tokens"), extra=Opaque(NAME, wire, "usage"))
    tokens = wire.get("tokens")
    read = count(wire, "cached_tokens")
    return Usage(
        input=less(count(tokens, "input_tokens"), read),
        cache_read=read,
        output=count(tokens, "output_tokens"),
        extra=Opaque(NAME, wire, "usage"),
    )


def _items(value: Json) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


ROW = Tongue(
    name=NAME,
    encode_request=encode_request,
    decoder=Decoder,
    decode_unary=decode_unary,
    decode_error=provider_errors.decode_error,
)
