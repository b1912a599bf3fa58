"""A client connection that speaks the plain form of HTTP in which nearly every completion is asked for.

aiohttp's connection parses, queues and dispatches whatever HTTP allows: a reader object, a response object and two tasks for each request, and
half of what a small request costs. A door reads the one form that ``head`` knows and answers it in one task. At the first request of any
other form it hands its client over to aiohttp, bytes and all, for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from apipod_proxy.burst import Burst
from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.goodbye import Goodbye
from apipod_proxy.edge.head import LENGTH_DIGITS, Head, read_head
from apipod_proxy.edge.incoming import Incoming, Request
from apipod_proxy.edge.turns import Turns

log = logging.getLogger("apipod_proxy.edge")

HotHandle = Callable[[Request], Awaitable[Answer]]


class House(Protocol):
    """What all doors share."""

    @property
    def closing(self) -> bool:
        """Every connection ends with its answer from now on."""
        ...

    @property
    def longest_body(self) -> int: ...
    @property
    def burst(self) -> Burst: ...
    @property
    def turns(self) -> Turns: ...
    def handler(self, path: str) -> HotHandle | None:
        """Who answers a POST to ``path``, None where it is none of the hot ones."""
        ...

    def opened(self, door: Door) -> None: ...
    def awaits(self, door: Door) -> None:
        """Between two requests."""
        ...

    def engaged(self, door: Door) -> None:
        """A request has begun."""
        ...

    def lost(self, door: Door) -> None: ...
    def take_over(self, door: Door, transport: asyncio.Transport, data: bytes) -> None:
        """Go on with what is no plain request."""
        ...


class Door(asyncio.Protocol):
    """``transport`` is None once the connection is gone; ``writing_paused`` while its buffer is full."""

    __slots__ = (
        "_drained",
        "_goodbye",
        "_handler",
        "_head",
        "_held",
        "_house",
        "_loop",
        "_remote",
        "_request",
        "_task",
        "transport",
        "writing_paused",
    )

    def __init__(self, house: House, loop: asyncio.AbstractEventLoop) -> None:
        self._house = house
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.writing_paused = False
        self._head: Head | None = None
        """The last one; ``_handler`` is who answers it."""
        self._handler: HotHandle | None = None
        self._request: Incoming | None = None
        self._task: asyncio.Task[None] | None = None
        self._held = b""
        """What came behind the request that is being answered."""
        self._goodbye: Goodbye | None = None
        self._drained: asyncio.Future[None] | None = None
        self._remote: str | None = None

    def __repr__(self) -> str:
        return f"<Door {'closed' if self.transport is None else 'idle' if self._request is None else 'busy'}>"

    @property
    def busy(self) -> bool:
        """Whether a request is open."""
        return self._request is not None

    @property
    def remote(self) -> str | None:
        """The peer's address."""
        if self._remote is None and self.transport is not None:
            peer = self.transport.get_extra_info("peername")
            self._remote = str(peer[0]) if isinstance(peer, tuple) else peer
        return self._remote

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self._house.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._house.lost(self)
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(ConnectionError("the client has left"))
            # Whoever waited may have been cancelled by the same loss.
            self._drained.exception()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Waits until the write buffer has room. ConnectionError where the client leaves."""
        if self.transport is None:
            raise ConnectionError("the client has left")
        if self.writing_paused:
            if self._drained is None or self._drained.done():
                self._drained = self._loop.create_future()
            await self._drained

    # Requests

    def data_received(self, data: bytes) -> None:
        if self._request is not None:
            self._more(data)
            return
        head = self._head
        if head is not None and data.startswith(head.before):
            # The same head as last time, but perhaps for the length: seven of ten microseconds of reading it are saved.
            start = len(head.before)
            end = data.find(b"\r", start, start + LENGTH_DIGITS + 1)
            if end > start and data.startswith(head.after, end) and data[start:end].isdigit():
                self._begin(head, int(data[start:end]), data, end + len(head.after))
                return
        self._look(data)

    def _look(self, data: bytes) -> None:
        """A new head, or something else altogether."""
        if self._goodbye is not None:
            self._goodbye.discard(data)
            return
        found = read_head(data)
        if found is not None:
            head, length, start = found
            handler = self._house.handler(head.path)
            if handler is not None and length <= self._house.longest_body:
                self._head, self._handler = head, handler
                self._begin(head, length, data, start)
                return
        if self.transport is not None:
            transport, self.transport = self.transport, None
            self._house.lost(self)
            self._house.take_over(self, transport, data)

    def _begin(self, head: Head, length: int, data: bytes, start: int) -> None:
        house = self._house
        if length > house.longest_body:
            self._head = None
            self._look(data)
            return
        size = len(data) - start
        if size == length:
            request = Incoming(self, head, data[start:])
        elif size > length:
            request = Incoming(self, head, data[start : start + length])
            self._hold(data[start + length :])
        else:
            request = Incoming(self, head, None)
            request.await_body(data[start:], length)
        if house.closing:
            request.keep_alive = False
        house.engaged(self)
        house.burst.crowd += 1
        self._request = request
        house.turns.enter(self)

    def start(self) -> None:
        """Have the request served that has begun."""
        request, handler = self._request, self._handler
        if request is None or handler is None or self._task is not None:
            return
        self._task = self._loop.create_task(self._serve(handler, request))
        if self.transport is None:
            # The client left while it waited for its turn; the first step sees to it that this is written down.
            self._loop.call_soon(self._task.cancel)

    def _more(self, data: bytes) -> None:
        """The rest of a body, or what a client sends before it has its answer."""
        assert self._request is not None
        if self._request.whole is None:
            data = self._request.feed(data)
        if data:
            self._hold(data)

    def _hold(self, data: bytes) -> None:
        # Read again when the answer is out: what one client sends ahead is bounded by one read.
        self._held += data
        if self.transport is not None:
            self.transport.pause_reading()

    async def _serve(self, handler: HotHandle, request: Incoming) -> None:
        try:
            answer = await handler(request)
        except Exception:
            # Handlers answer whatever happens; what comes through is an error of the gateway's own books.
            log.exception("A request ended outside of its handler.")
            self._end()
            self.close()
        except BaseException:
            self._end()
            raise
        else:
            self._end()
            self._after(request, answer)

    def _end(self) -> None:
        self._house.burst.crowd -= 1
        self._request = self._task = None

    def _after(self, request: Incoming, answer: Answer) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if request.whole is None:
            self._house.burst.flush()
            self._head = None
            self._goodbye = Goodbye(transport, self._loop.call_later, self.close)
        elif not answer.reusable or self._house.closing:
            self.close()
        else:
            self._house.awaits(self)
            if self._held:
                held, self._held = self._held, b""
                transport.resume_reading()
                self.data_received(held)

    def answer(self, data: bytes) -> None:
        """Send a whole answer."""
        if self.transport is not None:
            self._house.burst.write(self.transport, data)

    def head_is_late(self) -> None:
        """Nothing of a first request has come."""
        self.close()

    def close(self) -> None:
        """Close, once what was written is out."""
        if self.transport is not None:
            self._house.burst.flush()
            self.transport.close()

    async def shut(self, seconds: float) -> None:
        """End what is left: the request under way is cancelled and has ``seconds`` to be booked."""
        if self._request is not None and self._task is None:
            self.start()
            await asyncio.sleep(0)
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait((task,), timeout=seconds)
        if self.transport is not None:
            self.transport.abort()
