from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

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
