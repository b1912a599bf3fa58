"""The two ends of a stream, written down: a client and an upstream call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from apipod_proxy.errors import ProxyError


class Client:
    """A client's answer. ``slow``: what ``write`` says; ``room`` is set when it has taken everything."""

    def __init__(self) -> None:
        self.begun = False
        self.gone = False
        self.paused = False
        self.slow = False
        self.written: list[bytes] = []
        self.ended = 0
        self.aborted = False
        self.room: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def sent(self) -> int:
        return sum(map(len, self.written))

    def begin_stream(self) -> None:
        assert not self.begun
        self.begun = True

    def write(self, data: bytes) -> bool:
        assert data
        assert self.begun
        self.written.append(data)
        return self.slow

    def end(self) -> None:
        self.ended += 1

    def drained(self) -> Awaitable[None]:
        return self.room

    def abort(self) -> None:
        self.aborted = True


class Call:
    """An upstream call under way."""

    def __init__(self) -> None:
        self.sent = True
        self.paused = 0
        self.resumed = 0
        self.aborted = False

    def pause(self) -> None:
        self.paused += 1

    def resume(self) -> None:
        self.resumed += 1

    def abort(self) -> None:
        self.aborted = True


class Frames:
    """The gateway's own frames; ``ping`` is empty for dialects without one."""

    def __init__(self, ping: bytes = b"ping") -> None:
        self.ping = ping

    def error(self, error: ProxyError) -> bytes:
        return f"error: {error}".encode()
