"""From an endpoint to an open connection: addresses, sockets, proxies, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar, cast

import uvloop

from apipod_proxy.errors import Unreachable
from apipod_proxy.upstream.connection import Connection
from apipod_proxy.upstream.dns import Address, Resolver
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.tls import Contexts
from apipod_proxy.upstream.tunnel import TunnelRequest

Spoken = TypeVar("Spoken", bound=asyncio.BaseProtocol)

RECEIVE_BUFFER: Final = 256 * 1024
"""What the kernel may take in ahead of us on each connection. Left alone it grows to 6 MB, and a slow client would
keep that much of a provider's answer here; with this, 256 KB at 100 ms still allow 2.5 MB/s for each stream."""

ATTEMPT_DELAY: Final = 0.25
"""Seconds until the next address is tried beside the one that does not answer (RFC 8305 section 5)."""

# A server that vanished while a long answer is awaited is noticed after 30 + 6 x 10 s.
_OPTIONS: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))
        if hasattr(socket, name)
    ),
)


class Connector:
    """Opens connections; every failure is Unreachable with the stage it failed at, and a cancelled one leaves nothing open."""

    __slots__ = ("_by_number", "_contexts", "_loop", "_resolver")

    def __init__(self, loop: asyncio.AbstractEventLoop, resolver: Resolver, contexts: Contexts) -> None:
        self._loop = loop
        self._resolver = resolver
        self._contexts = contexts
        self._by_number = isinstance(loop, uvloop.Loop)

    async def connect(self, endpoint: Endpoint, factory: Callable[[], Connection]) -> Connection:
        """Raises Unreachable."""
        proxy, ca_file = endpoint.proxy, endpoint.ca_file
        host, port = (endpoint.host, endpoint.port) if proxy is None else (proxy.host, proxy.port)
        stage = "tls"
        try:
            # Before there is a socket: reading the authorities takes a while, in which a server could lose patience.
            inner = await self._contexts.get(ca_file) if endpoint.tls else None
            outer = await self._contexts.get(ca_file) if proxy is not None and proxy.tls else None
            stage = "dns"
            addresses = await self._resolver.resolve(host, port)
            stage = "connect"
            if len(addresses) == 1 and proxy is None and inner is None:
                return await self._direct(factory, addresses[0])
            sock = await self._reach(addresses)
            if proxy is None:
                stage = "tls" if inner else "connect"
                _, connection = await self._open(factory, sock, host, inner)
                return connection
            stage = "proxy"
            if inner is None:
                _, connection = await self._open(factory, sock, host, outer)
                return connection
            ask = partial(TunnelRequest, proxy.connect_head(endpoint.host, endpoint.port))
            transport, asking = await self._open(ask, sock, host, outer)
            try:
                await asking.opened
                stage = "tls"
                return await self._secure(transport, factory(), inner, endpoint.host)
            except BaseException:
                transport.abort()
                raise
        except OSError as exc:
            raise Unreachable(stage) from exc

    async def _open(
        self,
        factory: Callable[[], Spoken],
        sock: socket.socket,
        host: str,
        context: ssl.SSLContext | None,
    ) -> tuple[asyncio.Transport, Spoken]:
        try:
            return await self._loop.create_connection(
                factory, sock=sock, ssl=context, server_hostname=host if context else None
            )
        finally:
            # uvloop closes the file descriptor by its number and means to detach the socket object then. When the
            # server resets while this task is being woken up, it closes first and never detaches: the object would
            # close the number a second time, which by then may be another connection's.
            if self._by_number:
                sock.detach()

    async def _direct(self, factory: Callable[[], Connection], address: Address) -> Connection:
        """The short way where there is nothing to choose or to add: uvloop connects a socket of its own in half the time."""
        host, port = cast("tuple[str, int]", address.sockaddr[:2])
        transport, connection = await self._loop.create_connection(factory, host, port, family=address.family)
        sock = transport.get_extra_info("socket")
        for level, option, value in _OPTIONS:
            sock.setsockopt(level, option, value)
        return connection

    async def _secure(
        self, transport: asyncio.Transport, connection: Connection, context: ssl.SSLContext, host: str
    ) -> Connection:
        """TLS inside an open tunnel."""
        secured = await self._loop.start_tls(transport, connection, context, server_hostname=host)
        if secured is None:
            raise ConnectionResetError("closed in the handshake")
        # start_tls leaves this to its caller.
        connection.connection_made(secured)
        return connection

    # Sockets

    async def _reach(self, addresses: list[Address]) -> socket.socket:
        """A socket connected to the first address that answers. Raises the last OSError."""
        if len(addresses) == 1:
            return await self._try(addresses[0])
        left = list(reversed(addresses))
        running: set[asyncio.Task[socket.socket]] = set()
        failure: BaseException = OSError("no address")
        try:
            while left or running:
                if left:
                    running.add(self._loop.create_task(self._try(left.pop())))
                # The next address starts when this one has failed, or is merely slow.
                done, running = await asyncio.wait(
                    running, timeout=ATTEMPT_DELAY if left else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    if task.exception() is None:
                        running |= done - {task}
                        return task.result()
                    failure = task.exception() or failure
        finally:
            for task in running:
                task.cancel()
                task.add_done_callback(_close_late)
        raise failure

    async def _try(self, address: Address) -> socket.socket:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            for level, option, value in _OPTIONS:
                sock.setsockopt(level, option, value)
            await self._loop.sock_connect(sock, address.sockaddr)
        except BaseException:
            sock.close()
            raise
        return sock


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """Two attempts may succeed in the same moment; the second socket is nobody's."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
