"""The connections of one endpoint: idle ones, those being opened, and the calls that wait for one."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Final

from apipod_proxy.errors import Unreachable, UpstreamError, UpstreamTimeout
from apipod_proxy.upstream.call import Call
from apipod_proxy.upstream.connection import Connection
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.tls import remember

if TYPE_CHECKING:
    from apipod_proxy.upstream.pool import Pool

OPENING_LIMIT: Final = 512
"""Connections being opened at one time. Thousands of knocks in one moment overflow the queue of the server's kernel,
which drops them, and each drop costs a second; a few hundred at a time never wait."""

LIFE_LIMIT: Final = 600.0
"""Seconds after which a connection is not used for another request: else one that is never idle would stay with the
addresses of the day on which it was made, whatever its server's name means by now."""


class Lane:
    """``size`` counts connections, open and being opened; each takes one of ``max_connections`` places."""

    __slots__ = ("_opening", "_pool", "_size", "_waiting", "burst", "endpoint", "idle", "loop")

    def __init__(self, pool: Pool, endpoint: Endpoint) -> None:
        self._pool = pool
        self.loop = pool.loop
        self.burst = pool.burst
        self.endpoint = endpoint
        # Both are dicts for the sake of order with removal at any place. Idle ones are reused last in, first out,
        # so that a pool that was once large shrinks; waiting calls are served first in, first out.
        self.idle: dict[Connection, None] = {}
        self._waiting: dict[Call, None] = {}
        self._size = 0
        self._opening = 0

    @property
    def size(self) -> int:
        return self._size

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def unused(self) -> bool:
        return not self._size and not self._waiting

    # Calls

    def send(self, call: Call) -> None:
        """Onto an idle connection at once, else onto a new one, else into the queue."""
        idle = self.idle
        if idle:
            now = self._pool.clock()
            while idle:
                connection, _ = idle.popitem()
                if connection.expires > now and connection.start(call):
                    return
                connection.drop()
        # The queue counts against the time to connect: a provider whose pool is used up is as good as one
        # that does not answer, and the caller has other candidates to go to.
        self._limit(call)
        self._waiting[call] = None
        self.advance()

    def repeat(self, call: Call) -> None:
        """A connection closed before it took ``call``: its place goes to a fresh one for the same call."""
        self._size -= 1
        if self._pool.closed:
            call.fail(Unreachable("request", sent=True))
            return
        self._limit(call)
        self._open(call)

    def forsake(self, call: Call) -> None:
        """``call`` has no connection yet and needs none any more."""
        call.disarm()
        self._waiting.pop(call, None)
        if call.opening is not None:
            call.opening.cancel()
            call.opening = None

    def _limit(self, call: Call) -> None:
        call.timer = self.loop.call_later(call.timeouts.connect, self._late, call)

    def _late(self, call: Call) -> None:
        self.forsake(call)
        call.fail(UpstreamTimeout("connect", call.timeouts.connect))

    # Connections

    def _open(self, call: Call) -> None:
        self._size += 1
        self._opening += 1
        call.opening = self._pool.spawn(self._connect(call), partial(self._opened, call))

    def _opened(self, call: Call, failure: BaseException | None) -> None:
        """Also told of a task that was cancelled before its first step, which no clause inside of it would see."""
        self._opening -= 1
        call.opening = None
        if failure is None:
            self.advance()
            return
        self._size -= 1
        if isinstance(failure, UpstreamError):
            call.fail(failure, failure.__cause__)
        else:
            call.fail(Unreachable("connect"), failure)
            if not isinstance(failure, asyncio.CancelledError):
                self.report("opening a connection failed", failure)
        self.advance()

    async def _connect(self, call: Call) -> None:
        connection = await self._pool.connector.connect(self.endpoint, self._connection)
        call.opening = None
        call.disarm()
        connection.held = True
        connection.born = self._pool.clock()
        if connection.start(call):
            # Not told in connection_made: uvloop calls no connection_lost when an opening is cancelled behind it.
            self._pool.opened(connection)
        else:
            connection.drop()
            call.fail(Unreachable("connect"))

    def _connection(self) -> Connection:
        return Connection(self)

    def release(self, connection: Connection) -> None:
        """``connection`` is free: the longest waiting call takes it, else it stays for a while."""
        now = self._pool.clock()
        if self._pool.closed or now - connection.born > LIFE_LIMIT:
            connection.drop()
        elif self._waiting:
            call = next(iter(self._waiting))
            if connection.start(call):
                del self._waiting[call]
                call.disarm()
            else:
                connection.drop()
        elif self._size > self.endpoint.max_connections:
            connection.drop()
        else:
            keepalive = min(self.endpoint.keepalive, connection.promise)
            connection.expires = now + keepalive
            self.idle[connection] = None
            self._pool.watch(keepalive)

    def discard(self, connection: Connection) -> None:
        """``connection`` is closed or closing: its place is free."""
        self.idle.pop(connection, None)
        self._size -= 1
        self.advance()

    def advance(self) -> None:
        """Open connections for those who wait, as far as the bounds allow."""
        while self._waiting and self._opening < OPENING_LIMIT and self._size < self.endpoint.max_connections:
            call = next(iter(self._waiting))
            del self._waiting[call]
            self._open(call)

    def expire(self, now: float) -> float:
        """Close what has been idle for too long; returns when to look again, infinity when nothing is idle."""
        for connection in [each for each in self.idle if each.expires <= now]:
            connection.drop()
        return min((each.expires for each in self.idle), default=math.inf)

    def empty_queue(self) -> None:
        for call in list(self._waiting):
            self.forsake(call)
            call.fail(Unreachable("connect"))

    # What a connection needs of the pool

    def lost(self, connection: Connection) -> None:
        self._pool.lost(connection)

    def remember(self, transport: asyncio.BaseTransport) -> None:
        """Keep the TLS session of ``transport`` for the next connection to this server."""
        remember(transport)

    def report(self, message: str, exc: BaseException) -> None:
        self.loop.call_exception_handler({"message": message, "exception": exc})

    def __repr__(self) -> str:
        return f"<Lane {self._size} open, {len(self.idle)} idle, {len(self._waiting)} waiting>"
