"""A receiver that writes down what it hears, and checks that it hears it in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from apipod_proxy.catalog.model import Timeouts
from apipod_proxy.errors import UpstreamError
from apipod_proxy.upstream.call import Call
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.pool import Pool

QUICK = Timeouts(connect=0.5, first_byte=0.5, idle=0.3)


class Recorder:
    """``at_head``, ``at_body`` and ``at_end`` run inside the call of the same name."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.ended = False
        self.error: UpstreamError | None = None
        self.at_head: Callable[[], object] | None = None
        self.at_body: Callable[[], object] | None = None
        self.at_end: Callable[[], object] | None = None
        self.over = asyncio.Event()
        self.begun = asyncio.Event()

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def silent(self) -> bool:
        """Whether nothing at all was heard."""
        return self.status is None and not self.pieces and not self.over.is_set()

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert self.status is None and not self.over.is_set()
        assert status >= 200
        self.status, self.headers = status, headers
        self.begun.set()
        if self.at_head is not None:
            self.at_head()

    def body(self, data: bytes) -> None:
        assert self.status is not None and not self.over.is_set()
        assert type(data) is bytes and data
        self.pieces.append(data)
        if self.at_body is not None:
            self.at_body()

    def end(self) -> None:
        assert self.status is not None and not self.over.is_set()
        self.ended = True
        self.over.set()
        if self.at_end is not None:
            self.at_end()

    def failed(self, error: UpstreamError) -> None:
        assert not self.over.is_set()
        self.error = error
        self.over.set()

    async def finished(self, within: float = 3.0) -> None:
        async with asyncio.timeout(within):
            await self.over.wait()


def request(
    pool: Pool,
    endpoint: Endpoint,
    recorder: Recorder,
    *,
    method: bytes = b"POST",
    body: bytes = b"{}",
    timeouts: Timeouts = QUICK,
    repeatable: bool = True,
) -> Call:
    """Send a small request."""
    head = b"%b /v1/x HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n" % (
        method,
        endpoint.authority.encode(),
        len(body),
    )
    return pool.send(endpoint, head, body, recorder, timeouts, repeatable=repeatable)


async def ask(
    pool: Pool,
    endpoint: Endpoint,
    *,
    method: bytes = b"POST",
    body: bytes = b"{}",
    timeouts: Timeouts = QUICK,
    repeatable: bool = True,
) -> Recorder:
    """Send a small request and wait for its end."""
    recorder = Recorder()
    request(pool, endpoint, recorder, method=method, body=body, timeouts=timeouts, repeatable=repeatable)
    await recorder.finished()
    return recorder


@asynccontextmanager
async def open_pool() -> AsyncIterator[Pool]:
    """A pool that must be empty of leaks when it is closed."""
    pool = Pool()
    try:
        yield pool
    finally:
        async with asyncio.timeout(1):
            await pool.close()
        assert (pool.open, pool.idle, pool.waiting) == (0, 0, 0)
