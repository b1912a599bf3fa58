"""The tap of Chat Completions streams (and of legacy completions)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.tap.base import BaseTap, Payload, events_of, loads, payload_of
from apipod_proxy.dialect.usage import from_chat

DONE = b"data: [DONE]\n\n"


class _Choice(Struct, gc=False):
    index: int = 0
    finish_reason: Any = None
    delta: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    text: str | None = None


class _Groq(Struct, gc=False):
    usage: dict[str, Any] | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: _Groq | None = None


_DECODER = msgspec.json.Decoder(_Chunk)
_NEEDLES = {b'":"': (b'"usage":{', b'"finish_reason":"'), b'": "': (b'"usage": {', b'"finish_reason": "')}


class ChatTap(BaseTap):
    """Events of one stream share their beginning, up to and with the model's name. Once it is known, most events cost a comparison and
    four searches; an event that begins otherwise, or holds something that counts, is read.
    """

    __slots__ = (
        "_choices",
        "_finish_mark",
        "_finishes",
        "_ours",
        "_overhead",
        "_prefix",
        "_size",
        "_strip",
        "_usage_mark",
    )

    def __init__(self, model: str, *, strip_usage: bool = False, choices: int = 1) -> None:
        super().__init__(model)
        self._strip = strip_usage
        self._choices = choices
        self._finishes: dict[int, str] = {}
        self._prefix = b""
        self._ours = b""
        self._size = 0
        self._usage_mark = b""
        self._finish_mark = b""
        self._overhead = 0
        """The bytes of an event that are not content."""

    @property
    def finish_reasons(self) -> dict[int, str]:
        return self._finishes

    @property
    def complete(self) -> bool:
        return self.finished or len(self._finishes) >= max(1, self._choices)

    def feed(self, chunk: bytes) -> bytes:
        # Written out: this runs for every event of every stream.
        size = self._size
        if size and chunk.startswith(self._prefix):
            find = chunk.find
            if (
                find(self._usage_mark, size) < 0
                and find(self._finish_mark, size) < 0
                and find(b'"error"', size) < 0
            ):
                if find(b"\n\n", size) == len(chunk) - 2:
                    if find(b'"model"', size) < 0:
                        self.output_bytes += len(chunk) - self._overhead
                        return self._ours + chunk[size:]
                elif chunk.count(b'"model"') == chunk.count(self._prefix):
                    # Several events, and no member of that name but those of their beginnings.
                    return self._feed_plain(chunk)
        return BaseTap.feed(self, chunk)

    def _feed_plain(self, chunk: bytes) -> bytes:
        """Several events in which nothing counts."""
        out = []
        for event in events_of(chunk):
            if event.startswith(self._prefix):
                self.output_bytes += len(event) - self._overhead
                out.append(self._ours + event[self._size :])
            else:
                out.append(self._event(event))
        return b"".join(out)

    def eof(self) -> bytes:
        if not self.complete:
            raise Truncated("the stream ended before a finish reason")
        if self.done_sent:
            return b""
        self.done_sent = True
        return DONE

    def _event(self, event: bytes) -> bytes:
        payload = payload_of(event)
        if payload.data == b"[DONE]":
            self.finished = self.done_sent = True
            return event
        if not payload.data:
            return event
        try:
            chunk = _DECODER.decode(payload.data)
        except msgspec.ValidationError:
            # Of another shape than a chunk has: an error can still be told.
            value = loads(payload.data)
            chunk = _Chunk(error=value.get("error") if isinstance(value, dict) else None)
        except (msgspec.DecodeError, RecursionError):
            self.skipped += 1
            return event
        if chunk.error or payload.name == b"error":
            self.failure = failure_of(loads(payload.data))
            self._size = 0
            return b""
        self._note_usage(chunk)
        for choice in chunk.choices or ():
            self._note_choice(choice)
        if self._strip and chunk.choices == [] and chunk.usage is not None:
            return b""
        return self._remember(event, payload)

    def _note_usage(self, chunk: _Chunk) -> None:
        wire = chunk.usage
        if wire is None and chunk.x_groq is not None:
            wire = chunk.x_groq.usage
        if wire is not None:
            self._usage = self._usage.merged(from_chat(wire))

    def _note_choice(self, choice: _Choice) -> None:
        if choice.finish_reason:
            self._finishes[choice.index] = str(choice.finish_reason)
            self.content = True
        delta = choice.delta or choice.message or {}
        if choice.text or any(value and name != "role" for name, value in delta.items()):
            self.content = True
            text = delta.get("content") or choice.text
            self.output_bytes += len(text) if isinstance(text, str) else 8
            self._overhead = -len(text.encode("utf-8", "replace")) if isinstance(text, str) else 0

    def _remember(self, event: bytes, payload: Payload) -> bytes:
        """The event under the client's name; its beginning is kept for the next ones."""
        renamed, start, end = self._renamed(event, payload, ("model",))
        if start < 0 or payload.start < 0:
            return renamed
        marks = _NEEDLES.get(_separator(event, start))
        if marks is None or event.count(b'"model"') != 1 or not self._overhead or self._finishes:
            # Unusual spacing, a second member of that name somewhere, or no text so far: the next event is read as well.
            return renamed
        self._usage_mark, self._finish_mark = marks
        self._prefix = event[:end]
        self._size = end
        self._ours = renamed[: end + len(self.model) - (end - start)]
        self._overhead += len(event)
        return renamed


def _separator(event: bytes, start: int) -> bytes:
    """What stands between a member's name and its value, with both quotes."""
    return (
        b'": "'
        if event[start - 1 : start] == b" " and event[start - 3 : start - 1] == b'":'
        else event[start - 2 : start] + b'"'
    )
