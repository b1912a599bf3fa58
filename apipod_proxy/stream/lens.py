"""What stands between the upstream's bytes and the client's: the identity lens splices, the translating lens decodes and encodes."""

from __future__ import annotations

from typing import Protocol

from apipod_proxy.dialect import Decoder, Encoder
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


class Lens(Protocol):
    """One answer seen through two dialects. ``feed`` takes any split of the bytes and gives whole events for the client.

    ``content``: a first piece of the answer has come, so the stream may start. ``finished``: it is whole. ``failure``: the provider
    reported an error in its stream. ``usage``: what was reported so far.
    """

    content: bool
    finished: bool
    failure: Failure | None
    usage: Usage

    def feed(self, data: bytes) -> bytes: ...
    def eof(self) -> bytes:
        """The last bytes for the client; raises ``dialect.ProtocolError`` when the answer is not whole."""
        ...


class TranslatingLens:
    """Decode → encode, event by event."""

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
