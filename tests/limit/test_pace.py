from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest

from apipod_proxy.limit import pace
from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.memory import MemoryLimits
from apipod_proxy.limit.model import Counter, Lease, Waited
from apipod_proxy.limit.pace import Budget

from .conftest import Rig, until


@pytest.fixture
async def limits() -> AsyncIterator[MemoryLimits]:
    """In the time of the loop, which lines wait in."""
    made = MemoryLimits(time.time)
    yield made
    await made.close()


def model(limits: MemoryLimits, kind: str, limit: int, burst: int = 0, name: str = "m") -> Half:
    return limits.half([Counter("model", name, kind, limit, burst or limit)])


async def take(limits: MemoryLimits, half: Half, tokens: int = 0) -> Lease:
    lease = (await limits.admit(None, half, tokens)).candidate
    assert lease is not None
    return lease


def wait(
    limits: MemoryLimits,
    *halves: Half,
    key: str = "k",
    max_wait: float = 5.0,
    tokens: int = 0,
    line: str = "m",
) -> asyncio.Task[Waited]:
    return asyncio.create_task(limits.wait(halves, tokens, line=line, key=key, max_wait=max_wait))


def lease_of(waited: Waited) -> Lease:
    assert waited.admission.candidate is not None
    return waited.admission.candidate


async def test_who_finds_room_does_not_wait(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    waited = await limits.wait([half], 0, line="m", key="k", max_wait=1)
    assert waited.chosen == 0
    assert lease_of(waited) is not None
    assert limits.waiting("m") == 0


async def test_who_waits_is_let_in_as_soon_as_something_ends(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    running = await take(limits, half)
    task = wait(limits, half)
    await until(lambda: limits.waiting("m") == 1)
    started = time.monotonic()
    running.settle(None, sent=True)
    lease_of(await task)
    assert time.monotonic() - started < 0.2
    assert limits.levels(half)[0].remaining == 0
    await until(lambda: not limits.lines)


async def test_the_first_candidate_with_room_is_taken(limits: MemoryLimits) -> None:
    full, other = model(limits, "concurrency", 1), model(limits, "concurrency", 1, name="n")
    await take(limits, full)
    second = await take(limits, other)
    task = wait(limits, full, other)
    await until(lambda: limits.waiting("m") == 1)
    second.settle(None, sent=True)
    assert (await task).chosen == 1


async def test_the_time_is_up_for_who_waits_too_long(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    await take(limits, half)
    started = time.monotonic()
    waited = await limits.wait([half], 0, line="m", key="k", max_wait=0.05)
    assert 0.04 < time.monotonic() - started < 0.5
    assert waited.chosen == -1
    assert waited.admission.refused == "candidate"
    assert waited.admission.refusal is not None
    assert waited.admission.refusal.counter.kind == "concurrency"
    assert limits.waiting("m") == 0


async def test_who_would_wait_in_vain_is_refused_at_once(limits: MemoryLimits) -> None:
    day, busy = model(limits, "rpd", 1), model(limits, "rph", 1, name="n")
    for half in (day, busy):
        await take(limits, half)
    started = time.monotonic()
    waited = await limits.wait([day, busy], 0, line="m", key="k", max_wait=30)
    assert time.monotonic() - started < 0.05
    assert waited.admission.refusal is not None
    assert waited.admission.refusal.counter.scope == "model"
    assert 3590 <= waited.admission.refusal.retry_after <= 3600


async def test_keys_take_turns_however_much_one_of_them_asks(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    running = await take(limits, half)
    order: list[str] = []

    async def client(key: str) -> None:
        lease = lease_of(await limits.wait([half], 0, line="m", key=key, max_wait=5))
        order.append(key)
        await asyncio.sleep(0)
        lease.settle(None, sent=True)

    tasks = [asyncio.create_task(client(key)) for key in "aaaaaabbc"]
    await until(lambda: limits.waiting("m") == 9)
    running.settle(None, sent=True)
    await asyncio.gather(*tasks)
    assert "".join(order) == "abcabaaaa"


async def test_small_requests_do_not_slip_past_a_large_one(limits: MemoryLimits) -> None:
    half = model(limits, "tpm", 100)
    running = await take(limits, half, 60)
    gate = model(limits, "concurrency", 1, name="gate")
    both = limits.half([*half.counters, *gate.counters])
    blocker = await take(limits, gate)
    big = wait(limits, both, key="a", tokens=80)
    await until(lambda: limits.waiting("m") == 1)
    small = wait(limits, both, key="b", tokens=30)
    await until(lambda: limits.waiting("m") == 2)
    blocker.settle(None, sent=True)
    await asyncio.sleep(0.05)
    assert not small.done(), "there is room for it, but the large one was here first"
    running.settle(None, sent=False)
    lease_of(await big).settle(0, sent=True)
    lease_of(await small)


async def test_other_models_are_not_held_up(limits: MemoryLimits) -> None:
    full, free = model(limits, "concurrency", 1), model(limits, "concurrency", 1, name="n")
    await take(limits, full)
    task = wait(limits, full)
    await until(lambda: limits.waiting("m") == 1)
    assert (await limits.wait([free], 0, line="n", key="k", max_wait=1)).chosen == 0
    task.cancel()


async def test_a_client_that_leaves_leaves_the_line(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    running = await take(limits, half)
    gone, stays = wait(limits, half), wait(limits, half)
    await until(lambda: limits.waiting("m") == 2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert limits.waiting("m") == 1
    running.settle(None, sent=True)
    lease_of(await stays)


async def test_a_client_that_leaves_as_it_is_let_in_takes_nothing_with_it(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    for turns in range(8):
        running = await take(limits, half)
        task = wait(limits, half)
        await until(lambda: limits.waiting("m") == 1)
        running.settle(None, sent=True)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            lease_of(await task).settle(None, sent=True)
        except asyncio.CancelledError:
            pass  # the other way in which this race may end
        await until(lambda: limits.levels(half)[0].remaining == 1)


async def test_who_is_let_in_as_the_time_is_up_keeps_what_it_got(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    for _ in range(20):
        running = await take(limits, half)
        asyncio.get_running_loop().call_later(0.01, partial(running.settle, None, sent=True))
        waited = await limits.wait([half], 0, line="m", key="k", max_wait=0.01)
        if waited.chosen == 0:
            lease_of(waited).settle(None, sent=True)
        await until(lambda: limits.levels(half)[0].remaining == 1)


async def test_a_full_line_takes_no_more(limits: MemoryLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST", 2)
    half = model(limits, "concurrency", 1)
    await take(limits, half)
    tasks = [wait(limits, half) for _ in range(2)]
    await until(lambda: limits.waiting("m") == 2)
    await asyncio.sleep(0)
    waited = await limits.wait([half], 0, line="m", key="other", max_wait=5)
    assert waited.chosen == -1
    assert waited.admission.refusal is not None
    for task in tasks:
        task.cancel()


async def test_a_line_whose_turn_comes_too_late_is_not_joined(limits: MemoryLimits) -> None:
    half = model(limits, "rpm", 60, 1)
    await take(limits, half)
    tasks = [wait(limits, half) for _ in range(3)]
    await until(lambda: limits.waiting("m") == 3)
    started = time.monotonic()
    waited = await limits.wait([half], 0, line="m", key="k", max_wait=2)
    assert time.monotonic() - started < 0.1
    assert waited.admission.refusal is not None
    assert waited.admission.refusal.retry_after == 4
    for task in tasks:
        task.cancel()


async def test_what_waits_for_a_rate_comes_evenly(limits: MemoryLimits) -> None:
    half = model(limits, "rpm", 6000, 1)
    at: list[float] = []

    async def client(key: str) -> None:
        lease_of(await limits.wait([half], 0, line="m", key=key, max_wait=5)).settle(None, sent=True)
        at.append(time.monotonic())

    started = time.monotonic()
    await asyncio.gather(*(client(str(number % 7)) for number in range(60)))
    assert 0.5 <= time.monotonic() - started <= 0.9
    # The bucket never held more than one: nobody was let in by a burst.
    assert all(later - earlier >= 0.15 for earlier, later in zip(at, at[30:], strict=False))


async def test_a_limiter_paces_what_waits_where_the_bucket_would_burst(limits: MemoryLimits) -> None:
    """Room for forty is there at once; those who waited for something else still come at the model's rate."""
    gate = Counter("account", "p/a", "concurrency", 100, 100)
    half = limits.half([Counter("model", "m", "rpm", 6000, 200), gate])
    leases = [await take(limits, limits.half([gate])) for _ in range(100)]
    tasks = [wait(limits, half, key=str(number)) for number in range(60)]
    await until(lambda: limits.waiting("m") == 60)
    started = time.monotonic()
    for lease in leases:
        lease.settle(None, sent=True)
    await asyncio.gather(*tasks)
    assert time.monotonic() - started >= 0.3


async def test_the_limiter_follows_a_change_of_the_rate(limits: MemoryLimits) -> None:
    slow, fast = model(limits, "rpm", 60, 1), model(limits, "rpm", 60_000, 1)
    first = limits.lines._pacer(slow)
    assert first is not None
    assert limits.lines._pacer(slow) is first
    second = limits.lines._pacer(fast)
    assert second is not None
    assert (first.gap, second.gap) == (1.0, 0.001)
    assert limits.lines._pacer(model(limits, "tpm", 5)) is None
    both = limits.half([Counter("model", "x", "rph", 60, 60), Counter("model", "x", "rpm", 60, 60)])
    slowest = limits.lines._pacer(both)
    assert slowest is not None
    assert slowest.gap == 60.0


async def test_a_gauge_of_eight_serves_a_hundred_clients_without_a_gap(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 8)
    running = peak = served = 0
    until_then = time.monotonic() + 1.0

    async def client(key: str) -> None:
        nonlocal running, peak, served
        while time.monotonic() < until_then:
            waited = await limits.wait([half], 0, line="m", key=key, max_wait=5)
            lease = lease_of(waited)
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(0.05)
            running -= 1
            served += 1
            lease.settle(None, sent=True)

    tasks = [asyncio.create_task(client(str(number))) for number in range(100)]
    await asyncio.sleep(1.0)
    assert peak == 8
    assert 150 <= served <= 160
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_lines_close_with_people_in_them(limits: MemoryLimits) -> None:
    half = model(limits, "concurrency", 1)
    await take(limits, half)
    task = wait(limits, half, max_wait=0.1)
    await until(lambda: limits.waiting("m") == 1)
    await limits.close()
    assert (await task).chosen == -1


async def test_room_is_found_on_both_back_ends(rig: Rig) -> None:
    half = rig.half("concurrency", 1, scope="account", owner="p/a")
    running = (await rig.admit(None, half)).candidate
    assert running is not None
    task = asyncio.create_task(rig.limits.wait([half], 0, line="m", key="k", max_wait=5))
    await until(lambda: rig.limits.waiting("m") == 1)
    running.settle(None, sent=True)
    waited = await task
    assert waited.chosen == 0
    lease_of(waited).settle(None, sent=True)


async def test_room_that_time_brings_is_found_on_both_back_ends(rig: Rig) -> None:
    half = rig.half("rpm", 6000, 1, scope="model", owner="m")
    await rig.admit(None, half)
    task = asyncio.create_task(rig.limits.wait([half], 0, line="m", key="k", max_wait=5))
    await until(lambda: rig.limits.waiting("m") == 1)
    rig.clock.now += 1
    assert (await task).chosen == 0


async def test_a_budget_is_spent_and_refills() -> None:
    budget = Budget(3, 0.1)
    assert [budget.try_take() for _ in range(5)] == [True, True, True, False, False]
    await until(budget.try_take)
    budget.earn()


async def test_a_budget_with_a_share_never_exceeds_it() -> None:
    budget = Budget(100, 0.001, share=0.05)
    taken = 0
    for number in range(1, 1001):
        budget.earn()
        taken += budget.try_take()
        assert taken <= number * 0.05
    assert taken == 50


async def test_what_was_earned_in_a_quiet_hour_is_not_all_spent_at_once() -> None:
    budget = Budget(5, 3600, share=0.5)
    for _ in range(1000):
        budget.earn()
    assert sum(budget.try_take() for _ in range(100)) == 5
