"""The HTTP front: aiohttp's server with the bounds that the open internet asks for.

Each connection begins at a ``Door``, which answers plain requests of the hot path itself and hands everything else over to aiohttp. aiohttp
parses, frames and keeps connections; what it has no hook for is added here by subclassing its connection: a deadline and a size for request
heads, fixed sentences for what cannot be read as HTTP, a bounded good-bye to clients whose body is not wanted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError

from apipod_proxy.burst import Burst
from apipod_proxy.edge.door import Door, HotHandle
from apipod_proxy.edge.goodbye import Goodbye
from apipod_proxy.edge.turns import Turns
from apipod_proxy.errors import BadRequest, HeadersTooLarge, InternalError, ProxyError, RequestTimeout

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Handlers of the router, and those that stand before it."""
ErrorAnswer = Callable[[web.BaseRequest, ProxyError], web.Response]
RawAnswer = Callable[[ProxyError, str | None], bytes]
"""(error, the peer's address) → the whole answer to what never became a request."""

UNREADABLE = "The request cannot be read as HTTP."
SWEEP_SECONDS = 0.25


class HttpBounds(NamedTuple):
    """Bytes and seconds. ``send_buffer`` is the kernel's for one client: what a slow one lets the upstream run ahead."""

    line: int = 8192
    headers: int = 128
    head: int = 64 * 1024
    head_seconds: float = 10.0
    keepalive_seconds: float = 75.0
    send_buffer: int = 256 * 1024
    write_buffer: int = 64 * 1024
    read_buffer: int = 256 * 1024
    backlog: int = 4096


DEFAULT_BOUNDS = HttpBounds()


class Connection(web.RequestHandler):
    """One client connection."""

    __slots__ = ("_awaited", "_broken", "_front", "_goodbye", "_head_bytes", "_open", "_payload")

    def __init__(self, front: Front, **options: Any) -> None:
        super().__init__(front, **options)
        self._front = front
        # Requests that were read and are not answered yet; with none, what arrives is the head of the next one.
        self._open = 0
        self._head_bytes = 0
        self._payload: StreamReader = EMPTY_PAYLOAD
        # What was sent is no HTTP; whatever follows it cannot be made sense of.
        self._broken = False
        self._goodbye: Goodbye | None = None
        self._awaited: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a request is open."""
        return self._open > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # uvloop's transports are no subclasses of asyncio's.
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=self._front.bounds.write_buffer)
        self._front.expect_head(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._front.waiting.pop(self, None)
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._goodbye is not None:
            self._goodbye.discard(data)
            return
        before = self._request_count
        super().data_received(data)
        arrived = self._request_count - before
        if arrived:
            self._open += arrived
            self._head_bytes = 0
            self._front.waiting.pop(self, None)
            self._watch_body()
        elif not self._open:
            self._watch_head(len(data))

    def _watch_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._front.bounds.head:
            self._refuse(HeadersTooLarge())
        elif self not in self._front.waiting:
            self._front.expect_head(self)

    def _watch_body(self) -> None:
        """Broken framing of a body arrives as one more message: the reader of that body has to hear of it."""
        message, payload = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._payload = payload
        elif not self._payload.is_eof():
            self._payload.set_exception(RequestPayloadError(UNREADABLE))

    def head_is_late(self) -> None:
        """Close; a client that had begun to send is told why."""
        if self._head_bytes:
            self._refuse(RequestTimeout())
        else:
            self.force_close()

    def _refuse(self, error: ProxyError) -> None:
        """Answer what never became a request, and close."""
        self._front.waiting.pop(self, None)
        if self.transport is not None and not self.transport.is_closing():
            peer = self.transport.get_extra_info("peername")
            self.transport.write(self._front.raw_answer(error, peer[0] if isinstance(peer, tuple) else peer))
            self._say_goodbye()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp could not read; ``message`` quotes the client, so nothing of it goes out."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        error: ProxyError
        if isinstance(exc, LineTooLong) or (message is not None and message.startswith("Too many headers")):
            error = HeadersTooLarge()
        elif status == 400:
            error = BadRequest(UNREADABLE)
        else:
            self.log_exception("A handler failed past its guard.", exc_info=exc)
            error = InternalError()
        answer = self._front.error_answer(request, error)
        answer.force_close()
        self._broken = True
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        result = await super().finish_response(request, resp, start_time)
        self._open -= 1
        if self._front.closing:
            self.close()
        if self._broken or not request.content.is_eof():
            self._say_goodbye()
            if self._awaited is not None:
                await self._awaited
        return result

    def _say_goodbye(self) -> None:
        """End the connection although more is on its way; it counts as open until its client has left."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            self._awaited = self._loop.create_future()
            self._goodbye = Goodbye(transport, self._loop.call_later, self.force_close)


Hot = Callable[[str], HotHandle | None]
"""The handler of a POST to a path of the hot ones, None for all others."""


class Front(web.Server):
    """Makes connections, and closes those whose request is late. ``hot`` are the handlers that doors ask; ``longest_body`` is bytes."""

    def __init__(
        self,
        handle: Handle,
        make_request: Callable[..., web.BaseRequest],
        error_answer: ErrorAnswer,
        raw_answer: RawAnswer,
        hot: Hot,
        longest_body: int,
        bounds: HttpBounds = DEFAULT_BOUNDS,
        burst: Burst | None = None,
    ) -> None:
        super().__init__(dispatcher(hot, handle), request_factory=self._request, handler_cancellation=True)
        self.bounds = bounds
        self.error_answer = error_answer
        self.raw_answer = raw_answer
        self.handler = hot
        self.longest_body = longest_body
        self.waiting: dict[Connection | Door, float] = {}
        self.doors: set[Door] = set()
        self.idle: dict[Door, float] = {}
        """Doors between two requests, and when they are closed."""
        self.burst = burst or Burst(self._loop)
        self.turns = Turns(self._loop)
        self.closing = False
        self._make_request_of = make_request
        self._sweeper: asyncio.TimerHandle | None = None
        self._options = {
            "loop": self._loop,
            "keepalive_timeout": bounds.keepalive_seconds,
            "max_line_size": bounds.line,
            "max_field_size": bounds.line,
            "max_headers": bounds.headers,
            "read_bufsize": bounds.read_buffer,
            # Connections that end with a body unread are hung up here, in bounds.
            "lingering_time": 0.0,
            "access_log": None,
        }

    def __call__(self) -> Door:  # type: ignore[override]  # the protocol of a new connection, which is all that is asked of it
        return Door(self, self._loop)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if self.closing:
            # Every answer from now on says ``connection: close``.
            message = message._replace(should_close=True)
        return self._make_request_of(message, payload, protocol, writer, task)

    # Doors

    def opened(self, door: Door) -> None:
        assert door.transport is not None
        door.transport.set_write_buffer_limits(high=self.bounds.write_buffer)
        self.doors.add(door)
        self.expect_head(door)

    def engaged(self, door: Door) -> None:
        if self.idle.pop(door, None) is None:
            self.waiting.pop(door, None)

    def awaits(self, door: Door) -> None:
        self.idle[door] = self._loop.time() + self.bounds.keepalive_seconds
        if self._sweeper is None:
            self._keep_sweeping()

    def lost(self, door: Door) -> None:
        self.doors.discard(door)
        self.idle.pop(door, None)
        self.waiting.pop(door, None)

    def take_over(self, door: Door, transport: asyncio.Transport, data: bytes) -> None:
        connection = Connection(self, **self._options)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if door.writing_paused:
            connection.pause_writing()
        connection.data_received(data)

    # Deadlines

    def expect_head(self, connection: Connection | Door) -> None:
        """From now on the head of a request is awaited on ``connection``."""
        self.waiting[connection] = self._loop.time() + self.bounds.head_seconds
        self._keep_sweeping()

    def _keep_sweeping(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in overdue(self.waiting, now):
            del self.waiting[connection]
            connection.head_is_late()
        for door in overdue(self.idle, now):
            del self.idle[door]
            door.close()
        again = self.waiting or self.idle
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep) if again else None

    @property
    def busy(self) -> int:
        """How many connections have a request open."""
        doors = sum(1 for door in self.doors if door.busy)
        return doors + sum(1 for connection in self.connections if cast("Connection", connection).busy)

    def close_idle(self) -> None:
        """Close every connection that has no request open; the others, and what comes on new ones, close with their answer."""
        self.closing = True
        for door in tuple(self.doors):
            if not door.busy:
                door.close()
        for connection in self.connections:
            if not cast("Connection", connection).busy:
                connection.force_close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as aiohttp calls it
        """Close everything; requests under way are cancelled."""
        await asyncio.gather(*(door.shut(timeout or 0.0) for door in tuple(self.doors)))
        await super().shutdown(timeout)

    def stop_sweeping(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


Waiting = TypeVar("Waiting")


def overdue(deadlines: dict[Waiting, float], now: float) -> list[Waiting]:
    """Whose time is over. Deadlines of one kind are all equally far, so the oldest stand first."""
    late = []
    for connection, deadline in deadlines.items():
        if deadline > now:
            break
        late.append(connection)
    return late


def dispatcher(hot: Hot, fallback: Handle) -> Handle:
    """POSTs to a path that ``hot`` knows go straight to its handler; aiohttp's router and middleware see only the rest."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            path, _, _ = request.raw_path.partition("?")
            handler = hot(path)
            if handler is not None:
                return (await handler(request)).response()
        return await fallback(request)

    return handle


def listening_sockets(
    host: str, port: int, bounds: HttpBounds, *, share: bool = False
) -> list[socket.socket]:
    """Bound sockets for every address of ``host`` (one where the port is 0, to be chosen by the system). OSError.

    ``share`` lets several processes listen on one port. What is set here is inherited by every connection.
    """
    listeners: list[socket.socket] = []
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    try:
        for family, kind, protocol, _, address in found[: 1 if port == 0 else None]:
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            if family == socket.AF_INET6:
                # "::" means both families; a name that resolves to both has its own socket for IPv4.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(len(found) > 1))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, bounds.send_buffer)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(address)
            listener.setblocking(False)
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners
