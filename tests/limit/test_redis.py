"""What only the back end in Redis does: several processes, lost answers, and a Redis that is slow, away, or empty."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from apipod_proxy.limit import link
from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.model import Admission, Counter, Row
from apipod_proxy.limit.redis import RedisLimits

from .conftest import Clock, OwnRedis, until


@asynccontextmanager
async def opened(limits: RedisLimits, *, well: bool = True) -> AsyncIterator[RedisLimits]:
    await limits.start(patience=5 if well else 0.01)
    assert (limits.status() == "") is well
    try:
        yield limits
    finally:
        await limits.close()


def well(limits: RedisLimits) -> bool:
    return limits.status() == ""


def only(limits: RedisLimits, kind: str, limit: int, burst: int = 0) -> Half:
    return limits.half([Counter("model", "m", kind, limit, burst or limit)])


async def admitted(limits: RedisLimits, half: Half, times: int, tokens: int = 0) -> int:
    admissions = await asyncio.gather(*(limits.admit(half, None, tokens) for _ in range(times)))
    return sum(admission.caller is not None for admission in admissions)


async def test_three_processes_share_one_limit(redis_url: str, redis_prefix: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(opened(RedisLimits(redis_url, prefix=redis_prefix)))
            for _ in range(3)
        ]
        counts = await asyncio.gather(*(admitted(r, only(r, "rpd", 50), 40) for r in replicas))
        assert sum(counts) == 50


async def test_three_processes_never_exceed_a_gauge(redis_url: str, redis_prefix: str) -> None:
    running = peak = served = 0

    async def client(limits: RedisLimits, half: Half) -> None:
        nonlocal running, peak, served
        while (lease := (await limits.admit(half, None, 0)).caller) is None:
            await asyncio.sleep(0.002)
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.002)
        running -= 1
        served += 1
        lease.settle(None, sent=True)

    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(opened(RedisLimits(redis_url, prefix=redis_prefix)))
            for _ in range(3)
        ]
        clients = [
            client(r, half) for r in replicas for half in [only(r, "concurrency", 8)] for _ in range(33)
        ]
        await asyncio.gather(*clients)
    assert (peak, served) == (8, 99)


async def test_the_rate_holds_over_three_processes(redis_url: str, redis_prefix: str) -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                opened(RedisLimits(redis_url, prefix=redis_prefix, clock=clock, own_time=False))
            )
            for _ in range(3)
        ]
        halves = [only(r, "rpm", 600, 10) for r in replicas]
        total = 0
        for _ in range(120):
            total += sum(
                await asyncio.gather(*(admitted(r, h, 2) for r, h in zip(replicas, halves, strict=True)))
            )
            clock.now += 0.5
        assert abs(total - 10 - 600) <= 6


async def test_a_cancelled_admission_gives_back_what_it_took(redis_url: str, redis_prefix: str) -> None:
    async with opened(RedisLimits(redis_url, prefix=redis_prefix)) as limits:
        half = limits.half([Counter("key", "k", "concurrency", 2, 2), Counter("key", "k", "rpd", 9, 9)])
        for _ in range(5):
            task = asyncio.create_task(limits.admit(half, None, 0))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.05)
        assert await admitted(limits, half, 5) == 2
        assert [level.remaining for level in limits.levels(half)] == [0, 7]


async def test_leases_of_a_dead_process_expire_and_those_of_a_living_one_are_renewed(
    redis_url: str, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "BEAT", 0.01)
    clock = Clock()
    dead = RedisLimits(redis_url, prefix=redis_prefix, clock=clock, own_time=False)
    async with opened(RedisLimits(redis_url, prefix=redis_prefix, clock=clock, own_time=False)) as living:
        async with opened(dead):
            assert await admitted(dead, only(dead, "concurrency", 3), 2) == 2
        half = only(living, "concurrency", 3)
        assert await admitted(living, half, 5) == 1
        clock.now += 50
        monkeypatch.setattr("apipod_proxy.limit.redis.RENEW", 0.0)
        await asyncio.sleep(0.1)
        clock.now += 50
        assert await admitted(living, half, 5) == 2, (
            "the two of the dead process are free, the one of the living is not"
        )


async def test_redis_may_forget_the_script(own_redis: OwnRedis) -> None:
    async with opened(RedisLimits(own_redis.url)) as limits:
        half = limits.half([Counter("key", "k", "tpm", 100, 100)])
        for _ in range(2):
            await own_redis.command("SCRIPT", "FLUSH")
            admission = await limits.admit(half, None, 60)
            assert admission.caller is not None
            await own_redis.command("SCRIPT", "FLUSH")
            admission.caller.settle(None, sent=False)
            await limits.flush()
            assert limits.status() == ""
        assert await admitted(limits, half, 3, 50) == 2


async def test_a_redis_that_is_away_at_the_start_is_found_later(own_redis: OwnRedis) -> None:
    await own_redis.stop()
    async with opened(RedisLimits(own_redis.url, processes=2), well=False) as limits:
        assert limits.status().startswith("degraded: Redis cannot be reached")
        half = only(limits, "rpd", 10)
        assert await admitted(limits, half, 20) == 5
        await own_redis.start()
        await until(partial(well, limits))
        assert await admitted(limits, half, 20) == 5, "what was taken meanwhile counts"


async def test_a_slow_redis_is_left_within_its_time_and_taken_up_again(own_redis: OwnRedis) -> None:
    async with opened(RedisLimits(own_redis.url)) as limits:
        half = limits.half(
            [Counter("model", "m", "rpd", 100, 100), Counter("model", "m", "concurrency", 20, 20)]
        )
        before = (await limits.admit(half, None, 0)).caller
        own_redis.hold_up()
        started = time.monotonic()
        admissions = await asyncio.gather(*(limits.admit(half, None, 0) for _ in range(10)))
        assert time.monotonic() - started < 0.5
        assert all(admission.caller is not None for admission in admissions)
        assert "longer than 50 ms" in limits.status()
        started = time.monotonic()
        assert await admitted(limits, half, 20) == 9, (
            "those that run already count, wherever they were admitted"
        )
        assert time.monotonic() - started < 0.05
        assert before is not None
        before.settle(None, sent=True)
        assert await admitted(limits, half, 20) == 1
        own_redis.go_on()
        await until(partial(well, limits))
        assert await admitted(limits, half, 20) == 0
        for admission in admissions:
            assert admission.caller is not None
            admission.caller.settle(None, sent=True)
        assert await admitted(limits, half, 20) == 10
        await limits.flush()
        assert [level.remaining for level in limits.levels(half)] == [100 - 31, 0]


async def test_a_redis_that_lost_its_data_is_counted_up_by_one_process(own_redis: OwnRedis) -> None:
    asked: list[int] = []

    async def usage(rows: Iterable[Row] = ()) -> Iterable[Row]:
        asked.append(1)
        await asyncio.sleep(0.05)
        return [Row("model", "m", "rpd", 40, int(time.time() * 1000))]

    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(opened(RedisLimits(own_redis.url, reseed=usage)))
            for _ in range(3)
        ]
        assert len(asked) == 1
        halves = [only(r, "rpd", 50) for r in replicas]
        for limits, half in zip(replicas, halves, strict=True):
            assert await admitted(limits, half, 3) == 3
        await own_redis.stop()
        for limits, half in zip(replicas, halves, strict=True):
            assert await admitted(limits, half, 1) == 1
            assert limits.status()
        await own_redis.start()
        for limits in replicas:
            await until(partial(well, limits))
        assert len(asked) == 2
        counts = [await admitted(r, h, 10) for r, h in zip(replicas, halves, strict=True)]
        # The log says 40. The last of them had heard of 49 before, and let one more in.
        assert sum(counts) == 0


async def test_a_usage_log_that_cannot_be_read_keeps_the_process_at_its_share(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = ["first"]

    async def usage() -> Iterable[Row]:
        if failures:
            raise OSError(failures.pop())
        return []

    async with opened(RedisLimits(own_redis.url, reseed=usage), well=False) as limits:
        await until(lambda: "usage log" in limits.status())
        assert await admitted(limits, only(limits, "rpm", 3), 5) == 3
        await until(partial(well, limits))


async def test_flushed_data_are_noticed(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BEAT", 0.02)
    async with opened(RedisLimits(own_redis.url)) as limits:
        half = limits.half([Counter("model", "m", "rpd", 10, 10), Counter("model", "m", "concurrency", 9, 9)])
        assert await admitted(limits, half, 4) == 4
        await own_redis.command("FLUSHALL")
        await until(lambda: limits.status() != "")
        await until(partial(well, limits))
        assert await admitted(limits, half, 20) == 5, "leases of what runs are there again"


async def hammer(
    limits: RedisLimits, half: Half, stop: asyncio.Event, seen: list[tuple[float, bool]]
) -> None:
    while not stop.is_set():
        started = time.monotonic()
        admission: Admission = await limits.admit(half, None, 10)
        took = time.monotonic() - started
        seen.append((took, admission.caller is not None))
        if admission.caller is not None:
            await asyncio.sleep(0.001)
            admission.caller.settle(5, sent=True)
        await asyncio.sleep(0.002)


async def test_no_request_fails_for_a_redis_that_stops_and_starts_under_load(own_redis: OwnRedis) -> None:
    stop, seen = asyncio.Event(), list[tuple[float, bool]]()
    burst, rate = 60, 600
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(opened(RedisLimits(own_redis.url, processes=3))) for _ in range(3)
        ]
        halves = [
            r.half([Counter("model", "m", "rpm", rate, burst), Counter("model", "m", "concurrency", 90, 90)])
            for r in replicas
        ]
        started = time.monotonic()
        tasks = [
            asyncio.create_task(hammer(r, h, stop, seen))
            for r, h in zip(replicas, halves, strict=True)
            for _ in range(5)
        ]
        await asyncio.sleep(0.4)
        await own_redis.stop()
        await asyncio.sleep(0.4)
        assert all(r.status().startswith("degraded: ") for r in replicas)
        await own_redis.start()
        for limits in replicas:
            await until(partial(well, limits))
        await asyncio.sleep(0.4)
        stop.set()
        await asyncio.gather(*tasks)
        lasted = time.monotonic() - started
        taken = sum(ok for _, ok in seen)
        # Redis came back with full buckets: one more burst, less what the processes knew to be missing.
        assert burst + rate * lasted / 60 * 0.8 <= taken <= 2 * burst + rate * lasted / 60 + 3
        assert max(took for took, _ in seen) < 0.5
        await asyncio.gather(*(r.flush() for r in replicas))
        for limits, half in zip(replicas, halves, strict=True):
            assert await admitted(limits, half, 1) in (0, 1)
            assert limits.levels(half)[1].remaining >= 90 - 3
