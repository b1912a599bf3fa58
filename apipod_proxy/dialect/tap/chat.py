"""The tap of Chat Completions streams (and of legacy completions)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.tap.base import BaseTap, Payload, events_of, loads, payload_of
from apipod_proxy.dialect.tap.shape import NO_FRAME, Shape, is_string, shape_of
from apipod_proxy.dialect.usage import from_chat

DONE = b"data: [DONE]\n\n"
NO_TEXT = 8
"""What an event counts for that holds no text but reasoning, or a piece of a tool call."""
LONG = 1024
"""Bytes from which on searches for one byte take less time than looking at each."""
SHAPES = 8
"""How often another shape is learnt from events that are not read, so that streams of many forms do not learn all the time."""


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
    """Events of one stream share their form, of which all but the text is known once one of them was read: see ``shape``. An event of another
    form may still share its beginning, up to and with the model's name; it then costs four searches. Whatever holds something that counts is read.
    """

    __slots__ = (
        "_choices",
        "_finish_mark",
        "_finishes",
        "_flat",
        "_frame",
        "_learnable",
        "_ours",
        "_overhead",
        "_prefix",
        "_shape",
        "_size",
        "_start",
        "_strip",
        "_usage_mark",
    )

    def __init__(self, model: str, *, strip_usage: bool = False, choices: int = 1) -> None:
        super().__init__(model)
        self._strip = strip_usage
        self._choices = choices
        self._finishes: dict[int, str] = {}
        self._frame = NO_FRAME
        self._shape: Shape | None = None
        self._learnable = SHAPES
        self._flat = 0
        """The bytes that each event of the shape counts for where it holds no text; 0: as many as it has beside ``_overhead``."""
        self._overhead = 0
        """The bytes of an event that are not content."""
        self._prefix = b""
        self._ours = b""
        self._start = self._size = 0
        """Where the model's name begins and ends in the beginning that events share."""
        self._usage_mark = b""
        self._finish_mark = b""

    @property
    def finish_reasons(self) -> dict[int, str]:
        return self._finishes

    @property
    def complete(self) -> bool:
        return self.finished or len(self._finishes) >= max(1, self._choices)

    def quick(self, chunk: bytes) -> bytes | None:
        # Written out, and slices compared where a method would be called: this runs for every event of every stream.
        head, size, tail, end, our_head, our_tail, lone = self._frame
        if chunk[:size] == head and chunk[end:] == tail:
            length = len(chunk)
            if lone:
                text = chunk[size:end]
                if length < LONG:
                    # Letters alone are told fastest; line ends around them make up no line that counts.
                    whole = text.strip().isalnum() or (text != b"" and is_string(text) is not None)
                else:
                    whole = text.find(b'"') < 0 and text.find(b"\n") < 0 and text.find(b"\r") < 0
                if whole:
                    self.output_bytes += self._flat or length - self._overhead
                    return our_head + text + our_tail
            shape = self._shape
            passed = shape.passed(chunk) if shape is not None else None
            if passed is not None:
                events, count = passed
                self.output_bytes += count * self._flat or length - count * self._overhead
                return events
        return self._searched(chunk) if self._size else None

    def _searched(self, chunk: bytes) -> bytes | None:
        """As ``quick``, for events of a known beginning."""
        size = self._size
        if (
            chunk[:size] != self._prefix
            or chunk.find(self._usage_mark, size) >= 0
            or chunk.find(self._finish_mark, size) >= 0
            or chunk.find(b'"error"', size) >= 0
        ):
            return None
        if chunk.find(b"\n\n", size) == len(chunk) - 2:
            if chunk.find(b'"model"', size) >= 0:
                return None
            if self._learnable:
                self._learn(chunk, self._start, size)
            self.output_bytes += len(chunk) - self._overhead
            return self._ours + chunk[size:]
        out = []
        for event in events_of(chunk):
            if event[:size] != self._prefix or event.find(b'"model"', size) >= 0:
                return None
            out.append(self._ours + event[size:])
        self.output_bytes += len(chunk) - len(out) * self._overhead
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
            self._forget()
            return b""
        self._note_usage(chunk)
        pieces = [self._note_choice(choice) for choice in chunk.choices or ()]
        if self._strip and chunk.choices == [] and chunk.usage is not None:
            return b""
        return self._remember(event, payload, pieces, counts=_counts(chunk))

    def _note_usage(self, chunk: _Chunk) -> None:
        wire = chunk.usage
        if wire is None and chunk.x_groq is not None:
            wire = chunk.x_groq.usage
        if wire is not None:
            self._usage = self._usage.merged(from_chat(wire))

    def _note_choice(self, choice: _Choice) -> int | None:
        """The bytes of its text; 0 where it holds something else, None where it holds nothing."""
        if choice.finish_reason:
            self._finishes[choice.index] = str(choice.finish_reason)
            self.content = True
        delta = choice.delta or choice.message or {}
        if not choice.text and not any(value and name != "role" for name, value in delta.items()):
            return None
        self.content = True
        text = delta.get("content") or choice.text
        if isinstance(text, str):
            self.output_bytes += len(text)
            return len(text.encode("utf-8", "replace"))
        self.output_bytes += NO_TEXT
        return 0

    def _remember(self, event: bytes, payload: Payload, pieces: list[int | None], *, counts: bool) -> bytes:
        """The event under the client's name; what it has in common with the next ones is kept."""
        renamed, start, end = self._renamed(event, payload, ("model",))
        text = sum(piece or 0 for piece in pieces)
        if start < 0 or payload.start < 0 or event.count(b'"model"') != 1 or self._finishes:
            return renamed
        if text:
            self._flat = 0
            self._overhead = len(event) - text
            marks = _NEEDLES.get(_separator(event, start))
            if marks is not None:
                self._usage_mark, self._finish_mark = marks
                self._prefix = event[:end]
                self._start, self._size = start, end
                self._ours = renamed[: end + len(self.model) - (end - start)]
            self._learnable = SHAPES
        elif pieces != [0] or self._size:
            # Nothing so far; or text has come already, so that what has none is known by the beginning that it shares.
            return renamed
        else:
            self._flat = NO_TEXT
        if not counts:
            self._learn(event, start, end)
        return renamed

    def _learn(self, event: bytes, start: int, end: int) -> None:
        """Keep the shape of an event in which nothing counts. The model's name stands from ``start`` to ``end``."""
        self._learnable -= 1
        shape = shape_of(event, start, end, self.model, with_text=not self._flat)
        self._shape = shape
        self._frame = NO_FRAME if shape is None else shape.frame

    def _forget(self) -> None:
        self._size = 0
        self._shape = None
        self._frame = NO_FRAME


def _counts(chunk: _Chunk) -> bool:
    """Whether more than its text is to be told of an event."""
    if chunk.usage is not None or chunk.x_groq is not None or not chunk.choices:
        return True
    return any(choice.finish_reason for choice in chunk.choices)


def _separator(event: bytes, start: int) -> bytes:
    """What stands between a member's name and its value, with both quotes."""
    return (
        b'": "'
        if event[start - 1 : start] == b" " and event[start - 3 : start - 1] == b'":'
        else event[start - 2 : start] + b'"'
    )
