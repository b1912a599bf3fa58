"""Streams that are passed on as they come: sound, and events of operations that are no completions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, Protocol

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect.vocabulary import Failure, Usage
from apipod_proxy.errors import ProxyError
from apipod_proxy.stream.outlet import Client, Frames, Outlet, Source

EVENTS = b"text/event-stream"
BYTES = b"application/octet-stream"

EVENT_STARTS = (b"event:", b"data:", b": ", b":\n")
TAIL_BYTES = 4096
"""The last event of an image is long, and usage is what it ends with."""


class RawClient(Client, Protocol):
    """A client whose answer may begin as something else than a stream of events."""

    def begin_stream(self, content: bytes = ...) -> None: ...


class Headed(Protocol):
    """A pump, of which the head of the answer is known."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]: ...


class RawLens:
    """Every byte passes; an answer of one byte has begun, and what ends in good order is whole."""

    framed: ClassVar[bool] = False
    relays_more: ClassVar[bool] = True
    quick: ClassVar[None] = None

    __slots__ = ("_read_usage", "_tail", "content", "failure", "finished")

    def __init__(self, read_usage: Callable[[bytes], Usage]) -> None:
        """``read_usage`` looks for usage in the end of a stream of events."""
        self._read_usage = read_usage
        self._tail: bytes | None = None
        """None where the answer is no stream of events."""
        self.content = False
        self.finished = False
        self.failure: Failure | None = None

    @property
    def usage(self) -> Usage:
        """What the end of a stream of events says. The length of an answer tells nothing of what it cost beside the input."""
        return self._read_usage(self._tail) if self._tail else Usage(output=0)

    def feed(self, data: bytes) -> bytes:
        if not self.content and data:
            self.content = True
            if data.startswith(EVENT_STARTS):
                self._tail = b""
        if self._tail is not None:
            self._tail = data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (self._tail + data)[-TAIL_BYTES:]
        return data

    def eof(self) -> bytes:
        if not self.content:
            raise Truncated("an answer without a body")
        return b""


class RawOutlet(Outlet):
    """Answers with the content type of the upstream. What breaks off is cut, unless it is a stream of events, which can be told."""

    __slots__ = ("_content", "_raw_client")

    def __init__(self, client: RawClient, frames: Frames, loop: asyncio.AbstractEventLoop) -> None:
        # Nothing may be put between the bytes of a sound.
        super().__init__(client, frames, None, loop)
        self._raw_client = client
        self._content = BYTES

    def claim(self, pump: object, source: Source | None) -> bool:
        claimed = super().claim(pump, source)
        if claimed:
            self._content = content_type(getattr(pump, "headers", []))
        return claimed

    def _begin(self) -> None:
        self._begun = True
        if not self._raw_client.begun:
            self._raw_client.begin_stream(b"content-type: %b\r\ncache-control: no-cache\r\n" % self._content)

    def fail(self, error: ProxyError) -> None:
        if self._content.startswith(EVENTS):
            super().fail(error)
        elif not self.ended:
            self.ended = True
            self.close()
            self._raw_client.abort()


def content_type(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The content type that the upstream names."""
    return next((value for name, value in headers if name == b"content-type" and value), BYTES)
