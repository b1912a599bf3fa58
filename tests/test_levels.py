from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apipod_proxy.catalog.model import EMPTY_SNAPSHOT, ApiKey, Limit, Snapshot, User
from apipod_proxy.levels import Levels, has_windows
from apipod_proxy.limit.memory import SLICE, MemoryLimits
from apipod_proxy.limit.model import Counter
from apipod_proxy.store import Store, open_store
from apipod_proxy.usage.record import UsageRow

NOON = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000
RPD = Counter("key", "k1", "rpd", 500, 500)
LIMITS = {"rpd": Limit(500, 500)}


def snapshot() -> Snapshot:
    key = ApiKey("k1", "alice", "laptop", b"d" * 32, limits=LIMITS)
    return Snapshot(1, {}, {}, {}, {"alice": User("u1", "alice", "pro")}, {key.digest: key})


def row(number: int) -> UsageRow:
    return UsageRow(
        *(f"req_{number}", "", NOON, "u1", "k1", "s1", "/v1/messages", "anthropic", "m", "m", "p", "a"),
        *(200, "ok", 0, 10, 0, 0, 5, 0, 0, None, 100),
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "proxy.db")
    await opened.migrate()
    yield opened
    await opened.close()


def limits() -> MemoryLimits:
    return MemoryLimits(lambda: NOON / 1000)


async def take(of: MemoryLimits, times: int) -> int:
    half = of.half([RPD])
    admitted = 0
    for _ in range(times):
        lease = (await of.admit(None, half, 0)).candidate
        if lease is not None:
            lease.settle(None, sent=True)
            admitted += 1
    return admitted


async def test_what_was_used_is_kept_over_a_restart(store: Store) -> None:
    before = limits()
    assert await take(before, 300) == 300
    await Levels(store, before, before.clock).save()
    after = limits()
    await Levels(store, after, after.clock).restore(snapshot())
    assert await take(after, 300) == 200


async def test_the_usage_log_tells_what_a_crash_did_not_save(store: Store) -> None:
    await store.insert_usage([row(number) for number in range(490)])
    after = limits()
    await Levels(store, after, after.clock).restore(snapshot())
    assert await take(after, 100) == 10


async def test_what_was_refused_has_not_been_spent(store: Store) -> None:
    refused = [
        row(number)._replace(routed_model="", provider="", account="", status=429, outcome="refused")
        for number in range(1000)
    ]
    await store.insert_usage([*refused, row(6000), row(6001)])
    for summed_until in (0, 1 << 60):
        await store.sum_usage(summed_until)
        after = limits()
        await Levels(store, after, after.clock).restore(snapshot())
        assert await take(after, 1000) == 498


async def test_only_what_changed_is_saved_and_the_end_saves_once_more(store: Store) -> None:
    kept = limits()
    levels = Levels(store, kept, kept.clock)
    levels.start()
    await take(kept, 5)
    await levels.close()
    rows = await store.read_levels()
    assert [(scope, owner, kind, value) for scope, owner, kind, value, _ in rows] == [("key", "k1", "rpd", 5)]
    await levels.save()
    assert await store.read_levels() == rows


async def test_others_run_while_many_counters_are_saved(store: Store) -> None:
    readings = 0

    def clock() -> float:
        nonlocal readings
        readings += 1
        return NOON / 1000

    kept = MemoryLimits(clock)
    halves = [kept.half([RPD._replace(owner=f"k{number}")]) for number in range(3 * SLICE)]
    for half in halves:
        kept.admit_now(half, None, 0)
    readings = 0
    saving = asyncio.create_task(Levels(store, kept, clock).save())
    await asyncio.sleep(0)
    # The clock is read for each part.
    assert readings == 1
    await saving
    assert len(await store.read_levels()) == 3 * SLICE


def test_windows_are_looked_for_in_every_scope() -> None:
    assert not has_windows(EMPTY_SNAPSHOT)
    assert has_windows(snapshot())
    assert has_windows(Snapshot(1, {}, {}, {}, {}, {}, {"tokens_per_month": Limit(1, 1)}))
    assert not has_windows(Snapshot(1, {}, {}, {}, {}, {}, {"rpm": Limit(1, 1)}))
