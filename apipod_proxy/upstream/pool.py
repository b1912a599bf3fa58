"""The pool of connections to every server: the one way in which requests of the hot path leave."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

from apipod_proxy.burst import Burst
from apipod_proxy.catalog.model import Timeouts
from apipod_proxy.errors import Unreachable, UpstreamBroken
from apipod_proxy.upstream.call import Call, Receiver
from apipod_proxy.upstream.connect import Connector
from apipod_proxy.upstream.connection import Connection
from apipod_proxy.upstream.dns import Resolver
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.lane import Lane
from apipod_proxy.upstream.tls import Contexts

__all__ = ["Call", "Endpoint", "Pool", "Receiver", "Timeouts"]

SWEEP_PAUSE: Final = 1.0
"""Least seconds between two looks for idle connections that have expired."""

CLOSE_LIMIT: Final = 2.0
"""Seconds that ``close`` waits for the transports to be gone."""


class Pool:
    """Made inside a running loop. ``send`` is synchronous; what comes back arrives at the receiver it is given."""

    def __init__(
        self,
        *,
        resolver: Resolver | None = None,
        contexts: Contexts | None = None,
        clock: Callable[[], float] | None = None,
        burst: Burst | None = None,
    ) -> None:
        """``clock`` measures how long connections are idle; it defaults to the loop's. ``burst`` is shared with the clients' side."""
        self.loop = asyncio.get_running_loop()
        self.clock = clock or self.loop.time
        self.burst = burst or Burst(self.loop)
        self.closed = False
        self._resolver = resolver or Resolver()
        self.connector = Connector(self.loop, self._resolver, contexts or Contexts())
        self._lanes: dict[str, Lane] = {}
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    def send(
        self,
        endpoint: Endpoint,
        head: bytes,
        body: bytes,
        receiver: Receiver,
        timeouts: Timeouts,
        *,
        repeatable: bool = True,
    ) -> Call:
        """Start a request; ``head`` is its whole head with the blank line.

        On an idle connection it is written before this returns. Else a connection is opened or waited for. Nothing is
        called on ``receiver`` before this returns. ``repeatable``: whether it may be sent once more when a reused
        connection turns out to be closed and no byte of an answer came.
        """
        lane = self._lanes.get(endpoint.key)
        if lane is None:
            lane = self._lanes[endpoint.key] = Lane(self, endpoint)
        elif lane.endpoint is not endpoint:
            lane.endpoint = endpoint  # the same server and account with newer bounds
        if endpoint.proxy is not None and not endpoint.tls:
            head = endpoint.proxy.absolute(head, endpoint.authority)
        call = Call(lane, head, body, receiver, timeouts, repeatable)
        if self.closed:
            self.loop.call_soon(call.fail, Unreachable("connect"))
        else:
            lane.send(call)
        return call

    async def close(self) -> None:
        """End everything at once; receivers of calls under way hear ``failed``."""
        self.closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for lane in self._lanes.values():
            lane.empty_queue()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for connection in list(self._connections):
            connection.close(UpstreamBroken("the gateway is stopping"))
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._resolver.close()
        if self._connections:
            self._emptied = self.loop.create_future()
            await asyncio.wait([self._emptied], timeout=CLOSE_LIMIT)

    # Measures

    @property
    def open(self) -> int:
        """Connections, those being opened included."""
        return sum(lane.size for lane in self._lanes.values())

    @property
    def idle(self) -> int:
        return sum(len(lane.idle) for lane in self._lanes.values())

    @property
    def waiting(self) -> int:
        """Calls in the queue for a connection."""
        return sum(lane.waiting for lane in self._lanes.values())

    @property
    def endpoints(self) -> int:
        """Endpoints in use now or a moment ago."""
        return len(self._lanes)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Pool {state}: {self.open} open, {self.idle} idle, {self.waiting} waiting>"

    # For the lanes

    def spawn(
        self, work: Coroutine[Any, Any, None], ended: Callable[[BaseException | None], None]
    ) -> asyncio.Task[None]:
        """Run ``work``, then call ``ended`` with what it raised, cancellation included."""

        def finish(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            ended(asyncio.CancelledError() if task.cancelled() else task.exception())

        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(finish)
        return task

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def watch(self, seconds: float) -> None:
        """A connection has become idle and may expire in ``seconds``."""
        if self._sweep is None:
            self._sweep = self.loop.call_later(max(seconds, SWEEP_PAUSE), self._expire)

    def _expire(self) -> None:
        self._sweep = None
        now = self.clock()
        due = min((lane.expire(now) for lane in self._lanes.values()), default=math.inf)
        for key in [key for key, lane in self._lanes.items() if lane.unused]:
            del self._lanes[key]
        if due < math.inf:
            self.watch(due - now)
