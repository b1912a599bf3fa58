"""From an endpoint to an open connection: addresses, sockets, proxies, TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

from apipod_proxy.errors import Unreachable
from apipod_proxy.upstream.connection import Connection
from apipod_proxy.upstream.dns import Address, Resolver
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.proxy import Proxy
from apipod_proxy.upstream.tls import Contexts
from apipod_proxy.upstream.tunnel import TunnelRequest

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

    __slots__ = ("_contexts", "_loop", "_resolver")

    def __init__(self, loop: asyncio.AbstractEventLoop, resolver: Resolver, contexts: Contexts) -> None:
        self._loop = loop
        self._resolver = resolver
        self._contexts = contexts

    async def connect(self, endpoint: Endpoint, factory: Callable[[], Connection]) -> Connection:
        """Raises Unreachable."""
        proxy = endpoint.proxy
        host, port = (endpoint.host, endpoint.port) if proxy is None else (proxy.host, proxy.port)
        try:
            addresses = await self._resolver.resolve(host, port)
        except OSError as exc:
            raise Unreachable("dns") from exc
        try:
            sock = await self._reach(addresses)
        except OSError as exc:
            raise Unreachable("connect") from exc
        if proxy is not None and endpoint.tls:
            return await self._tunnel(proxy, endpoint, sock, factory())
        tls = endpoint.tls if proxy is None else proxy.tls
        try:
            context = await self._contexts.get(endpoint.ca_file) if tls else None
            _, connection = await self._loop.create_connection(
                factory, sock=sock, ssl=context, server_hostname=host if tls else None
            )
        except OSError as exc:
            sock.close()
            raise Unreachable("tls" if tls else "connect") from exc
        except BaseException:
            sock.close()
            raise
        return connection

    async def _tunnel(
        self, proxy: Proxy, endpoint: Endpoint, sock: socket.socket, connection: Connection
    ) -> Connection:
        """TLS to the server inside a tunnel that the proxy opens, itself inside TLS for an https:// proxy."""
        stage = "proxy"
        transport: asyncio.Transport | None = None
        try:
            outer = await self._contexts.get(endpoint.ca_file) if proxy.tls else None
            transport, asking = await self._loop.create_connection(
                partial(TunnelRequest, proxy.connect_head(endpoint.host, endpoint.port)),
                sock=sock,
                ssl=outer,
                server_hostname=proxy.host if proxy.tls else None,
            )
            await asking.opened
            stage = "tls"
            inner = await self._contexts.get(endpoint.ca_file)
            secured = await self._loop.start_tls(transport, connection, inner, server_hostname=endpoint.host)
            if secured is None:
                raise ConnectionResetError("closed in the handshake")
            # start_tls leaves this to its caller.
            connection.connection_made(secured)
        except OSError as exc:
            _discard(transport, sock)
            raise Unreachable(stage) from exc
        except BaseException:
            _discard(transport, sock)
            raise
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


def _discard(transport: asyncio.Transport | None, sock: socket.socket) -> None:
    if transport is None:
        sock.close()
    else:
        transport.abort()


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """Two attempts may succeed in the same moment; the second socket is nobody's."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
