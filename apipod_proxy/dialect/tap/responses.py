"""The tap of Responses streams."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.tap.base import BaseTap, loads, payload_of
from apipod_proxy.dialect.usage import from_responses

_DELTAS = (
    b"event: response.output_text.delta\n",
    b"event: response.function_call_arguments.delta\n",
    b"event: response.reasoning_summary_text.delta\n",
    b"event: response.reasoning_text.delta\n",
    b"event: response.custom_tool_call_input.delta\n",
)
_ENVELOPE = 230
"""The bytes of a text delta's event that are not content."""

TERMINAL = frozenset(("response.completed", "response.incomplete", "response.failed"))


class _Response(Struct, gc=False):
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    status: Any = None


class _Event(Struct, gc=False):
    type: str = ""
    response: _Response | None = None


_DECODER = msgspec.json.Decoder(_Event)


class ResponsesTap(BaseTap):
    """Deltas pass by their name; events that hold the whole response carry its name and, at last, its usage."""

    __slots__ = ("_delta",)

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._delta = _DELTAS[0]
        """How the last delta that passed began."""

    def quick(self, chunk: bytes) -> bytes | None:
        if not self.content or self.failure is not None:
            return None
        size, whole = len(self._delta), len(chunk)
        if chunk[:size] == self._delta:
            end = chunk.find(b"\n", size)
            if end == whole - 2:
                self.output_bytes += max(1, whole - _ENVELOPE)
                return chunk
            if end > 0:
                return self._several(chunk)
        elif chunk.startswith(_DELTAS) and chunk.find(b"\n\n") == whole - 2:
            self._delta = chunk[: chunk.find(b"\n") + 1]
            self.output_bytes += max(1, whole - _ENVELOPE)
            return chunk
        return None

    def _several(self, chunk: bytes) -> bytes | None:
        """As ``quick``, for several events named alike."""
        following = b"\n\n" + self._delta
        find, size, last = chunk.find, len(self._delta), len(chunk) - 2
        start = written = 0
        while True:
            # One line of data each.
            end = find(b"\n", start + size)
            written += max(1, end + 2 - start - _ENVELOPE)
            if end == last:
                break
            if end < 0 or not chunk.startswith(following, end):
                return None
            start = end + 2
        self.output_bytes += written
        return chunk

    def _event(self, event: bytes) -> bytes:
        if self.content and event.startswith(_DELTAS):
            self.output_bytes += max(1, len(event) - _ENVELOPE)
            return event
        payload = payload_of(event)
        if not payload.data:
            return event
        if payload.data == b"[DONE]":
            # OpenRouter ends with it.
            self.done_sent = True
            return event
        try:
            seen = _DECODER.decode(payload.data)
        except (msgspec.DecodeError, RecursionError):
            self.skipped += 1
            return event
        if seen.type == "response.output_item.added":
            self.content = True
        elif seen.type == "error" or payload.name == b"error":
            self.failure = failure_of(loads(payload.data))
            return b""
        if seen.response is None:
            return event
        return self._whole(event, seen.type, seen.response)

    def _whole(self, event: bytes, kind: str, response: _Response) -> bytes:
        if response.usage is not None:
            self._usage = self._usage.merged(from_responses(response.usage))
        if kind == "response.failed" and not self.content:
            # Nothing of an answer was sent, so another candidate can still give one.
            self.failure = failure_of(response.error)
            return b""
        if kind in TERMINAL:
            self.finished = self.content = True
        return self._renamed(event, payload_of(event), ("response", "model"))[0]
