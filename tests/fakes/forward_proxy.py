"""A forward proxy: tunnels by CONNECT, and plain requests by their whole URL, to one server whatever they name."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Self


class ForwardProxy:
    """``heads`` are the request heads it got; ``refusal`` is sent instead of opening a tunnel."""

    def __init__(self, target_port: int, *, refusal: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self.port = 0
        self._target_port = target_port
        self._refusal = refusal
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self._refusal:
                writer.write(self._refusal)
                await reader.read()
                return
            there, onward = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                if head.startswith(b"CONNECT "):
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    onward.write(head)
                await asyncio.gather(_relay(reader, onward), _relay(there, writer))
            finally:
                onward.close()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side is gone, and so is the relay
        finally:
            writer.close()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
