"""What stands between the upstream's bytes and the client's: the identity lens splices, the translating lens decodes and encodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from apipod_proxy.dialect import Decoder, Encoder
from apipod_proxy.dialect.sse import Splitter
from apipod_proxy.dialect.vocabulary import (
    CONTENT_EVENTS,
    End,
    Event,
    Failure,
    Start,
    Unknown,
    Usage,
    UsageReport,
)

Quick = Callable[[bytes], bytes | None]
"""Whole events, with a blank line behind the last one → the bytes for the client, where none of them tells anything of the answer; else None."""


class Lens(Protocol):
    """One answer seen through two dialects. ``feed`` takes any split of the bytes and gives whole events for the client.

    ``content``: a first piece of the answer has come, so the stream may start. ``finished``: it is whole. ``failure``: the provider
    reported an error in its stream. ``usage``: what was reported so far. ``framed``: the bytes themselves tell whether they are whole.
    ``relays_more``: what comes behind the terminal event is passed on as well.
    """

    framed: ClassVar[bool]
    relays_more: ClassVar[bool]

    content: bool
    finished: bool
    failure: Failure | None

    @property
    def usage(self) -> Usage: ...
    @property
    def quick(self) -> Quick | None:
        """A shorter way than ``feed``, which may be taken until ``feed`` is called again; None where there is none now."""
        ...

    def feed(self, data: bytes) -> bytes: ...
    def eof(self) -> bytes:
        """The last bytes for the client; raises ``dialect.ProtocolError`` when the answer is not whole."""
        ...


class Tap(Protocol):
    """Reads whole events as they pass, and puts the client's name for the model into them."""

    content: bool
    finished: bool
    failure: Failure | None

    @property
    def usage(self) -> Usage: ...
    def quick(self, chunk: bytes) -> bytes | None: ...
    def feed(self, chunk: bytes) -> bytes: ...
    def eof(self) -> bytes:
        """What is still missing of a whole answer; raises Truncated where it is not whole."""
        ...


class IdentityLens:
    """The same dialect on both sides: the bytes pass, whole events at a time."""

    framed: ClassVar[bool] = True
    relays_more: ClassVar[bool] = True

    __slots__ = ("_splitter", "_tap", "content", "failure", "finished")

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._splitter = Splitter()
        self.content = False
        self.finished = False
        self.failure: Failure | None = None

    @property
    def usage(self) -> Usage:
        return self._tap.usage

    @property
    def quick(self) -> Quick | None:
        return None if self._splitter.held else self._tap.quick

    def feed(self, data: bytes) -> bytes:
        data = self._splitter.feed(data)
        if not data:
            return b""
        tap = self._tap
        out = tap.feed(data)
        self.content = tap.content
        self.finished = tap.finished
        self.failure = tap.failure
        return out

    def eof(self) -> bytes:
        last = self._splitter.eof()
        # A last event may lack its blank line.
        out = self.feed(last + b"\n\n") if last else b""
        if self.failure is None:
            out += self._tap.eof()
            self.finished = True
        return out


class TranslatingLens:
    """Decode → encode, event by event."""

    framed: ClassVar[bool] = True
    relays_more: ClassVar[bool] = False
    quick: ClassVar[None] = None

    __slots__ = ("_decoder", "_encoder", "content", "failure", "finished", "skipped", "usage")

    def __init__(self, decoder: Decoder, encoder: Encoder) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self.content = False
        self.finished = False
        self.failure: Failure | None = None
        self.usage = Usage()
        self.skipped = 0

    def feed(self, data: bytes) -> bytes:
        return self._encode(self._decoder.feed(data))

    def eof(self) -> bytes:
        return self._encode(self._decoder.eof())

    def _encode(self, events: list[Event]) -> bytes:
        send = self._encoder.send
        out = b""
        for event in events:
            kind = type(event)
            if kind in CONTENT_EVENTS:
                self.content = True
            elif kind is not End:
                self._note(event)
                if self.failure is not None:
                    break
            else:
                self.finished = True
            out += send(event)
        return out

    def _note(self, event: Event) -> None:
        if isinstance(event, UsageReport):
            self.usage = self.usage.merged(event.usage)
        elif isinstance(event, Start):
            if event.usage is not None:
                self.usage = self.usage.merged(event.usage)
        elif isinstance(event, Failure):
            self.failure = event
        elif isinstance(event, Unknown):
            self.skipped += 1
