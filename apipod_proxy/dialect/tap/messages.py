"""The tap of Messages streams."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.tap.base import BaseTap, Payload, loads, payload_of
from apipod_proxy.dialect.usage import MessagesCounts, from_messages, of_messages
from apipod_proxy.dialect.vocabulary import Usage

_DELTA = b"event: content_block_delta\n"
_DELTA_SIZE = len(_DELTA)
_NAMELESS_DELTA = b'data: {"type":"content_block_delta"'
_ENVELOPE = 120
"""The bytes of a text delta's event that are not content."""


class _Delta(Struct, gc=False):
    stop_reason: Any = None


class _PlainMessage(Struct, gc=False):
    model: str | None = None
    usage: MessagesCounts | None = None


class _PlainEvent(Struct, gc=False):
    """The ordinary form, which nearly all events have."""

    type: str = ""
    message: _PlainMessage | None = None
    delta: _Delta | None = None
    usage: MessagesCounts | None = None


class _Message(Struct, gc=False):
    usage: dict[str, Any] | None = None


class _Event(Struct, gc=False):
    type: str = ""
    message: _Message | None = None
    delta: _Delta | None = None
    usage: dict[str, Any] | None = None


_PLAIN = msgspec.json.Decoder(_PlainEvent)
_DECODER = msgspec.json.Decoder(_Event)


class MessagesTap(BaseTap):
    """Only the first and the last events of a stream count; deltas, which are nearly all, pass by their name."""

    __slots__ = ("stop_reason",)

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.stop_reason: str | None = None

    def quick(self, chunk: bytes) -> bytes | None:
        if not self.content or self.failure is not None:
            return None
        if chunk[:_DELTA_SIZE] == _DELTA and chunk.find(b"\n", _DELTA_SIZE) == len(chunk) - 2:
            # One event with one line of data.
            self.output_bytes += max(1, len(chunk) - _ENVELOPE)
            return chunk
        if chunk.find(b"message_") < 0 and chunk.find(b"error") < 0:
            self.output_bytes += max(1, len(chunk) - _ENVELOPE * chunk.count(b"event: "))
            return chunk
        return None

    def _event(self, event: bytes) -> bytes:
        if self.content and event.startswith((_DELTA, _NAMELESS_DELTA)):
            self.output_bytes += max(1, len(event) - _ENVELOPE)
            return event
        payload = payload_of(event)
        if not payload.data:
            return event
        seen = _read(payload.data)
        if seen is None:
            # An event of unknown form is passed on.
            self.skipped += 1
            return event
        if seen.type == "message_start":
            return self._start(event, payload, seen.message)
        if seen.type == "message_delta":
            if seen.usage is not None:
                self._merge(_usage(seen.usage))
            if seen.delta is not None and seen.delta.stop_reason:
                self.stop_reason = str(seen.delta.stop_reason)
        elif seen.type in ("content_block_start", "content_block_delta"):
            self.content = True
        elif seen.type == "message_stop":
            self.finished = self.done_sent = True
        elif seen.type == "error" or payload.name == b"error":
            self.failure = failure_of(loads(payload.data))
            return b""
        return event

    def _start(self, event: bytes, payload: Payload, message: _Message | _PlainMessage | None) -> bytes:
        if message is not None and message.usage is not None:
            self._merge(_usage(message.usage))
        if isinstance(message, _PlainMessage) and message.model is not None and payload.start >= 0:
            found = self._renamed_directly(event, message.model)
            if found is not None:
                return found[0]
        return self._renamed(event, payload, ("message", "model"))[0]


def _read(data: bytes) -> _PlainEvent | _Event | None:
    try:
        return _PLAIN.decode(data)
    except (msgspec.DecodeError, RecursionError):
        # Perhaps of a form that is only odd.
        return _read_odd(data)


def _read_odd(data: bytes) -> _Event | None:
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _usage(counts: MessagesCounts | dict[str, Any]) -> Usage:
    return of_messages(counts) if isinstance(counts, MessagesCounts) else from_messages(counts)
