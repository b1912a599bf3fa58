"""Messages answers → events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from apipod_proxy.dialect import NO_QUIRKS, IdMaker, ProtocolError, Quirks, Truncated, lenient
from apipod_proxy.dialect.anthropic.names import NAME, REASONS
from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.sse import FrameReader
from apipod_proxy.dialect.usage import from_messages
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Finish,
    Heartbeat,
    Json,
    Opaque,
    OpaqueBlock,
    SignatureDelta,
    Start,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Unknown,
    UsageReport,
)

Object = dict[str, Any]

_MESSAGE = frozenset(("id", "type", "role", "model", "content", "usage", "stop_reason", "stop_sequence"))
_DELTA = frozenset(("stop_reason", "stop_sequence"))
_TOOL = frozenset(("type", "id", "name", "input"))


class _Opaque:
    """A block that only this dialect knows, until it is whole."""

    __slots__ = ("arguments", "block", "payload")

    def __init__(self, payload: Object, block: int) -> None:
        self.payload = payload
        self.block = block
        self.arguments: list[str] = []


class Decoder:
    """One stream. Ends at ``message_stop``."""

    __slots__ = (
        "_bare",
        "_blocks",
        "_empty",
        "_ended",
        "_finished",
        "_ids",
        "_next",
        "_opaque",
        "_reader",
        "_used_tools",
    )

    def __init__(self, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> None:
        self._ids = ids
        self._reader = FrameReader()
        self._blocks: dict[int, int] = {}
        """The index on the wire → ours: the wire's may have gaps."""
        self._next = 0
        self._empty = -1
        self._bare = -1
        """A call that has no arguments so far."""
        self._opaque: dict[int, _Opaque] = {}
        self._used_tools = False
        self._finished = False
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for name, text in self._reader.feed(data):
            self._frame(name, text, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        for name, text in self._reader.eof():
            self._frame(name, text, events)
        if not self._ended:
            raise Truncated("the stream ended before message_stop")
        return events

    def _frame(self, name: str, text: bytes | None, events: list[Event]) -> None:
        if self._ended:
            return
        if text is None:
            events.append(Unknown(b""))
            return
        try:
            event = lenient.loads(text)
        except orjson.JSONDecodeError:
            if text.strip() and text != b"[DONE]":
                events.append(Unknown(text))
            return
        if not isinstance(event, dict):
            events.append(Unknown(text))
            return
        reader = _READERS.get(_text(event.get("type")) or name)
        if reader is not None:
            reader(self, event, events)
        elif event.get("error"):
            self._error(event, events)
        else:
            events.append(Unknown(text))

    def start(self, event: Object, events: list[Event]) -> None:
        """The beginning of a stream, or of a unary answer, whose message is the body."""
        message = event.get("message")
        message = message if isinstance(message, dict) else {}
        usage = message.get("usage")
        rest = {name: value for name, value in message.items() if name not in _MESSAGE and value is not None}
        events.append(
            Start(
                _text(message.get("id")),
                _text(message.get("model")),
                None,
                from_messages(usage) if isinstance(usage, dict) else None,
                Opaque(NAME, rest) if rest else None,
            )
        )

    def block(self, event: Object, events: list[Event]) -> None:
        """``content_block_start``."""
        block = event.get("content_block")
        if not isinstance(block, dict):
            return
        index = event.get("index")
        index = index if isinstance(index, int) else self._next
        ours = self._blocks[index] = self._next
        self._next += 1
        kind = block.get("type")
        if kind == "text":
            if text := _text(block.get("text")):
                events.append(TextDelta(text, ours))
            else:
                self._empty = ours
            cites = block.get("citations")
            for cite in cites if isinstance(cites, list) else ():
                events.append(_annotation(cite, ours))
        elif kind == "thinking":
            if text := _text(block.get("thinking")):
                events.append(ThinkingDelta(text, ours))
            if signature := _text(block.get("signature")):
                events.append(SignatureDelta(signature, NAME, ours))
        elif kind == "redacted_thinking":
            events.append(SignatureDelta(_text(block.get("data")) or "", NAME, ours, redacted=True))
        elif kind == "tool_use":
            self._tool(block, ours, events)
        elif isinstance(kind, str):
            self._opaque[index] = _Opaque(block, ours)

    def _tool(self, block: Object, ours: int, events: list[Event]) -> None:
        self._used_tools = True
        rest = {name: value for name, value in block.items() if name not in _TOOL and value is not None}
        events.append(
            ToolOpen(
                _text(block.get("id")) or self._ids("toolu_"),
                _text(block.get("name")) or "",
                ours,
                extra=Opaque(NAME, rest) if rest else None,
            )
        )
        self._bare = ours
        if block.get("input"):
            self._bare = -1
            events.append(ToolArgs(lenient.dumps(block["input"]).decode(), ours))

    def _delta(self, event: Object, events: list[Event]) -> None:
        delta = event.get("delta")
        index = event.get("index")
        if not isinstance(delta, dict) or not isinstance(index, int):
            return
        ours = self._blocks.get(index)
        if ours is None:
            # A delta without its start: the kind of the delta tells the kind of the block.
            ours = self._blocks[index] = self._next
            self._next += 1
        kind = delta.get("type")
        opaque = self._opaque.get(index) if self._opaque else None
        if opaque is not None:
            _grow(opaque, delta)
        elif kind == "text_delta":
            if text := _text(delta.get("text")):
                self._empty = -1
                events.append(TextDelta(text, ours))
        elif kind == "input_json_delta":
            if text := _text(delta.get("partial_json")):
                self._bare = -1
                events.append(ToolArgs(text, ours))
        elif kind == "thinking_delta":
            if text := _text(delta.get("thinking")):
                events.append(ThinkingDelta(text, ours))
        elif kind == "signature_delta":
            if text := _text(delta.get("signature")):
                events.append(SignatureDelta(text, NAME, ours))
        elif kind == "citations_delta":
            events.append(_annotation(delta.get("citation"), ours))

    def _stop(self, event: Object, events: list[Event]) -> None:
        if self._empty >= 0:
            # A text block without text is still a block.
            events.append(TextDelta("", self._empty))
            self._empty = -1
        if self._bare >= 0:
            # What comes next would wait for the arguments of this call.
            events.append(ToolArgs("{}", self._bare))
            self._bare = -1
        index = event.get("index")
        opaque = self._opaque.pop(index, None) if isinstance(index, int) else None
        if opaque is not None:
            events.append(_whole(opaque))

    def finish(self, event: Object, events: list[Event]) -> None:
        """``message_delta``: usage is cumulative here, and tells more than at the start."""
        usage = event.get("usage")
        if isinstance(usage, dict):
            events.append(UsageReport(from_messages(usage)))
        delta = event.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        word = _text(delta.get("stop_reason"))
        if not word or self._finished:
            return
        self._finished = True
        reason = REASONS.get(word, StopReason.OTHER)
        if self._used_tools and reason in (StopReason.STOP, StopReason.OTHER):
            reason = StopReason.TOOL_USE
        rest = {name: value for name, value in delta.items() if name not in _DELTA and value is not None}
        if event.get("context_management"):
            rest["context_management"] = event["context_management"]
        events.append(
            Finish(reason, 0, _text(delta.get("stop_sequence")), word, Opaque(NAME, rest) if rest else None)
        )

    def end(self, event: Object, events: list[Event]) -> None:
        """``message_stop``."""
        for opaque in self._opaque.values():
            events.append(_whole(opaque))
        if not self._finished:
            events.append(Finish(StopReason.TOOL_USE if self._used_tools else StopReason.STOP))
        self._ended = True
        events.append(End())

    def _ping(self, event: Object, events: list[Event]) -> None:
        events.append(Heartbeat())

    def _error(self, event: Object, events: list[Event]) -> None:
        self._ended = True
        events.append(failure_of(event))


def _grow(opaque: _Opaque, delta: Object) -> None:
    """A piece of an opaque block: arguments, or more of its text."""
    if delta.get("type") == "input_json_delta":
        opaque.arguments.append(_text(delta.get("partial_json")) or "")
        return
    for name, value in delta.items():
        if name != "type":
            known = opaque.payload.get(name)
            opaque.payload[name] = (
                known + value if isinstance(known, str) and isinstance(value, str) else value
            )


def _whole(opaque: _Opaque) -> OpaqueBlock:
    payload = opaque.payload
    text = "".join(opaque.arguments)
    if text:
        try:
            payload = payload | {"input": orjson.loads(text)}
        except orjson.JSONDecodeError:
            payload = payload | {"input": {"arguments": text}}
    return OpaqueBlock(Opaque(NAME, payload, str(payload.get("type"))), opaque.block)


def _annotation(cite: Json, block: int) -> Annotation:
    known = cite if isinstance(cite, dict) else {}
    return Annotation(
        Opaque(NAME, cite, "citations"),
        block,
        url=_text(known.get("url")) or _text(known.get("source")),
        title=_text(known.get("title")) or _text(known.get("document_title")),
        quote=_text(known.get("cited_text")),
    )


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


_READERS: dict[str, Callable[[Decoder, Object, list[Event]], None]] = {
    "message_start": Decoder.start,
    "content_block_start": Decoder.block,
    "content_block_delta": Decoder._delta,
    "content_block_stop": Decoder._stop,
    "message_delta": Decoder.finish,
    "message_stop": Decoder.end,
    "ping": Decoder._ping,
    "error": Decoder._error,
}


def decode_unary(body: bytes, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> list[Event]:
    """The events of a whole answer. An error in the guise of an answer is a ``Failure``."""
    try:
        message = lenient.loads_exactly(body)
    except orjson.JSONDecodeError as exc:
        raise ProtocolError("the answer is no JSON") from exc
    if not isinstance(message, dict):
        raise ProtocolError("the answer is no object")
    content = message.get("content")
    if not isinstance(content, list):
        if message.get("error"):
            return [failure_of(message)]
        raise ProtocolError("the answer has no content")
    decoder = Decoder(ids, quirks)
    events: list[Event] = []
    late = {name: message[name] for name in ("context_management",) if message.get(name)}
    decoder.start({"message": {name: value for name, value in message.items() if name not in late}}, events)
    for index, block in enumerate(content):
        decoder.block({"index": index, "content_block": block}, events)
        decoder._stop({"index": index}, events)
    decoder.finish(
        {"delta": {name: message.get(name) for name in _DELTA}, "usage": message.get("usage")} | late, events
    )
    decoder.end({}, events)
    return events
