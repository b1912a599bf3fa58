"""One HTTP answer, written straight to the client's transport.

``StreamResponse`` builds a header map, serialises it and wakes a task for each write; that is most of what a forwarded event
costs. Here the head is one join of bytes and a write is one call of the transport, so a read from upstream becomes a write to
the client within the same callback. aiohttp keeps the connection: it is handed a response that is already on the wire.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from apipod_proxy.edge.incoming import Incoming, Request

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
} | {
    529: b"HTTP/1.1 529 Overloaded\r\n",
    499: b"HTTP/1.1 499 Client Closed Request\r\n",
}
STREAM_HEAD = b"content-type: text/event-stream\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class DateLine:
    """The ``date`` header, formatted once a second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._line = b""

    def at(self, epoch_seconds: int) -> bytes:
        if epoch_seconds != self._second:
            self._second = epoch_seconds
            self._line = f"date: {formatdate(epoch_seconds, usegmt=True)}\r\n".encode()
        return self._line


class Sent(web.StreamResponse):
    """Tells aiohttp that the answer is on the wire, and whether the connection may go on."""

    def __init__(self, status: int, keep_alive: bool) -> None:
        super().__init__(status=status)
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        pass


class Answer:
    """Begins with ``begin_stream`` or ``send``; ``headers`` are complete lines, each with its CRLF, set before that."""

    __slots__ = (
        "_begun",
        "_chunked",
        "_date",
        "_ended",
        "_head",
        "_keep_alive",
        "_protocol",
        "_request",
        "headers",
        "sent",
        "status",
    )

    def __init__(self, request: Request, date: bytes) -> None:
        self._request = request
        self._protocol: Any = request.protocol
        self._date = date
        self._keep_alive = request.keep_alive
        self._chunked = request.version >= (1, 1)
        self._begun = False
        self._ended = False
        self._head = b""
        """That of a stream, until it goes out with the first events in one write."""
        self.headers = b""
        self.status = 0
        self.sent = 0

    @property
    def begun(self) -> bool:
        return self._begun

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def gone(self) -> bool:
        transport = self._protocol.transport
        return transport is None or transport.is_closing()

    @property
    def paused(self) -> bool:
        """Whether the write buffer is full."""
        return bool(self._protocol.writing_paused)

    def close_after(self) -> None:
        """The connection ends with this answer."""
        self._keep_alive = False

    def _connection(self) -> bytes:
        if not self._keep_alive:
            return b"connection: close\r\n"
        return b"" if self._chunked else b"connection: keep-alive\r\n"

    def begin_stream(self, content: bytes = STREAM_HEAD) -> None:
        """Status 200 and the head of a streamed answer, which what is written first takes along. HTTP/1.0 clients get a close-delimited body."""
        self._begun = True
        self.status = 200
        if self._chunked:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b""
            self._keep_alive = False
        self._head = b"".join(
            (STATUS_LINES[200], content, framing, self._connection(), self._date, self.headers, b"\r\n")
        )

    def write(self, data: bytes) -> bool:
        """Send ``data`` (not empty) as one chunk; says whether the client cannot keep up. Nothing happens once it is gone."""
        transport = self._protocol.transport
        # uvloop raises on a write to a closed transport, and this may be the middle of an upstream callback.
        if transport is None or transport.is_closing():
            return False
        size = len(data)
        self.sent += size
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (size, data)
        if self._head:
            data, self._head = self._head + data, b""
        transport.write(data)
        return self._protocol.writing_paused  # type: ignore[no-any-return]  # of a door or of aiohttp's connection

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            last = self._head + LAST_CHUNK if self._chunked else self._head
            if last:
                self._put(last)

    def send(self, status: int, content_type: bytes, body: bytes, *, head_only: bool = False) -> None:
        """A whole answer in one write."""
        self._begun = self._ended = True
        self.status = status
        whole = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b%b\r\n%b" % (
            STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status,
            content_type,
            len(body),
            self._connection(),
            self._date,
            self.headers,
            b"" if head_only else body,
        )
        if isinstance(self._request, Incoming):
            self._request.protocol.answer(whole)
        else:
            self._put(whole)

    def _put(self, data: bytes) -> None:
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    def drained(self) -> Awaitable[None]:
        """Waits until the write buffer has room; ConnectionError when the client leaves."""
        return self._request.writer.drain()

    def abort(self) -> None:
        transport = self._protocol.transport
        if transport is not None:
            transport.abort()

    @property
    def reusable(self) -> bool:
        """Whether the connection may go on; an answer that was not ended closes it."""
        return self._keep_alive and self._ended

    def response(self) -> web.StreamResponse:
        """The same as aiohttp wants to be told it."""
        return Sent(self.status, self.reusable)


def header_lines(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Header lines from names and values; what cannot stand in a header is percent-encoded, so that no value makes a line of its own."""
    return b"".join(b"%b: %b\r\n" % (name.encode(), header_value(value)) for name, value in pairs)


def header_value(value: str) -> bytes:
    """``value`` as printable ASCII."""
    if value.isascii() and value.isprintable():
        return value.encode()
    return b"".join(
        bytes((byte,)) if 0x20 <= byte < 0x7F else b"%%%02X" % byte
        for byte in value.encode("utf-8", "surrogatepass")
    )
