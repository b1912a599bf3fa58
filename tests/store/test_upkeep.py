"""The hourly sums of usage."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from apipod_proxy.store import GROUPINGS, Store
from apipod_proxy.store.base import now_ms
from apipod_proxy.store.upkeep import DAY_MS, SETTLED_MS, Upkeep
from apipod_proxy.store.usage import HOUR_MS, Value
from tests.store.test_base import Booked
from tests.stores import Opener


def rows(start: int, count: int, draw: random.Random) -> list[tuple[Value, ...]]:
    return [
        Booked.make(
            start + number,
            started_at=draw.randrange(5 * HOUR_MS),
            user_id=draw.choice(["u1", "u2", "", None]),
            provider=draw.choice(["p1", "p2", None]),
            outcome=draw.choice(["ok", "failed"]),
            input_tokens=draw.choice([None, 1, 20]),
            cost_nano=draw.choice([None, 300]),
        ).columns
        for number in range(count)
    ]


async def totals(store: Store, spans: list[tuple[int, int]]) -> list[Any]:
    return [await store.total_usage(grouping, *span) for grouping in GROUPINGS for span in spans]


SPANS = [
    (0, 2**62),
    (HOUR_MS, 3 * HOUR_MS),
    (HOUR_MS // 2, 4 * HOUR_MS + 7),
    (HOUR_MS + 5, HOUR_MS + 900_000),
    (2 * HOUR_MS - 5, 2 * HOUR_MS + 5),
    (3 * HOUR_MS, 3 * HOUR_MS),
]


async def test_totals_are_the_same_before_and_after_they_were_summed_up(store: Store) -> None:
    draw = random.Random(7)
    await store.insert_usage(rows(0, 300, draw))
    before = await totals(store, SPANS)
    await store.sum_usage(now_ms() + 1000)
    assert await totals(store, SPANS) == before
    await store.sum_usage(now_ms() + 1000)
    assert await totals(store, SPANS) == before


async def test_what_is_booked_after_the_sums_counts_once(store: Store) -> None:
    draw = random.Random(8)
    first, second = rows(0, 100, draw), rows(100, 100, draw)
    await store.insert_usage(first)
    await asyncio.sleep(0.002)
    mark = now_ms()
    await store.sum_usage(mark)
    await store.insert_usage(first + second)
    mixed = await totals(store, SPANS)
    await asyncio.sleep(0.002)
    await store.sum_usage(now_ms())
    assert await totals(store, SPANS) == mixed
    assert (await store.total_usage("proxy", 0))[0].requests == 200


async def test_what_the_sums_do_not_hold_is_not_deleted(store: Store) -> None:
    await store.insert_usage(rows(0, 10, random.Random(9)))
    await store.delete_usage(2**62)
    assert len(await store.read_usage(0, 2**62, 100)) == 10
    await store.sum_usage(now_ms() + 1000)
    await store.delete_usage(2**62)
    assert await store.read_usage(0, 2**62, 100) == []
    assert (await store.total_usage("proxy", 0))[0].requests == 10


async def test_one_process_does_the_work_and_leaves_fresh_rows_alone(
    store: Store, open_another: Opener
) -> None:
    other = await open_another()
    await store.insert_usage(rows(0, 10, random.Random(10)))
    one, two = Upkeep(store, "one"), Upkeep(other, "two")
    now = now_ms()
    assert await one.run_once(now)
    assert not await two.run_once(now + 50_000)
    assert await summed(store) == 0
    assert await two.run_once(now + SETTLED_MS + 60_000)
    assert await summed(store) == 10
    assert not await one.run_once(now + SETTLED_MS + 61_000)


async def test_rows_go_when_their_days_are_over_and_their_sums_stay(store: Store) -> None:
    now = now_ms()
    days = [0, 31, 33, 400]
    await store.insert_usage([Booked.make(day, started_at=now - day * DAY_MS).columns for day in days])
    assert await Upkeep(store, "one").run_once(now + SETTLED_MS + 1000)
    assert len(await store.read_usage(0, 2**62, 10)) == 4
    assert await Upkeep(store, "two", keep_days=32).run_once(now + SETTLED_MS + 61_000)
    assert len(await store.read_usage(0, 2**62, 10)) == 2
    assert (await store.total_usage("proxy", 0))[0].requests == 4


async def summed(store: Store) -> int:
    """How many requests the sums hold."""
    async with store.writing() as session:
        await session.run("DELETE FROM usage_logs WHERE booked_at < (SELECT value FROM usage_marks)")
    logged = len(await store.read_usage(0, 2**62, 1000))
    return (await store.total_usage("proxy", 0))[0].requests - logged


async def test_it_runs_by_itself_and_survives_a_database_that_is_away(store: Store) -> None:
    upkeep = Upkeep(store, "one", every_seconds=0.01)
    upkeep.start()
    async with asyncio.timeout(2):
        while await store.take_lock("upkeep", "other", now_ms(), 1):
            await asyncio.sleep(0.003)
    await store.close()
    await asyncio.sleep(0.05)
    await upkeep.close()
    await upkeep.close()


@pytest.mark.parametrize("pages", [1, 3, 50])
async def test_rows_are_read_page_by_page(store: Store, pages: int) -> None:
    await store.insert_usage([Booked.make(number, started_at=number // 4).columns for number in range(50)])
    found: list[str] = []
    until, last_id = 2**62, ""
    while page := await store.read_usage(0, until, pages, last_id):
        found += [row["request_id"] for row in page]
        until, last_id = page[-1]["started_at"], page[-1]["request_id"]
    assert len(found) == len(set(found)) == 50
