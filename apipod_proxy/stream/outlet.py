"""The client's side of a streamed answer. One for each exchange; the pumps of its attempts write through it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from apipod_proxy.errors import ProxyError

LOOKS = 4
"""A ping may come late by this part of the pause."""

DROP_SECONDS = 60.0
"""A client that takes nothing for this long is dropped."""


class Client(Protocol):
    """What the edge gives: one HTTP answer, written straight to the transport."""

    @property
    def begun(self) -> bool: ...
    @property
    def gone(self) -> bool: ...
    @property
    def paused(self) -> bool:
        """Its write buffer is full."""
        ...

    @property
    def sent(self) -> int:
        """Bytes of the body so far."""
        ...

    def begin_stream(self) -> None: ...
    def write(self, data: bytes) -> bool:
        """Whether the client cannot keep up."""
        ...

    def end(self) -> None: ...
    def drained(self) -> Awaitable[None]: ...
    def abort(self) -> None: ...


class Source(Protocol):
    """The upstream call that feeds this answer."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Frames(Protocol):
    """The client's dialect, in the three frames that the gateway itself makes."""

    @property
    def ping(self) -> bytes: ...
    def error(self, error: ProxyError) -> bytes: ...


class Pinger:
    """Has every open answer look a few times in each pause of ``seconds`` whether it has to ping. One timer for all of them, so that neither an
    event nor the begin and end of an answer has to do with a timer.
    """

    __slots__ = ("_loop", "_open", "_timer", "seconds")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = seconds
        self._loop = loop
        self._open: set[Outlet] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, outlet: Outlet) -> None:
        if self.seconds:
            self._open.add(outlet)
            if self._timer is None:
                self._timer = self._loop.call_later(self.seconds / LOOKS, self._look)

    def forget(self, outlet: Outlet) -> None:
        self._open.discard(outlet)

    def _look(self) -> None:
        now = self._loop.time()
        for outlet in tuple(self._open):
            outlet.look(now, self.seconds)
        self._timer = self._loop.call_later(self.seconds / LOOKS, self._look) if self._open else None


class Outlet:
    """Begins, feeds, pings and ends one streamed answer, and slows its source while the client is slow.

    Every method is synchronous, so that a read from upstream becomes a write to the client with no task switch between.
    """

    __slots__ = (
        "_begun",
        "_drain",
        "_frames",
        "_loop",
        "_pinger",
        "_quiet_since",
        "_seen",
        "_source",
        "client",
        "ended",
        "on_claim",
        "winner",
    )

    def __init__(
        self, client: Client, frames: Frames, pinger: Pinger | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        """``pinger`` is None where nothing may be put between the bytes of an answer."""
        self.client = client
        self._frames = frames
        self._loop = loop
        self._begun = False
        self._pinger = pinger if frames.ping else None
        self._source: Source | None = None
        self._drain: asyncio.Task[None] | None = None
        self.winner: object | None = None
        """The pump whose content reached the client; nobody else may write after it."""
        self.on_claim: Callable[[object], None] | None = None
        """Told of the winner before anything is written of it."""
        self.ended = False
        self._seen = 0
        """What had been sent at the last look; ``_quiet_since``: since when it was no more than that."""
        self._quiet_since = loop.time()
        if self._pinger is not None:
            self._pinger.watch(self)

    @property
    def sent(self) -> int:
        """Bytes of the body so far."""
        return self.client.sent

    def claim(self, pump: object, source: Source | None) -> bool:
        """Make ``pump`` the one that answers; False when another one already does."""
        if self.winner is None:
            self.winner = pump
            self._source = source
            if self.on_claim is not None:
                self.on_claim(pump)
            return True
        return self.winner is pump

    def write(self, data: bytes) -> None:
        """Send whole events, not empty. The head goes out with the first ones."""
        if not self._begun:
            self._begin()
        if self.client.write(data):
            self.slow_down()

    def _begin(self) -> None:
        self._begun = True
        if not self.client.begun:
            self.client.begin_stream()

    def finish(self) -> None:
        """End a whole answer."""
        self.ended = True
        self.close()
        self._begin()
        self.client.end()

    def fail(self, error: ProxyError) -> None:
        """End a started answer with an error event; the client is told that it is not whole."""
        if self.ended:
            return
        self.write(self._frames.error(error))
        self.finish()

    def close(self) -> None:
        """Stop the timers; called on every way out, also when the client has left."""
        if self._pinger is not None:
            self._pinger.forget(self)
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
        self._source = None

    def look(self, now: float, seconds: float) -> None:
        """Ping where nothing was sent for ``seconds``; ``now`` is loop time."""
        if self.client.sent != self._seen:
            self._quiet_since = now
        elif now + 0.001 >= self._quiet_since + seconds:
            if not self.client.paused:
                self.write(self._frames.ping)
            self._quiet_since = now
        self._seen = self.client.sent

    def slow_down(self) -> None:
        """The client cannot keep up: stop the source until it can."""
        if self._drain is not None:
            return
        if self._source is not None:
            self._source.pause()
        self._drain = self._loop.create_task(self._wait_until_drained())

    async def _wait_until_drained(self) -> None:
        try:
            async with asyncio.timeout(DROP_SECONDS):
                await self.client.drained()
        except TimeoutError:
            self.client.abort()
        except ConnectionError:
            pass  # the client left; its handler is cancelled by the server
        else:
            self._drain = None
            if self._source is not None:
                self._source.resume()
