"""A server that follows a script: given pieces of bytes, with given gaps, and every kind of bad manners."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple, Self, cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Do(Enum):
    REQUEST = auto()
    """Wait until a whole request (by its content-length) has arrived that was not waited for before."""
    HEAD = auto()
    """Wait for the head of a request only."""
    DEAF = auto()
    """Read nothing more."""
    HEAR = auto()
    """Read again."""
    HALF_CLOSE = auto()
    """Send FIN and go on reading."""
    CLOSE = auto()
    """Send what is buffered, then FIN."""
    RESET = auto()
    """Send RST."""
    STALL = auto()
    """Do nothing until the client closes."""
    AGAIN = auto()
    """From the first step on."""


class Flood(NamedTuple):
    """So many pieces, each as soon as the connection has taken the one before."""

    piece: bytes
    times: int


Step = bytes | float | Do | Flood
Script = Sequence[Step]


def answer(body: bytes = b"{}", status: int = 200, headers: bytes = b"") -> bytes:
    """A plain answer with its length; ``headers`` are whole lines."""
    return b"HTTP/1.1 %d Some\r\n%bContent-Length: %d\r\n\r\n%b" % (status, headers, len(body), body)


def chunked(*pieces: bytes, status: int = 200, headers: bytes = b"", end: bytes = b"0\r\n\r\n") -> bytes:
    """A chunked answer, one chunk for each piece."""
    head = b"HTTP/1.1 %d Some\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (status, headers)
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


class Peer(asyncio.Protocol):
    """One accepted connection; ``received`` is all that came, ``lost`` is set when it is gone."""

    def __init__(self, server: ScriptedServer, script: Script) -> None:
        self.received = bytearray()
        self.lost = asyncio.Event()
        self.error: Exception | None = None
        self.taken = 0
        """Bytes of floods that left this process."""
        self._server = server
        self._script = script
        self._seen = 0
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._script and self._script[0] is Do.DEAF:
            self.transport.pause_reading()
        self._server.peers.append(self)
        self._server.arrived.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._news.set()

    def eof_received(self) -> None:
        self._news.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()
        if self._task is not None:
            self._task.cancel()

    async def closed(self, within: float = 1.0) -> None:
        """Raises TimeoutError when the client has not closed by then."""
        async with asyncio.timeout(within):
            await self.lost.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.transport.abort()
        await self.closed()

    async def _run(self) -> None:
        position = 0
        while position < len(self._script):
            step = self._script[position]
            position += 1
            if step is Do.AGAIN:
                position = 0
            elif isinstance(step, Do):
                await self._act(step)
            elif isinstance(step, bytes):
                self._write(step)
            elif isinstance(step, Flood):
                for _ in range(step.times):
                    self._write(step.piece)
                    await self._writable.wait()
                    self.taken += len(step.piece)
            else:
                await asyncio.sleep(step)

    def _write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    async def _act(self, action: Do) -> None:
        transport = self.transport
        if action in (Do.REQUEST, Do.HEAD):
            while not self._arrived(whole=action is Do.REQUEST):
                self._news.clear()
                await self._news.wait()
        elif action is Do.DEAF:
            transport.pause_reading()
        elif action is Do.HEAR:
            transport.resume_reading()
        elif action is Do.HALF_CLOSE:
            transport.write_eof()
        elif action is Do.CLOSE:
            transport.close()
        elif action is Do.RESET:
            # Let what was written leave first: an abort drops it.
            while transport.get_write_buffer_size():
                await asyncio.sleep(0.001)
            sock: socket.socket = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        elif action is Do.STALL:
            await self.lost.wait()

    def _arrived(self, *, whole: bool) -> bool:
        start = self._seen
        end = self.received.find(b"\r\n\r\n", start)
        if end < 0:
            return False
        length = _LENGTH.search(self.received, start, end + 2) if whole else None
        total = end + 4 + (int(length[1]) if length else 0)
        if len(self.received) < total:
            return False
        self._seen = total
        return True


class ScriptedServer:
    """Listens on a free port. Connection n follows script n; the last script serves all further ones."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.scripts = scripts
        self.peers: list[Peer] = []
        self.arrived = asyncio.Event()
        self.host = host
        self.port = 0
        self._tls = tls
        self._accepted = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def received(self) -> bytes:
        """What arrived on all connections, in the order in which they were made."""
        return b"".join(bytes(peer.received) for peer in self.peers)

    def _peer(self) -> Peer:
        script = self.scripts[min(self._accepted, len(self.scripts) - 1)]
        self._accepted += 1
        return Peer(self, script)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(self._peer, self.host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop_listening(self) -> None:
        """New connections are refused; those that are open go on."""
        self._server.close()

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for peer in self.peers:
            if not peer.lost.is_set():
                await peer.stop()
        await self._server.wait_closed()
