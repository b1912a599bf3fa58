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
from apipod_proxy.limit.wire import command

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


async def test_a_start_without_redis_gives_nobody_a_second_day(own_redis: OwnRedis) -> None:
    async def log() -> list[Row]:
        return [
            Row("model", "m", "rpd", 490, int(time.time() * 1000)),
            Row("model", "old", "rpd", 490, int(time.time() * 1000) - 86_400_000),
            Row("model", "more", "rpd", 600, int(time.time() * 1000)),
        ]

    await own_redis.stop()
    async with opened(RedisLimits(own_redis.url, reseed=log), well=False) as limits:
        half = only(limits, "rpd", 500)
        assert await admitted(limits, half, 50) == 10
        others = [limits.half([Counter("model", name, "rpd", 500, 500)]) for name in ("old", "more")]
        # No share is below one.
        assert [await admitted(limits, other, 600) for other in others] == [500, 1]
        await own_redis.start()
        await until(partial(well, limits))
        await limits.flush()
        assert await admitted(limits, half, 5) == 0


async def test_a_start_without_redis_and_without_a_usage_log_serves(own_redis: OwnRedis) -> None:
    async def broken() -> list[Row]:
        raise OSError("no disk")

    await own_redis.stop()
    async with opened(RedisLimits(own_redis.url, reseed=broken), well=False) as limits:
        assert await admitted(limits, only(limits, "rpd", 5), 6) == 5


async def test_a_redis_that_may_forget_counters_is_warned_of(
    own_redis: OwnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    await own_redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with opened(RedisLimits(own_redis.url)):
        # Without a bound on its memory it forgets nothing.
        assert "evict" not in caplog.text
    await own_redis.command("CONFIG", "SET", "maxmemory", "100mb")
    async with opened(RedisLimits(own_redis.url)):
        assert "may evict counters (maxmemory-policy allkeys-lru)" in caplog.text


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
    monkeypatch.setattr(link, "COUNT_AGAIN", 0.05)
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


async def test_a_settlement_whose_answer_was_lost_counts_once(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "STUCK", 0.05)
    async with opened(RedisLimits(own_redis.url)) as limits:
        half = limits.half([Counter("key", "k", "tpd", 1000, 1000), Counter("key", "k", "concurrency", 9, 9)])
        leases = [(await limits.admit(half, None, 100)).caller for _ in range(3)]
        own_redis.hold_up()
        for lease in leases:
            assert lease is not None
            lease.settle(10, sent=True)
        await asyncio.sleep(0.02)
        assert not limits.status(), "the batch is on its way, and nobody has noticed yet"
        assert (await limits.admit(half, None, 0)).caller is not None
        wire = limits._link.wire
        assert wire is not None
        await until(lambda: wire.closed)
        own_redis.go_on()
        await until(partial(well, limits))
        await limits.flush()
        assert await admitted(limits, half, 1) == 1
        assert [level.remaining for level in limits.levels(half)] == [970, 7]


@pytest.mark.parametrize(("remembered", "left"), [(100.0, 90), (0.0, 0)])
async def test_a_batch_is_sent_again_while_redis_remembers_its_name(
    own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch, remembered: float, left: int
) -> None:
    monkeypatch.setattr("apipod_proxy.limit.redis.REMEMBERED", remembered)
    async with opened(RedisLimits(own_redis.url)) as limits:
        half = only(limits, "tpd", 100)
        lease = (await limits.admit(half, None, 100)).caller
        assert lease is not None
        await own_redis.command("CLIENT", "PAUSE", "60000", "WRITE")
        lease.settle(10, sent=True)
        await asyncio.sleep(0.02)
        await own_redis.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: not well(limits))
        await own_redis.command("CLIENT", "UNPAUSE")
        await until(partial(well, limits))
        await limits.flush()
        await limits.admit(half, None, 0)
        assert limits.levels(half)[0].remaining == left


async def test_only_so_many_batches_are_kept(own_redis: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apipod_proxy.limit.redis.MOST_UNANSWERED", 2)
    async with opened(RedisLimits(own_redis.url)) as limits:
        half = only(limits, "rpd", 100)
        leases = [(await limits.admit(half, None, 0)).caller for _ in range(5)]
        own_redis.hold_up()
        for lease in leases:
            assert lease is not None
            lease.settle(None, sent=False)
            limits._deliver()
        await limits.flush(patience=0.02)
        assert len(limits._unanswered) == 2
        own_redis.go_on()
        await limits.flush()
        assert not limits._unanswered


async def test_both_halves_are_kept_here_while_redis_is_away(own_redis: OwnRedis) -> None:
    await own_redis.stop()
    async with opened(RedisLimits(own_redis.url), well=False) as limits:
        caller = limits.half([Counter("key", "k", "rpd", 4, 4), Counter("key", "k", "tpd", 100, 100)])
        candidate = limits.half([Counter("model", "m", "concurrency", 1, 1)])
        first = await limits.admit(caller, candidate, 60)
        assert first.refused == ""
        second = await limits.admit(caller, candidate, 10)
        assert second.refused == "candidate"
        assert second.refusal is not None
        assert second.refusal.counter == Counter("model", "m", "concurrency", 1, 1)
        assert (await limits.admit(caller, candidate, 50)).refused == "caller"
        assert first.caller is not None
        assert first.candidate is not None
        assert second.caller is not None
        first.caller.settle(20, sent=True)
        first.candidate.settle(20, sent=True)
        second.caller.settle(None, sent=False)
        assert [level.remaining for level in limits.levels(caller)] == [3, 80]
        assert [level.remaining for level in limits.levels(candidate)] == [1]
        limits.seed([Row("key", "other", "rpd", 3, int(time.time() * 1000))])
        await own_redis.start()
        await until(partial(well, limits))
        assert (await limits.admit(caller, candidate, 0)).refused == ""
        assert [level.remaining for level in limits.levels(caller)] == [2, 80]
        assert await admitted(limits, limits.half([Counter("key", "other", "rpd", 4, 4)]), 3) == 1
        assert list(limits.snapshot()) == []


async def test_what_was_taken_here_and_ends_later_is_settled_in_redis(own_redis: OwnRedis) -> None:
    await own_redis.stop()
    async with opened(RedisLimits(own_redis.url), well=False) as limits:
        half = limits.half([Counter("key", "k", "tpd", 100, 100), Counter("key", "k", "concurrency", 3, 3)])
        lease = (await limits.admit(half, None, 60)).caller
        await own_redis.start()
        await until(partial(well, limits))
        await limits.admit(half, None, 0)
        assert [level.remaining for level in limits.levels(half)] == [40, 1]
        assert lease is not None
        lease.settle(10, sent=True)
        await limits.flush()
        await limits.admit(half, None, 0)
        assert [level.remaining for level in limits.levels(half)] == [90, 1]


async def test_what_ended_a_moment_ago_refuses_nobody(redis_url: str, redis_prefix: str) -> None:
    async with opened(RedisLimits(redis_url, prefix=redis_prefix)) as limits:
        caller = limits.half([Counter("key", "k", "concurrency", 1, 1), Counter("key", "k", "rpd", 9, 9)])
        candidate = limits.half([Counter("model", "m", "concurrency", 1, 1)])
        for _ in range(3):
            admission = await limits.admit(caller, candidate, 0)
            assert admission.refused == ""
            for lease in (admission.caller, admission.candidate):
                assert lease is not None
                lease.settle(None, sent=True)
        running = (await limits.admit(None, candidate, 0)).candidate
        assert running is not None
        running.settle(None, sent=True)
        admission = await limits.admit(caller, candidate, 0)
        assert admission.refused == ""
        assert limits.levels(caller)[1].remaining == 5


async def test_a_client_that_leaves_before_the_second_look_takes_nothing_with_it(
    redis_url: str, redis_prefix: str
) -> None:
    async with opened(RedisLimits(redis_url, prefix=redis_prefix)) as limits:
        caller, candidate = limits.half([Counter("key", "k", "rpd", 9, 9)]), only(limits, "concurrency", 1)
        for steps in range(12):
            running = (await limits.admit(None, candidate, 0)).candidate
            assert running is not None
            task = asyncio.create_task(limits.admit(caller, candidate, 0))
            running.settle(None, sent=True)
            for _ in range(steps):
                await asyncio.sleep(0.0002)
            task.cancel()
            try:
                admission = await task
            except asyncio.CancelledError:
                pass  # left in time
            else:
                for lease in (admission.caller, admission.candidate):
                    assert lease is not None
                    lease.settle(None, sent=False)
            await asyncio.sleep(0.005)
            await limits.flush()
        await limits.admit(caller, candidate, 0)
        assert limits.levels(caller)[0].remaining == 8
        assert limits.levels(candidate)[0].remaining == 0


def leave(asking: asyncio.Task[Admission], _: object) -> None:
    asking.cancel()


async def test_a_client_that_leaves_in_the_moment_of_the_answer_takes_nothing_with_it(
    redis_url: str, redis_prefix: str
) -> None:
    async with opened(RedisLimits(redis_url, prefix=redis_prefix)) as limits:
        half = limits.half([Counter("key", "k", kind, 1, 1) for kind in ("rpd", "concurrency")])
        wire = limits._link.wire
        assert wire is not None
        for _ in range(5):
            asking = asyncio.create_task(limits.admit(half, None, 0))
            await asyncio.sleep(0)
            # Both answers are read at once: the admission is known, and who asked for it has not heard of it yet.
            wire.post(command(b"PING"), partial(leave, asking))
            with pytest.raises(asyncio.CancelledError):
                await asking
            await limits.flush()
        assert await admitted(limits, half, 2) == 1


async def test_a_report_beyond_all_measure_is_taken(redis_url: str, redis_prefix: str) -> None:
    async with opened(RedisLimits(redis_url, prefix=redis_prefix)) as limits:
        half = only(limits, "tpm", 1)
        for _ in range(3):
            lease = (await limits.admit(half, None, 1)).caller
            if lease is not None:
                lease.settle(2**53, sent=True)
            await limits.flush()
        assert well(limits)
        assert await admitted(limits, half, 1, tokens=1) == 0


async def test_thousands_of_leases_are_renewed_in_parts(redis_url: str, redis_prefix: str) -> None:
    clock = Clock()
    async with opened(RedisLimits(redis_url, prefix=redis_prefix, clock=clock, own_time=False)) as limits:
        half = only(limits, "concurrency", 2000)
        assert await admitted(limits, half, 1200) == 1200
        clock.now += 50
        limits._renew(everything=True)
        limits._renew()
        clock.now += 50
        assert await admitted(limits, half, 900) == 800


async def test_a_renewal_that_is_refused_is_noticed(own_redis: OwnRedis) -> None:
    async with opened(RedisLimits(own_redis.url)) as limits:
        assert await admitted(limits, only(limits, "concurrency", 9), 1) == 1
        await own_redis.command("CONFIG", "SET", "maxmemory", "1")
        limits._renew(everything=True)
        await until(lambda: "Redis refuses (OOM" in limits.status())
        await own_redis.command("CONFIG", "SET", "maxmemory", "0")
        await until(partial(well, limits))


async def test_levels_of_windows_that_are_over_start_anew(redis_url: str, redis_prefix: str) -> None:
    clock = Clock()
    async with opened(RedisLimits(redis_url, prefix=redis_prefix, clock=clock, own_time=False)) as limits:
        half = limits.half(
            [Counter("key", "k", "rpd", 9, 9), Counter("key", "k", "tokens_per_month", 90, 90)]
        )
        await limits.admit(half, None, 30)
        assert [level.remaining for level in limits.levels(half)] == [8, 60]
        clock.now += 86_400
        assert [level.remaining for level in limits.levels(half)] == [9, 60]
        clock.now += 31 * 86_400
        assert [level.remaining for level in limits.levels(half)] == [9, 90]


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
