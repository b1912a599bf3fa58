"""What both back ends do alike."""

from __future__ import annotations

import asyncio
import random

import pytest

from apipod_proxy.limit.model import Counter, Row

from .conftest import Rig

KINDS = ("rpm", "rph", "rpd", "requests_per_month", "concurrency")
TOKENS = ("tpm", "tpd", "tokens_per_month")
SCOPES = ("proxy", "subscription", "user", "key", "provider", "account", "model")


@pytest.mark.parametrize("kind", KINDS)
async def test_every_request_limit_admits_its_number_and_no_more(rig: Rig, kind: str) -> None:
    half = rig.half(kind, 5)
    for _ in range(5):
        assert await rig.took(half) is not None
    refused = await rig.admit(half)
    assert (refused.caller, refused.candidate, refused.refused) == (None, None, "caller")
    assert refused.refusal is not None
    assert refused.refusal.counter == Counter("key", "k", kind, 5, 5)


@pytest.mark.parametrize("kind", TOKENS)
async def test_every_token_limit_admits_its_number_and_no_more(rig: Rig, kind: str) -> None:
    half = rig.half(kind, 1000)
    assert await rig.took(half, 600) is not None
    assert await rig.took(half, 401) is None
    assert await rig.took(half, 400) is not None
    assert await rig.left(half) == [0]


@pytest.mark.parametrize("scope", SCOPES)
async def test_every_scope_and_owner_has_a_count_of_its_own(rig: Rig, scope: str) -> None:
    mine, theirs = rig.half("rpm", 1, scope=scope, owner="a"), rig.half("rpm", 1, scope=scope, owner="b")
    assert await rig.took(mine) is not None
    assert await rig.took(mine) is None
    assert await rig.took(theirs) is not None


async def test_no_counters_refuse_nobody(rig: Rig) -> None:
    nothing = rig.limits.half([])
    admission = await rig.admit(nothing, nothing, 10**9)
    assert admission.refused == ""
    assert admission.caller is not None
    assert admission.candidate is not None
    admission.caller.settle(5, sent=True)
    admission.candidate.settle(None, sent=False)
    assert rig.limits.levels(nothing) == []
    assert (await rig.admit(None, None)) == (None, None, None, "")


async def test_the_same_counter_twice_in_a_half_is_taken_once_by_its_smaller_number(rig: Rig) -> None:
    half = rig.limits.half([Counter("user", "a", "rpm", 9, 9), Counter("user", "a", "rpm", 2, 2)])
    assert await rig.took(half) is not None
    assert await rig.left(half) == [1]


async def test_a_refused_half_takes_nothing_at_all(rig: Rig) -> None:
    half = rig.limits.half(
        [
            Counter("key", "k", "concurrency", 9, 9),
            Counter("key", "k", "rpm", 9, 9),
            Counter("key", "k", "rpd", 9, 9),
            Counter("key", "k", "tpd", 900, 900),
            Counter("key", "k", "tpm", 100, 100),
            Counter("user", "a", "tpm", 900, 900),
        ]
    )
    lease = await rig.took(half, 100)
    assert lease is not None
    assert await rig.took(half, 50) is None
    lease.settle(None, sent=False)
    await rig.settled()
    assert await rig.took(half, 0) is not None
    assert await rig.left(half) == [8, 8, 8, 900, 100, 900]


async def test_a_concurrency_reject_does_not_eat_the_rate(rig: Rig) -> None:
    half = rig.limits.half([Counter("key", "k", "rpm", 9, 9), Counter("key", "k", "concurrency", 1, 1)])
    await rig.took(half)
    for _ in range(5):
        assert await rig.took(half) is None
    assert await rig.left(half) == [8, 0]


async def test_a_refused_candidate_leaves_the_callers_half_taken(rig: Rig) -> None:
    caller, candidate = rig.half("rpm", 3), rig.half("rpm", 1, scope="model", owner="m")
    assert (await rig.admit(caller, candidate)).refused == ""
    admission = await rig.admit(caller, candidate)
    assert admission.refused == "candidate"
    assert admission.candidate is None
    assert admission.caller is not None
    assert admission.refusal is not None
    assert admission.refusal.counter.scope == "model"
    assert await rig.left(caller) == [1]
    admission.caller.settle(None, sent=False)
    await rig.settled()
    assert (await rig.admit(caller, None)).refused == ""
    assert await rig.left(caller) == [1]


async def test_a_refused_caller_leaves_the_candidate_alone(rig: Rig) -> None:
    caller, candidate = rig.half("rpm", 1), rig.half("rpm", 5, scope="model", owner="m")
    await rig.admit(caller, candidate)
    assert (await rig.admit(caller, candidate)).refused == "caller"
    assert await rig.left(candidate) == [4]


async def test_further_attempts_take_only_the_candidates_half(rig: Rig) -> None:
    caller, candidate = rig.half("rpm", 1), rig.half("rpm", 5, scope="model", owner="m")
    await rig.admit(caller, None)
    admission = await rig.admit(None, candidate)
    assert admission.caller is None
    assert admission.candidate is not None


async def test_what_was_not_sent_goes_back_whole(rig: Rig) -> None:
    half = rig.limits.half(
        [
            Counter("key", "k", kind, 100, 100)
            for kind in ("rpm", "rpd", "tpm", "tokens_per_month", "concurrency")
        ]
    )
    lease = await rig.took(half, 70)
    assert lease is not None
    assert await rig.left(half) == [99, 99, 30, 30, 99]
    lease.settle(55, sent=False)
    await rig.settled()
    await rig.took(half, 0)
    assert await rig.left(half) == [99, 99, 100, 100, 99]


async def test_what_was_sent_stays_spent_and_tokens_settle_to_the_report(rig: Rig) -> None:
    half = rig.limits.half(
        [Counter("key", "k", kind, 100, 100) for kind in ("rpm", "rpd", "tpm", "tpd", "concurrency")]
    )
    lease = await rig.took(half, 70)
    assert lease is not None
    lease.settle(20, sent=True)
    await rig.settled()
    await rig.took(half, 0)
    assert await rig.left(half) == [98, 98, 80, 80, 99]


async def test_without_a_report_the_estimate_stays(rig: Rig) -> None:
    half = rig.half("tpm", 100)
    lease = await rig.took(half, 70)
    assert lease is not None
    lease.settle(None, sent=True)
    await rig.settled()
    await rig.took(half, 0)
    assert await rig.left(half) == [30]


async def test_a_lease_settles_once(rig: Rig) -> None:
    half = rig.limits.half([Counter("key", "k", "tpm", 100, 100), Counter("key", "k", "concurrency", 3, 3)])
    lease, other = await rig.took(half, 50), await rig.took(half, 50)
    assert lease is not None
    assert other is not None
    assert "held" in repr(lease)
    lease.settle(10, sent=True)
    lease.settle(10, sent=True)
    lease.settle(None, sent=False)
    other.settle(None, sent=False)
    assert "settled" in repr(lease)
    assert "returned" in repr(other)
    await rig.settled()
    await rig.took(half, 0)
    assert await rig.left(half) == [90, 2]


async def test_a_reservation_is_never_more_than_the_capacity(rig: Rig) -> None:
    half = rig.limits.half([Counter("key", "k", "tpm", 1000, 100), Counter("user", "a", "tpm", 5000, 5000)])
    lease = await rig.took(half, 4000)
    assert lease is not None
    assert await rig.left(half) == [0, 1000]
    lease.settle(40, sent=True)
    await rig.settled()
    await rig.took(half, 0)
    assert await rig.left(half) == [60, 4960]


async def test_use_beyond_the_reservation_is_repaid_before_anything_is_admitted(rig: Rig) -> None:
    half = rig.half("tpm", 600)
    lease = await rig.took(half, 600)
    assert lease is not None
    lease.settle(1200, sent=True)
    await rig.settled()
    refused = await rig.admit(half, None, 10)
    assert refused.refusal is not None
    assert refused.refusal.retry_after == 61
    rig.clock.now += 60.9
    assert await rig.took(half, 10) is None
    rig.clock.now += 0.1
    assert await rig.took(half, 10) is not None


@pytest.mark.parametrize(
    ("kind", "limit", "expected"),
    [("rpm", 60, 1), ("rpm", 7, 9), ("rph", 60, 60), ("rpd", 5, 6400), ("requests_per_month", 5, 1_388_800)],
)
async def test_retry_after_is_rounded_up_and_true(rig: Rig, kind: str, limit: int, expected: int) -> None:
    half = rig.half(kind, limit)
    for _ in range(limit):
        assert await rig.took(half) is not None
    refused = await rig.admit(half)
    assert refused.refusal is not None
    assert refused.refusal.retry_after == expected
    rig.clock.now += expected - 1
    assert await rig.took(half) is None
    rig.clock.now += 1
    assert await rig.took(half) is not None


async def test_retry_after_of_a_gauge_is_a_second(rig: Rig) -> None:
    half = rig.half("concurrency", 1)
    await rig.took(half)
    refused = await rig.admit(half)
    assert refused.refusal is not None
    assert refused.refusal.retry_after == 1


async def test_the_longest_wait_of_a_half_is_the_one_told(rig: Rig) -> None:
    half = rig.limits.half(
        [
            Counter("key", "k", "concurrency", 1, 1),
            Counter("key", "k", "rpm", 60, 1),
            Counter("key", "k", "tpm", 60, 60),
            Counter("key", "k", "rph", 60, 1),
        ]
    )
    await rig.took(half, 60)
    refused = await rig.admit(half, None, 30)
    assert refused.refusal is not None
    assert refused.refusal.counter.kind == "rph"
    assert refused.refusal.retry_after == 60


async def test_a_day_begins_at_midnight_utc(rig: Rig) -> None:
    half = rig.half("rpd", 2)
    rig.clock.now = 1_700_006_399.0
    assert await rig.took(half) is not None
    assert await rig.took(half) is not None
    assert await rig.took(half) is None
    rig.clock.now += 1
    assert await rig.took(half) is not None


async def test_a_lease_over_midnight_does_not_touch_the_new_day(rig: Rig) -> None:
    half = rig.half("tpd", 100)
    rig.clock.now = 1_700_006_399.0
    lease = await rig.took(half, 100)
    assert lease is not None
    rig.clock.now += 2
    assert await rig.took(half, 50) is not None
    lease.settle(None, sent=False)
    await rig.settled()
    assert await rig.took(half, 0) is not None
    assert await rig.left(half) == [50]


async def test_a_counter_keeps_its_level_over_a_change_of_its_number(rig: Rig) -> None:
    for _ in range(8):
        await rig.took(rig.half("rpm", 10))
    wider = rig.half("rpm", 20)
    assert await rig.took(wider) is not None
    assert await rig.left(wider) == [1]
    narrow = rig.half("rpm", 1)
    assert await rig.took(narrow) is not None
    assert await rig.took(narrow) is None


async def test_a_lease_of_an_older_catalog_settles_to_what_it_took(rig: Rig) -> None:
    lease = await rig.took(rig.half("tpm", 1000), 900)
    assert lease is not None
    wider = rig.half("tpm", 5000)
    lease.settle(None, sent=False)
    await rig.settled()
    await rig.took(wider, 0)
    assert await rig.left(wider) == [1000]


async def test_levels_say_what_is_left_and_when_all_is(rig: Rig) -> None:
    half = rig.limits.half(
        [
            Counter("key", "k", "rpm", 60, 60),
            Counter("key", "k", "rpd", 10, 10),
            Counter("key", "k", "concurrency", 4, 4),
        ]
    )
    await rig.took(half)
    assert [level[1:] for level in rig.limits.levels(half)] == [(59, 1), (9, 6400), (3, 1)]


async def test_the_rate_holds_over_minutes_of_hammering(rig: Rig) -> None:
    half = rig.half("rpm", 600, 10)
    admitted = 0
    for _ in range(180 * 4):
        for _ in range(4):
            admitted += await rig.took(half) is not None
        rig.clock.now += 0.25
    assert abs(admitted - 10 - 1800) <= 3


async def test_token_use_of_unknown_length_is_exact_in_the_long_run(rig: Rig) -> None:
    half, used = rig.half("tpm", 6000, 600), 0
    for number in range(400):
        lease = await rig.took(half, 50)
        if lease is not None:
            actual = (number * 37) % 200
            used += actual
            lease.settle(actual, sent=True)
            await rig.settled()
        rig.clock.now += 0.5
    assert abs(used - 200 * 100 - 600) <= 250


async def test_a_gauge_of_eight_is_never_exceeded_by_a_hundred(rig: Rig) -> None:
    caller, candidate = rig.half("concurrency", 64), rig.half("concurrency", 8, scope="account", owner="p/a")
    running = peak = served = 0

    async def client() -> None:
        nonlocal running, peak, served
        while True:
            admission = await rig.limits.admit(caller, candidate, 0)
            if admission.candidate is not None:
                running += 1
                peak = max(peak, running)
                await asyncio.sleep(0.001)
                running -= 1
                served += 1
                admission.candidate.settle(None, sent=True)
            if admission.caller is not None:
                admission.caller.settle(None, sent=admission.candidate is not None)
            if admission.candidate is not None:
                return
            await asyncio.sleep(0.001)

    await asyncio.gather(*(client() for _ in range(100)))
    assert (peak, served) == (8, 100)
    await rig.settled()
    await rig.admit(caller, candidate)
    assert await rig.left(candidate) == [7]


async def test_seeded_windows_count_what_was_used_before(rig: Rig) -> None:
    now = int(rig.clock.now * 1000)
    rig.limits.seed(
        [
            Row("key", "k", "rpd", 497, now),
            Row("key", "old", "rpd", 500, now - 86_400_000),
            Row("key", "k", "tokens_per_month", 900, now - 86_400_000),
        ]
    )
    half = rig.half("rpd", 500)
    assert [await rig.took(half) is not None for _ in range(4)] == [True, True, True, False]
    assert await rig.took(rig.half("rpd", 1, owner="old")) is not None
    assert await rig.took(rig.half("tokens_per_month", 1000), 101) is None


async def test_a_seed_never_lowers_a_count(rig: Rig) -> None:
    half = rig.half("rpd", 10)
    for _ in range(4):
        await rig.took(half)
    rig.limits.seed([Row("key", "k", "rpd", 3, int(rig.clock.now * 1000))])
    await rig.took(half)
    assert await rig.left(half) == [5]


async def test_random_lives_of_leases_leave_exactly_what_was_settled(rig: Rig) -> None:
    """Refill is stopped: starts, failures, cancellations and timeouts, overlapping, end at capacity less what was settled."""
    draw, most = random.Random(3), 10**8
    kinds = ("rpm", "rph", "rpd", "requests_per_month", "tpm", "tpd", "tokens_per_month", "concurrency")
    caller = rig.limits.half([Counter("key", "k", kind, most, most) for kind in kinds])
    candidate = rig.limits.half([Counter("model", "m", kind, most, most) for kind in kinds])
    spent = {"key": [0, 0], "model": [0, 0]}

    async def life() -> None:
        asked = draw.randrange(4000)
        task = asyncio.create_task(rig.admit(caller, candidate, asked))
        if draw.random() < 0.1:
            await asyncio.sleep(draw.choice((0, 0, 0.001)))
            task.cancel()
        try:
            admission = await task
        except asyncio.CancelledError:
            return
        for scope, lease in (("key", admission.caller), ("model", admission.candidate)):
            assert lease is not None
            if draw.random() < 0.5:
                await asyncio.sleep(0.001)
            sent, report = draw.random() < 0.7, draw.choice((None, draw.randrange(6000)))
            lease.settle(report, sent=sent)
            lease.settle(5, sent=not sent)
            if sent:
                spent[scope][0] += 1
                spent[scope][1] += asked if report is None else report

    for _ in range(20):
        await asyncio.gather(*(life() for _ in range(50)))
    await asyncio.sleep(0.02)
    await rig.settled()
    await rig.admit(caller, candidate)
    for half, scope in ((caller, "key"), (candidate, "model")):
        requests, tokens = spent[scope]
        for level in rig.limits.levels(half):
            kind = level.counter.kind
            used = 1 if kind == "concurrency" else tokens if "t" in kind[:2] else requests + 1
            assert level.remaining == most - used, level
