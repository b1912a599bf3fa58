from __future__ import annotations

import asyncio
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from apipod_proxy.limit import link
from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.memory import MemoryLimits
from apipod_proxy.limit.model import Admission, Counter, Lease
from apipod_proxy.limit.redis import RedisLimits

START = 1_700_000_000.0
"""14 November 2023, 22:13:20 UTC"""


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Rig:
    """A back end whose clock is the test's."""

    def __init__(self, limits: MemoryLimits | RedisLimits, clock: Clock) -> None:
        self.limits = limits
        self.clock = clock

    def half(self, kind: str, limit: int, burst: int = 0, *, scope: str = "key", owner: str = "k") -> Half:
        return self.limits.half([Counter(scope, owner, kind, limit, burst or limit)])

    async def admit(self, caller: Half | None, candidate: Half | None = None, tokens: int = 0) -> Admission:
        return await self.limits.admit(caller, candidate, tokens)

    async def took(self, half: Half, tokens: int = 0) -> Lease | None:
        return (await self.limits.admit(half, None, tokens)).caller

    async def settled(self) -> None:
        """Wait until every settlement so far has taken effect."""
        if isinstance(self.limits, RedisLimits):
            await self.limits.flush()

    async def left(self, half: Half) -> list[int]:
        return [level.remaining for level in self.limits.levels(half)]


class OwnRedis:
    """A Redis of one test, which may be stopped, started empty, and held up."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "redis-server is not installed"
        self._process = await asyncio.create_subprocess_exec(
            program,
            *(
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(self._folder),
                *self._options,
            ),
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    await writer.wait_closed()
                    return

    async def stop(self) -> None:
        """As in a crash: nothing is kept."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(signal.SIGCONT)
            process.kill()
            await process.wait()

    def hold_up(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def command(self, *words: str | bytes) -> Any:
        async with redis.asyncio.Redis(host="127.0.0.1", port=self.port) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    await server.start()
    yield server
    await server.stop()


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for something that another task or process is about to bring about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def redis_url(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The Redis of all tests, which is never slow: what is exact in it is only about right while it is away, and a busy machine is no slow Redis."""
    monkeypatch.setattr(link, "TIMEOUT", 5.0)
    return redis_url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
async def rig(request: pytest.FixtureRequest, redis_prefix: str, clock: Clock) -> AsyncIterator[Rig]:
    limits: MemoryLimits | RedisLimits
    if request.param == "memory":
        limits = MemoryLimits(clock)
    else:
        url = request.getfixturevalue("redis_url")
        limits = RedisLimits(url, prefix=redis_prefix, clock=clock, own_time=False)
        await limits.start(patience=5)
        assert limits.status() == ""
    yield Rig(limits, clock)
    await limits.close()
