"""The tap of Gemini streams."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.tap.base import BaseTap, Payload, loads, payload_of
from apipod_proxy.dialect.usage import from_gemini
from apipod_proxy.dialect.vocabulary import Usage

_ENVELOPE = 330
"""The bytes of a text event that are not content."""


class _Content(Struct, gc=False):
    parts: list[Any] | None = None


class _Candidate(Struct, gc=False, rename="camel"):
    index: int = 0
    finish_reason: Any = None
    content: _Content | None = None


class _Feedback(Struct, gc=False, rename="camel"):
    block_reason: Any = None


class _Chunk(Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)


class GeminiTap(BaseTap):
    """The name stands at the end of each event. An event that ends like the one before it has it in the same place: what ends so, from a
    comma to the last brace, lies outside of every string and one level deep. Usage is cumulative, so only the last report is read.
    """

    __slots__ = ("_blank", "_choices", "_finishes", "_last", "_tail", "_tail_out")

    def __init__(self, model: str, *, choices: int = 1) -> None:
        super().__init__(model)
        self._choices = choices
        self._finishes: dict[int, str] = {}
        self._last = b""
        self._tail = b""
        self._blank = b""
        """How an event ends."""
        self._tail_out = b""

    def quick(self, chunk: bytes) -> bytes | None:
        tail = self._tail
        if (
            not tail
            or not chunk.endswith(tail)
            or self.failure is not None
            # That of a finish and that of a blocked prompt.
            or chunk.find(b"Reason") >= 0
            or chunk.find(b'"error"') >= 0
        ):
            return None
        if chunk.find(b"\n") == len(chunk) - len(self._blank):
            self._last = chunk
            self.output_bytes += max(1, len(chunk) - _ENVELOPE)
            return chunk[: -len(tail)] + self._tail_out
        return self._several(chunk)

    def _several(self, chunk: bytes) -> bytes | None:
        """As ``quick``, for several events that end alike."""
        *events, rest = chunk.split(self._tail)
        if rest or chunk.count(self._blank) != len(events):
            return None
        envelope = _ENVELOPE - len(self._tail)
        self.output_bytes += sum(max(1, len(event) - envelope) for event in events)
        self._last = events[-1] + self._tail
        return self._tail_out.join((*events, b""))

    @property
    def usage(self) -> Usage:
        if self._last:
            payload = payload_of(self._last)
            self._last = b""
            try:
                self._note_usage(_DECODER.decode(payload.data))
            except (msgspec.DecodeError, RecursionError):
                self.skipped += 1
        return self._usage

    @property
    def finish_reasons(self) -> dict[int, str]:
        return self._finishes

    @property
    def complete(self) -> bool:
        return len(self._finishes) >= max(1, self._choices)

    def _event(self, event: bytes) -> bytes:
        payload = payload_of(event)
        if not payload.data:
            return event
        try:
            chunk = _DECODER.decode(payload.data)
        except msgspec.ValidationError:
            self.skipped += 1
            return self._renamed(event, payload, ("modelVersion",))[0]
        except (msgspec.DecodeError, RecursionError):
            self.skipped += 1
            return event
        if chunk.error:
            self.failure = failure_of(loads(payload.data))
            return b""
        self._note(chunk, payload)
        return self._remember(event, payload)

    def _note(self, chunk: _Chunk, payload: Payload) -> None:
        for candidate in chunk.candidates or ():
            if candidate.finish_reason:
                self._finishes[candidate.index] = str(candidate.finish_reason)
                self.content = True
            if candidate.content is not None and candidate.content.parts:
                self.content = True
                self.output_bytes += max(1, len(payload.data) - _ENVELOPE)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            for index in range(max(1, self._choices)):
                self._finishes[index] = str(chunk.prompt_feedback.block_reason)
            self.content = True
        self._note_usage(chunk)
        self._last = b""

    def _note_usage(self, chunk: _Chunk) -> None:
        if isinstance(chunk.usage_metadata, msgspec.Raw):
            self._usage = self._usage.merged(from_gemini(loads(bytes(chunk.usage_metadata))))

    def _remember(self, event: bytes, payload: Payload) -> bytes:
        renamed, start, end = self._renamed(event, payload, ("modelVersion",))
        if start < 0 or payload.start < 0 or not self.content:
            return renamed
        comma = event.rfind(b",", 0, event.rfind(b'"modelVersion"'))
        tail = event[comma:]
        # Flat, and the name in it once: so its last brace is that of the whole event.
        if (
            tail.count(b"{") == 0
            and tail.count(b"}") == 1
            and tail.count(b'"modelVersion"') == 1
            and b"[" not in tail
            and comma < start
        ):
            self._tail = tail
            self._blank = b"\n\r\n" if tail.endswith(b"\n\r\n") else tail[-2:]
            self._tail_out = tail[: start - comma] + self.model + event[end:]
        return renamed
