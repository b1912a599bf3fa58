"""One HTTP/1.1 connection to a server, client side: a callback protocol on llhttp.

What the socket read brings is parsed and handed to the receiver inside that read. A Python HTTP client usually puts
a stream object and a task between the two; doing without them halves the cost of a forwarded event. Between two chunks
of a body the parser is not even asked: a read that is one chunk, as nearly every event of a stream is, is told by one
comparison, and several chunks of one read are handed on as one piece.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpParserError, HttpResponseParser

from apipod_proxy.errors import Unreachable, UpstreamBroken, UpstreamError, UpstreamTimeout
from apipod_proxy.upstream.call import Call, Receiver
from apipod_proxy.upstream.chunks import whole_chunks
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.inflate import Inflater, Undecodable

if TYPE_CHECKING:
    from apipod_proxy.upstream.lane import Lane

__all__ = ["Call", "Connection", "Endpoint", "Receiver"]

HEAD_LIMIT: Final = 64 * 1024
"""Bytes of a head, and of anything else that brings no content: interim answers, chunk extensions, trailers."""
FIELD_LIMIT: Final = 256

JOIN_LIMIT: Final = 16 * 1024
"""Up to here head and body are copied into one buffer; above, two buffers in one writev cost less than the copy."""
SLICE: Final = 256 * 1024
"""Larger bodies are written in pieces of this size as the socket takes them, so that TLS does not encrypt 32 MB at once."""

# What is awaited from the server.
HEAD: Final = 0
BODY: Final = 1
COMPLETE: Final = 2

_NO_CODING: Final = frozenset({b"", b"identity", b"none", b"utf-8"})
"""Content codings that code nothing; the last two are no codings, but servers that mean a character set say them."""

_PROMISE: Final = re.compile(rb"timeout\s*=\s*(\d{1,9})")

_TICK: Final = 0.002
"""The loop's clock has whole milliseconds, so a timer may see a time just before the one it was set for."""


class _Broken(Exception):
    """Raised inside a parser callback: the answer is well formed HTTP that cannot be taken."""


def promised(field: bytes) -> float:
    """Seconds that a server keeps an idle connection by its Keep-Alive header, less the time of a request on its way."""
    found = _PROMISE.search(field)
    if found is None:
        return math.inf
    seconds = int(found[1])
    return seconds - min(1.0, seconds / 2)


def _by_name(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Of fields that come twice the last one counts, but for codings: one in each of two lines is the same as both in one."""
    fields = dict(headers)
    if len(fields) != len(headers):
        for name in (b"transfer-encoding", b"content-encoding"):
            if name in fields:
                fields[name] = b", ".join({value.lower(): None for each, value in headers if each == name})
    return fields


def _ignore(data: bytes) -> None:
    """The sink of a connection whose call is over."""


class Connection(asyncio.Protocol):
    __slots__ = (  # noqa: RUF023 - in groups by life time
        # for life
        "_feed",
        "_lane",
        "_loop",
        "_now",
        "_parser",
        "_write_paused",
        "born",
        "expires",
        "held",
        "promise",
        "served",
        "transport",
        # of the request under way
        "_between",
        "_bodiless",
        "_call",
        "_even",
        "_headers",
        "_inflater",
        "_keep",
        "_last",
        "_quiet",
        "_rest",
        "_sink",
        "_stage",
        "_until_eof",
        # the one timer, left armed from one request to the next
        "_due",
        "_timer",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._loop = lane.loop
        self._now = lane.loop.time
        self._parser = HttpResponseParser(self)
        # Old servers pad chunk sizes with spaces. Other leniencies stay off: a bare LF would let a chunk that is
        # one byte short pass for a whole one.
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)
        self._feed: Callable[[bytes], None] = self._parser.feed_data
        self._write_paused = False
        # Whether it takes a place in its lane. One that is being opened does not: its opening has the place.
        self.held = False
        self.served = 0
        self.born = 0.0
        self.expires = 0.0
        self.promise = math.inf
        # Whether the parser has seen the end of a chunk last, and whether that was the end of the read, too.
        self._between = False
        self._even = False
        self._bodiless = False
        self._call: Call | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._inflater: Inflater | None = None
        self._keep = True
        self._last = 0.0
        self._quiet = 0
        self._rest: memoryview | None = None
        self._sink: Callable[[bytes], None] = _ignore
        self._stage = HEAD
        self._until_eof = False
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        stages = ("awaiting the head", "receiving", "complete")
        state = "idle" if self._call is None else stages[self._stage]
        return f"<Connection {state}, {self.served} served>"

    # The request

    def start(self, call: Call) -> bool:
        """Write the request of ``call``. False when the connection turns out to be closed: nothing was sent then."""
        transport = self.transport
        if transport.is_closing():
            return False
        head, body = call.head, call.body
        size = len(body)
        try:
            if size <= JOIN_LIMIT:
                self._lane.burst.write(transport, head + body)
            elif size <= SLICE:
                transport.writelines((head, body))
            else:
                transport.write(head)
                self._rest = memoryview(body)
                self._write_rest(transport)
        except RuntimeError:
            # uvloop raises it for a handle that it has closed, before is_closing() tells.
            self._rest = None
            return False
        call.sent = True
        call.connection = self
        self._call = call
        self._stage = HEAD
        self._quiet = 0
        self._between = self._even = False
        self._bodiless = head.startswith(b"HEAD ")
        self._last = now = self._now()
        due = now + call.timeouts.first_byte
        if self._timer is None or self._due > due:
            self._arm(due)
        if call.paused:
            transport.pause_reading()
        return True

    def _write_rest(self, transport: asyncio.Transport) -> None:
        rest = self._rest
        while rest is not None and not self._write_paused:
            transport.write(rest[:SLICE])
            rest = rest[SLICE:] if len(rest) > SLICE else None
        self._rest = rest

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._last = self._now()
        if self._rest is not None and not self.transport.is_closing():
            self._write_rest(self.transport)

    def pause(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        self._last = self._now()
        if not self.transport.is_closing():
            self.transport.resume_reading()

    # The answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._even:
            end = data.find(b"\r\n", 0, 10)
            size = len(data) - end - 4
            if size > 0 and data[:end] == b"%x" % size and data.endswith(b"\r\n"):
                content, at = data[end + 2 : -2], 0
            else:
                content, at = whole_chunks(data)
                self._even = at == len(data)
            if content:
                # Taken out of their slots first: the interpreter calls a name faster than an attribute that is no method.
                now, sink = self._now, self._sink
                self._last = now()
                try:
                    sink(content)
                except Exception as exc:
                    self._receiver_failed(exc)
            if self._even or self._call is None:
                return
            data = data[at:]
        if self._call is None:
            # Nobody asked: the rest of an answer that is over, or a server that speaks out of turn.
            self.drop()
            return
        if self._stage == BODY:  # a head that drips in is still late
            self._last = self._now()
        self._quiet += len(data)
        try:
            self._feed(data)
        except HttpParserError as exc:
            if self._stage != COMPLETE:
                self._refuse(exc)
                return
            # Garbage behind a whole answer costs the connection, not the answer.
            self._keep = False
        if self._stage == COMPLETE:
            if self._call is not None:
                self._finish()
            return
        self._even = self._between and data.endswith(b"\r\n")
        if self._quiet > HEAD_LIMIT:
            self._fail(UpstreamBroken(f"more than {HEAD_LIMIT} bytes without content"))

    def on_chunk_header(self) -> None:
        self._between = False

    def on_chunk_complete(self) -> None:
        self._between = True

    def on_message_begin(self) -> None:
        if self._stage == COMPLETE:
            # A second answer behind the one that was asked for: nothing of it is anybody's.
            self._keep = False
            self._sink = _ignore

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage == HEAD:  # else a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        call = self._call
        if call is None or self._stage != HEAD:
            return
        headers = self._headers
        self._headers = []
        parser = self._parser
        status = parser.get_status_code()
        if status < 200:
            if status < 102 and status != 100:
                raise _Broken(f"status {status}")
            return
        if len(headers) > FIELD_LIMIT or (
            self._quiet > HEAD_LIMIT and sum(len(name) + len(value) for name, value in headers) > HEAD_LIMIT
        ):
            raise _Broken("the head is too large")
        self._keep = keep = parser.should_keep_alive()
        self._until_eof = False
        fields = _by_name(headers)
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise _Broken(f"transfer-encoding {coding[:40]!r}")
        elif not keep:
            # The only way to tell an answer that lasts until the connection closes: llhttp does not say.
            self._until_eof = b"content-length" not in fields and status not in (204, 304)
        receiver = call.receiver
        assert receiver is not None
        self._last = self._now()
        due = self._last + call.timeouts.idle
        if due < self._due:
            # The timer was set for the head, which may take longer than a pause in the body.
            self._arm(due)
        # The answer has begun, so the request is not repeated any more.
        call.head = call.body = b""
        self._sink = receiver.body
        if self._bodiless:
            # llhttp cannot be told that a HEAD request has no body, so what it makes of the rest is not looked at.
            self._stage = COMPLETE
            self._keep = False
            self._sink = _ignore
        else:
            self._stage = BODY
            if b"content-encoding" in fields:
                headers = self._decode(fields[b"content-encoding"], headers, receiver)
        if b"keep-alive" in fields:
            self.promise = promised(fields[b"keep-alive"])
        receiver.head(status, headers)

    def _decode(
        self, coding: bytes, headers: list[tuple[bytes, bytes]], receiver: Receiver
    ) -> list[tuple[bytes, bytes]]:
        """Undo a content coding that nobody asked for; the headers are those of the plain content."""
        codings = [
            one for one in (part.strip().lower() for part in coding.split(b",")) if one not in _NO_CODING
        ]
        if not codings:
            return headers
        inflater = self._inflater = Inflater.of(b",".join(codings), receiver.body)
        if inflater is None:
            raise _Broken(f"content-encoding {coding[:40]!r}")
        self._sink = inflater.feed
        return [pair for pair in headers if pair[0] not in (b"content-encoding", b"content-length")]

    def on_body(self, data: bytes) -> None:
        self._quiet = 0
        self._sink(data)

    def on_message_complete(self) -> None:
        if self._stage == BODY:
            self._stage = COMPLETE

    def eof_received(self) -> None:
        if self._stage == BODY and self._until_eof and self._call is not None:
            self._stage = COMPLETE
            self._keep = False
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The parser holds bound methods of this object.
        del self._parser
        self._feed = _ignore
        self._rest = None
        call, lane = self._call, self._lane
        lane.lost(self)
        if call is None:
            self._leave()
            return
        if self._stage == HEAD and self._quiet == 0:
            if self.served and call.repeatable:
                # The server closed an idle connection while the request was on its way to it.
                self._call = call.connection = None
                self.held = False
                lane.repeat(call)
                return
            error: UpstreamError = Unreachable("request", sent=True)
        else:
            error = UpstreamBroken(f"the connection closed inside the {'body' if self._stage else 'head'}")
        self._fail(error, exc)

    # The end of a call

    def _finish(self) -> None:
        """The answer is whole: free the connection first, so that ``end`` can already use it again."""
        call = self._call
        assert call is not None
        if self._inflater is not None and not self._bodiless and not self._inflater.whole:
            self._fail(UpstreamBroken("the compressed content is cut short"))
            return
        receiver = call.receiver
        assert receiver is not None
        call.receiver = call.connection = self._call = self._inflater = None
        self._sink = _ignore
        transport = self.transport
        if not self.served and self._lane.endpoint.tls:
            self._lane.remember(transport)
        # An answer that came before the request was taken whole leaves the connection in the middle of it.
        if self._keep and self._rest is None and not transport.get_write_buffer_size():
            if call.paused:
                transport.resume_reading()
            self.served += 1
            self._lane.release(self)
        else:
            self.drop()
        try:
            receiver.end()
        except Exception as exc:
            self._lane.report("a receiver raised in end()", exc)

    def drop(self) -> None:
        """Close at once, whatever is under way; the receiver hears nothing."""
        self._call = self._inflater = None
        self._even = False
        self._sink = _ignore
        self.transport.abort()
        self._leave()

    def _leave(self) -> None:
        if self.held:
            self.held = False
            self._lane.discard(self)

    def close(self, error: UpstreamError) -> None:
        """Close at once; a receiver hears of ``error``."""
        self._fail(error)

    def _fail(self, error: UpstreamError, cause: BaseException | None = None) -> None:
        call = self._call
        self.drop()
        if call is not None:
            call.fail(error, cause)

    def _refuse(self, error: HttpParserError) -> None:
        """The parser stopped: because of what the server sent, or because a callback raised."""
        cause = error.__context__
        if cause is None:
            self._fail(UpstreamBroken(str(error)), error)
        elif isinstance(cause, _Broken | Undecodable):
            self._fail(UpstreamBroken(str(cause)), cause)
        else:
            if not isinstance(cause, Exception):
                self._fail(UpstreamBroken("the receiver of the answer failed"), cause)
                raise cause
            self._receiver_failed(cause)

    def _receiver_failed(self, cause: Exception) -> None:
        if isinstance(cause, Undecodable):
            self._fail(UpstreamBroken(str(cause)), cause)
            return
        self._fail(UpstreamBroken("the receiver of the answer failed"), cause)
        self._lane.report("a receiver raised in head() or body()", cause)

    # Time

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._check)

    def _check(self) -> None:
        """The timer is not moved by each read: when it fires it looks at the last one and sleeps again if need be."""
        self._timer = None
        call = self._call
        if call is None:
            return
        waiting = self._stage == HEAD
        limit = call.timeouts.first_byte if waiting else call.timeouts.idle
        if call.paused:
            self._last = self._now()
        due = self._last + limit
        if due > self._now() + _TICK:
            self._arm(due)
        else:
            self._fail(UpstreamTimeout("first_byte" if waiting else "idle", limit))
