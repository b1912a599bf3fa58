"""The tap of Chat Completions streams (and of legacy completions)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.tap.base import BaseTap, Payload, events_of, is_line, loads, payload_of
from apipod_proxy.dialect.tap.shape import NO_FRAME, Shape, is_string, shape_of, shape_of_text
from apipod_proxy.dialect.usage import ChatCounts, from_chat, of_chat

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


class _PlainDelta(Struct, gc=False, forbid_unknown_fields=True):
    """A piece of an answer in which every member is known, so that no other can be part of what the model wrote."""

    role: Any = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None
    reasoning_details: Any = None
    channel: Any = None


class _PlainChoice(Struct, gc=False):
    index: int = 0
    finish_reason: Any = None
    delta: _PlainDelta | None = None
    message: None = None
    text: str | None = None


class _PlainGroq(Struct, gc=False):
    usage: ChatCounts | None = None


class _PlainChunk(Struct, gc=False):
    """The ordinary form, which nearly all events have."""

    model: str | None = None
    choices: list[_PlainChoice] | None = None
    usage: ChatCounts | None = None
    error: Any = None
    x_groq: _PlainGroq | None = None
    obfuscation: str | None = None


class _Groq(Struct, gc=False):
    usage: dict[str, Any] | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: _Groq | None = None


_PLAIN = msgspec.json.Decoder(_PlainChunk)
_DECODER = msgspec.json.Decoder(_Chunk)
_NO_DELTA = _PlainDelta()
_MODEL = b'"model"'
_PATH = ("model",)
_NO_MARKS = (b"", b"")
_NEEDLES = {b'":"': (b'"usage":{', b'"finish_reason":"'), b'": "': (b'"usage": {', b'"finish_reason": "')}


class ChatTap(BaseTap):
    """Events of one stream share their form, of which all but the text is known once one of them was read: see ``shape``. An event of another
    form may still share its beginning, up to and with the model's name; it then costs four searches. Whatever holds something that counts is read.
    """

    __slots__ = (
        "_choices",
        "_end",
        "_finishes",
        "_flat",
        "_frame",
        "_learnable",
        "_marks",
        "_ours",
        "_overhead",
        "_prefix",
        "_shape",
        "_size",
        "_start",
        "_strip",
    )

    def __init__(self, model: str, strip_usage: bool = False, choices: int = 1) -> None:
        super().__init__(model)
        self._strip = strip_usage
        self._choices = choices
        self._finishes: dict[int, str] = {}
        # Without its names: a bare tuple is unpacked in a third of the time.
        self._frame = NO_FRAME[:]
        self._shape: Shape | None = None
        self._learnable = SHAPES
        # ``_flat``: the bytes that each event of the shape counts for where it holds no text; 0: as many as it has beside ``_overhead``, those that
        # are not content. ``_start``, ``_end``: where the model's name stands in ``_prefix``, the beginning that events share, which is ``_ours`` as
        # the client gets it. ``_size``: the same as ``_end`` once text has come, so that events of this beginning may be searched.
        self._flat = self._overhead = self._start = self._end = self._size = 0
        self._prefix = self._ours = b""
        self._marks = _NO_MARKS

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
        usage, finish = self._marks
        if (
            chunk[:size] != self._prefix
            or chunk.find(usage, size) >= 0
            or chunk.find(finish, size) >= 0
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
        if event == DONE:
            self.finished = self.done_sent = True
            return event
        payload = None if is_line(event) else payload_of(event)
        try:
            chunk = _PLAIN.decode(event[6:-2] if payload is None else payload.data)
        except (msgspec.DecodeError, RecursionError):
            return self._any(event, payload or payload_of(event))
        if chunk.error or (payload is not None and payload.name == b"error"):
            return self._any(event, payload or payload_of(event))
        usage = chunk.usage
        if usage is None and chunk.x_groq is not None:
            usage = chunk.x_groq.usage
        if usage is not None:
            self._merge(of_chat(usage))
        choices = chunk.choices
        if not choices:
            if self._strip and choices is not None and chunk.usage is not None:
                return b""
            return self._remember(event, payload, chunk, 0)
        if len(choices) > 1:
            return self._remember(
                event, payload, chunk, sum(self._note_plain(choice) or 0 for choice in choices)
            )
        piece = self._note_plain(choices[0])
        return self._remember(event, payload, chunk, piece or 0, bare=piece == 0)

    def _note_plain(self, choice: _PlainChoice) -> int | None:
        """As ``_note_choice``."""
        if choice.finish_reason:
            self._finishes[choice.index] = str(choice.finish_reason)
            self.content = True
        delta = choice.delta or _NO_DELTA
        text = delta.content or choice.text
        if not text and not (
            delta.reasoning_content
            or delta.reasoning
            or delta.refusal
            or delta.tool_calls
            or delta.function_call
            or delta.reasoning_details
            or delta.channel
        ):
            return None
        self.content = True
        if text is None:
            self.output_bytes += NO_TEXT
            return 0
        self.output_bytes += len(text)
        return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))

    def _any(self, event: bytes, payload: Payload) -> bytes:
        """As ``_event``, for whatever is not of the ordinary form."""
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
        wire = chunk.usage
        if wire is None and chunk.x_groq is not None:
            wire = chunk.x_groq.usage
        if wire is not None:
            self._merge(from_chat(wire))
        pieces = [self._note_choice(choice) for choice in chunk.choices or ()]
        if self._strip and chunk.choices == [] and chunk.usage is not None:
            return b""
        return self._remember(event, payload, chunk, sum(filter(None, pieces)), bare=pieces == [0])

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

    def _remember(
        self,
        event: bytes,
        payload: Payload | None,
        chunk: _Chunk | _PlainChunk,
        text: int,
        *,
        bare: bool = False,
    ) -> bytes:
        """The event under the client's name; what it has in common with the next ones is kept. ``payload``: None where it is one line. ``text``: the
        bytes of it. ``bare``: the event has one choice, which holds something else.
        """
        whole = payload is None or payload.start >= 0
        end = self._end
        if end and whole and event[:end] == self._prefix and event.find(_MODEL, end) < 0:
            start, known = self._start, True
            renamed = self._ours + event[end:]
        else:
            renamed, start, end, known = self._renamed_plainly(event, payload, chunk)
        if not text and (self._size or not bare):
            # Nothing so far; or text has come already, so that what has none is known by the beginning that it shares.
            return renamed
        if start < 0 or not whole or self._finishes or not (known or event.count(_MODEL) == 1):
            return renamed
        if text:
            self._flat = 0
            self._overhead = len(event) - text
            marks = _NEEDLES.get(_separator(event, start))
            if marks is not None:
                self._marks = marks
                self._begin(event, start, end)
                self._size = end
            self._learnable = SHAPES
        else:
            self._flat = NO_TEXT
        if not _counts(chunk):
            self._learn(event, start, end, alone=_only_text(chunk))
        return renamed

    def _renamed_plainly(
        self, event: bytes, payload: Payload | None, chunk: _Chunk | _PlainChunk
    ) -> tuple[bytes, int, int, bool]:
        """As ``_renamed``, and whether this is the only member of its name; False where that was not asked."""
        if payload is None and isinstance(chunk, _PlainChunk) and chunk.model is not None:
            found = self._renamed_directly(event, chunk.model)
            if found is not None:
                renamed, start, end = found
                if not self._size:
                    self._begin(event, start, end)
                return renamed, start, end, True
        return (*self._renamed(event, payload or payload_of(event), _PATH), False)

    def _begin(self, event: bytes, start: int, end: int) -> None:
        """Keep the beginning of ``event`` up to the model's name, which stands from ``start`` to ``end``."""
        self._prefix = event[:end]
        self._start, self._end = start, end
        self._ours = event[:start] + self.model

    def _learn(self, event: bytes, start: int, end: int, *, alone: bool = False) -> None:
        """Keep the shape of an event in which nothing counts. The model's name stands from ``start`` to ``end``. ``alone``: but for ``content``
        it holds no string that carries text.
        """
        self._learnable -= 1
        shape = shape_of_text(event, start, end, self.model) if alone else None
        if shape is None:
            shape = shape_of(event, start, end, self.model, with_text=not self._flat)
        self._shape = shape
        self._frame = NO_FRAME[:] if shape is None else shape.frame[:]

    def _forget(self) -> None:
        self._size = self._end = 0
        self._shape = None
        self._frame = NO_FRAME[:]


def _only_text(chunk: _Chunk | _PlainChunk) -> bool:
    """Whether ``content`` is the only string of an event that carries text."""
    if not isinstance(chunk, _PlainChunk) or chunk.obfuscation is not None or not chunk.choices:
        return False
    delta = chunk.choices[0].delta
    return (
        len(chunk.choices) == 1
        and delta is not None
        and delta.content is not None
        and delta.reasoning_content is None
        and delta.reasoning is None
        and delta.refusal is None
        and not delta.tool_calls
        and not delta.function_call
        and not delta.reasoning_details
        and chunk.choices[0].text is None
    )


def _counts(chunk: _Chunk | _PlainChunk) -> bool:
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
