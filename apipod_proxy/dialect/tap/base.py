"""What every tap has: taking a chunk apart into events, and replacing a model's name in one."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import NamedTuple

import msgspec

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect import members as objects
from apipod_proxy.dialect.vocabulary import Failure, Json, Usage

# Atomic: one line end of two bytes is never taken for two.
_EVENT = re.compile(rb".*?(?>\r\n|\n|\r)(?>\r\n|\n|\r)+|.+\Z", re.DOTALL)
_DATA = re.compile(rb"^data:[ ]?([^\r\n]*)", re.MULTILINE)
_NAME = re.compile(rb"^event:[ ]?([^\r\n]*)", re.MULTILINE)
_AFTER_CR = re.compile(rb"\r(?!\n)")
_MODEL = b'"model"'
_ESCAPED_LETTER = b"\\u006"
"""How each letter of ``model`` begins where it is escaped."""
NOTHING = Usage()
"""No usage was reported."""


class Payload(NamedTuple):
    """The data of one event. ``start`` is where it stands in the event, -1 where it is spread over several lines."""

    name: bytes
    data: bytes
    start: int


def events_of(chunk: bytes) -> list[bytes]:
    """Whole events, each with the blank line that ends it."""
    # ``in`` would try the bytes as a number first, which takes longer than the search.
    if chunk.find(b"\r") < 0 and chunk.endswith(b"\n\n"):
        *events, rest = chunk.split(b"\n\n")
        found = [event + b"\n\n" for event in events]
        if rest:
            # A third line end in a row.
            found.append(rest)
        return found
    return _EVENT.findall(chunk)


def is_line(event: bytes) -> bool:
    """Whether ``event`` is one line of data and nothing else; the data then stands at [6:-2]."""
    return (
        event[:6] == b"data: "
        and event.find(b"\n") == len(event) - 2
        and event[-1:] == b"\n"
        and event.find(b"\r") < 0
    )


def payload_of(event: bytes) -> Payload:
    """The data of ``event``; empty where it has none, as a comment."""
    if is_line(event):
        return Payload(b"", event[6:-2], 6)
    if event[:7] == b"event: ":
        named = event.find(b"\n")
        if is_line(event[named + 1 :]) and event.find(b"\r", 0, named) < 0:
            return Payload(event[7:named], event[named + 7 : -2], named + 7)
    if b"\r" in event:
        event = _AFTER_CR.sub(b"\n", event)
    found = list(_DATA.finditer(event))
    name = _NAME.search(event)
    title = name[1] if name else b""
    if event.startswith(b"error:"):
        # llama.cpp puts errors into a field of their own.
        return Payload(b"error", event[len(b"error:") :].strip(), -1)
    if len(found) == 1:
        return Payload(title, found[0][1], found[0].start(1))
    return Payload(title, b"\n".join(line[1] for line in found), -1)


def replaced(event: bytes, payload: Payload, data: bytes) -> bytes:
    """``event`` with other data."""
    if payload.start >= 0:
        return event[: payload.start] + data + event[payload.start + len(payload.data) :]
    head = b"event: %b\n" % payload.name if payload.name else b""
    return b"%bdata: %b\n\n" % (head, data.replace(b"\n", b" "))


def place_of(text: bytes, name: bytes) -> int:
    """Where ``name`` stands as the value of the only member ``model`` of ``text``, in any object; -1 where a few searches do not tell."""
    at = text.find(_MODEL)
    if at < 0:
        return -1
    at += len(_MODEL)
    if text[at : at + 1] != b":" or text.find(_MODEL, at) >= 0:
        return -1
    if text.find(b"\\") >= 0 and text.find(_ESCAPED_LETTER) >= 0:
        return -1
    at += 2 if text[at + 1 : at + 2] == b" " else 1
    return at if text[at : at + len(name)] == name else -1


def with_model(data: bytes, path: tuple[str, ...], model: bytes) -> tuple[bytes, int, int]:
    """(``data`` with the string at ``path`` replaced by ``model``, where the old one began, where it ended); -1 where there is none.

    ``model`` is JSON text. Names within a path are those of nested objects.
    """
    start, end = 0, len(data)
    for name in path:
        text = data[start:end]
        found = objects.read(text)
        if found is None or name not in found:
            return data, -1, -1
        span = next(span for span in reversed(objects.spans(text, found)) if span.name == name)
        start, end = start + span.value, start + span.end
    if data[start : start + 1] != b'"':
        return data, -1, -1
    return data[:start] + model + data[end:], start, end


def loads(data: bytes) -> Json:
    """The JSON of ``data``; None where it is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


class BaseTap(ABC):
    """Reads along in one answer that is passed on as it is. ``feed`` takes whole events and gives what is sent.

    ``content``: a first piece of the answer was seen. ``finished``: its terminal event was. ``failure``: the provider reported an error in
    its stream; that event and what follows it are not passed on, since the gateway ends the stream in its own words.
    ``output_bytes``: about how much the model wrote, for an estimate where no usage came. ``found_model``: the provider's name of the model.
    """

    __slots__ = (
        "_usage",
        "content",
        "done_sent",
        "failure",
        "finished",
        "found_model",
        "model",
        "output_bytes",
        "skipped",
    )

    def __init__(self, model: str) -> None:
        self.model = objects.dumps(model)
        """The name the client asked for, as JSON text."""
        self._usage = NOTHING
        self.content = False
        self.finished = False
        self.done_sent = False
        self.failure: Failure | None = None
        self.found_model: str | None = None
        self.output_bytes = 0
        self.skipped = 0
        """Events that were no JSON: passed on, not understood."""

    @property
    def usage(self) -> Usage:
        """What was reported so far."""
        return self._usage

    @property
    def complete(self) -> bool:
        """Whether the answer is whole if nothing more comes."""
        return self.finished

    def quick(self, chunk: bytes) -> bytes | None:
        """Whole events as they are passed on where none of them counts; None, and nothing noted, where ``feed`` has to look.

        What this tap tells of the answer but ``output_bytes`` stays as it was.
        """
        return None

    def feed(self, chunk: bytes) -> bytes:
        """``chunk`` as it is passed on."""
        passed = self.quick(chunk)
        if passed is not None:
            return passed
        last = len(chunk) - 2
        if chunk.find(b"\n\n") == last > 0 and chunk.find(b"\r") < 0:
            return b"" if self.failure is not None else self._event(chunk)
        events = events_of(chunk)
        if len(events) == 1:
            return b"" if self.failure is not None else self._event(chunk)
        out = []
        for event in events:
            if self.failure is not None:
                break
            passed = self.quick(event)
            out.append(self._event(event) if passed is None else passed)
        return b"".join(out)

    def eof(self) -> bytes:
        """What is still missing of a whole answer; Truncated where it is not whole."""
        if not self.complete:
            raise Truncated("the stream ended before its terminal event")
        return b""

    @abstractmethod
    def _event(self, event: bytes) -> bytes:
        """One event, as it is passed on."""

    def _merge(self, usage: Usage) -> None:
        before = self._usage
        self._usage = usage if before is NOTHING else before.merged(usage)

    def _renamed(self, event: bytes, payload: Payload, path: tuple[str, ...]) -> tuple[bytes, int, int]:
        """The event under the client's model name, and where the old name stood in it."""
        data, start, end = with_model(payload.data, path, self.model)
        if start < 0:
            return event, -1, -1
        if self.found_model is None:
            self.found_model = loads(payload.data[start:end])
        return replaced(event, payload, data), start + payload.start, end + payload.start

    def _renamed_directly(self, event: bytes, name: str) -> tuple[bytes, int, int] | None:
        """As ``_renamed``, where a typed pass found ``name`` in the member ``model``; None where its place is not told by a few searches."""
        quoted = objects.dumps(name)
        start = place_of(event, quoted)
        if start < 0:
            return None
        if self.found_model is None:
            self.found_model = name
        end = start + len(quoted)
        return event[:start] + self.model + event[end:], start, end
