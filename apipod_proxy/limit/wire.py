"""One pipelined connection to Redis.

Commands are written as they come and answered in order, so that a thousand requests wait for one round trip together, and an answer that
comes too late is still read: what it says was taken can be given back.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis

CONNECT_SECONDS = 1.0

Sink = Callable[[object], None]
"""Takes the reply; an exception (a ``ReplyError``, or the ``ConnectionError`` of a lost connection) comes as a value."""


class Address(NamedTuple):
    host: str
    port: int
    path: str
    tls: bool
    username: str
    password: str
    database: int
    verify: bool = True
    authorities: str = ""
    """A file of certificates to trust instead of the system's."""


def parse_url(url: str) -> Address:
    """The address in ``redis://[user:password@]host[:port][/db]``, ``rediss://…`` (TLS) or ``unix:///path[?db=n]``.

    ``ssl_ca_certs=FILE`` and ``ssl_cert_reqs=none`` in the query say whom to trust, as other clients of Redis read them.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            f"a Redis URL begins with redis://, rediss:// or unix://, not with {parts.scheme}://"
        )
    query = parse_qs(parts.query)
    database = query["db"][0] if "db" in query else parts.path.strip("/") if parts.scheme != "unix" else ""
    if database and not database.isdigit():
        raise ValueError(f"the database of a Redis URL is a number, not {database!r}")
    return Address(
        parts.hostname or "localhost",
        parts.port or 6379,
        parts.path if parts.scheme == "unix" else "",
        parts.scheme == "rediss",
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        int(database or 0),
        query.get("ssl_cert_reqs", ["required"])[0] != "none",
        query.get("ssl_ca_certs", [""])[0],
    )


def pack(*arguments: bytes) -> bytes:
    """``arguments`` as the bulk strings of a command, without the line that counts them."""
    return b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)


def command(*arguments: bytes) -> bytes:
    """A whole command."""
    return b"*%d\r\n" % len(arguments) + pack(*arguments)


class _Sent:
    """A command on its way; ``overdue`` once its time has passed and one more turn of the loop was granted."""

    __slots__ = ("deadline", "future", "sink")

    def __init__(self, sink: Sink | None, future: asyncio.Future[Any] | None, deadline: float) -> None:
        self.sink = sink
        self.future = future
        self.deadline = deadline


class Wire(asyncio.Protocol):
    """``timeout``: seconds in which a ``call`` is answered or fails with ``TimeoutError``."""

    def __init__(self, timeout: float, lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._sent: deque[_Sent] = deque()
        self._unwritten: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while self._sent:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError:
                self.close()
                return
            if reply is False:
                return
            self._deliver(self._sent.popleft(), reply)

    def _deliver(self, sent: _Sent, reply: object) -> None:
        future = sent.future
        if future is not None and not future.done():
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)
        elif sent.sink is not None:
            sent.sink(reply)

    def call(self, data: bytes, late: Sink | None = None) -> asyncio.Future[Any]:
        """Send a command and await its reply; one that comes after the time, or after a cancellation, goes to ``late``."""
        future = self._loop.create_future()
        deadline = self._loop.time() + self._timeout
        self._send(data, _Sent(late, future, deadline))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look, False)
        return future

    def post(self, data: bytes, sink: Sink) -> None:
        """Send a command whose reply nobody waits for."""
        self._send(data, _Sent(sink, None, 0.0))

    def _send(self, data: bytes, sent: _Sent) -> None:
        if self.closed:
            self._deliver(sent, ConnectionError("the connection to Redis is closed"))
            return
        self._sent.append(sent)
        if not self._unwritten:
            # What is sent in one turn of the loop leaves in one system call.
            self._loop.call_soon(self._write)
        self._unwritten.append(data)

    def _write(self) -> None:
        data, self._unwritten = self._unwritten, []
        if self._transport is not None and not self.closed:
            self._transport.write(b"".join(data))

    def _look(self, again: bool) -> None:
        """Fail what is overdue. The loop runs timers before it reads sockets: an answer that came while it was busy is granted one more
        turn to be seen."""
        self._timer = None
        now, next_deadline, overdue = self._loop.time(), 0.0, False
        for sent in self._sent:
            if sent.future is None or sent.future.done():
                continue
            if sent.deadline > now:
                next_deadline = sent.deadline
                break
            if again:
                sent.future.set_exception(TimeoutError("Redis did not answer in time"))
            else:
                overdue = True
        if overdue:
            self._timer = self._loop.call_later(0.001, self._look, True)
        elif next_deadline:
            self._timer = self._loop.call_later(max(0.0, next_deadline - now), self._look, False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        sent, self._sent = self._sent, deque()
        for one in sent:
            self._deliver(one, ConnectionError("the connection to Redis was lost"))
        self._gone.set()
        self._lost()

    async def wait_closed(self) -> None:
        await self._gone.wait()

    def close(self) -> None:
        """Drop the connection at once."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


async def connect(address: Address, seconds: float, lost: Callable[[], None]) -> Wire:
    """Connect, log in and choose the database; raises ``ConnectionError`` with the reason. ``seconds``: the time of a call."""
    loop = asyncio.get_running_loop()
    wire: Wire | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            if address.path:
                _, wire = await loop.create_unix_connection(lambda: Wire(seconds, lost), address.path)
            else:
                # Reading the system's certificates takes tens of milliseconds.
                tls = await asyncio.to_thread(_trust, address) if address.tls else None
                _, wire = await loop.create_connection(
                    lambda: Wire(seconds, lost), address.host, address.port, ssl=tls
                )
            await _log_in(wire, address)
    except (OSError, TimeoutError, hiredis.HiredisError) as exc:
        await _discard(wire)
        raise ConnectionError(str(exc) or "it did not answer") from exc
    except asyncio.CancelledError:
        await _discard(wire)
        raise
    return wire


def _trust(address: Address) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=address.authorities or None)
    if not address.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _discard(wire: Wire | None) -> None:
    if wire is not None:
        wire.close()
        await wire.wait_closed()


async def _log_in(wire: Wire, address: Address) -> None:
    if address.password:
        credentials = [address.username.encode()] if address.username else []
        await wire.call(command(b"AUTH", *credentials, address.password.encode()))
    if address.database:
        await wire.call(command(b"SELECT", b"%d" % address.database))
