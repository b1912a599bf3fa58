"""What both drivers promise: migrations, transactions, locks, usage and levels."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from apipod_proxy.errors import StoreError
from apipod_proxy.store import GROUPINGS, USAGE_COLUMNS, Store, UsageTotal
from apipod_proxy.store.usage import Value
from apipod_proxy.usage.record import fit_number, fit_text
from tests.stores import Database, Opener

OWN = {
    "providers",
    "provider_accounts",
    "llm_models",
    "subscriptions",
    "routes",
    "quota_items",
    "users",
    "api_keys",
    "usage_logs",
}


async def tables(store: Store) -> frozenset[str]:
    async with store.reading() as session:
        return await session.tables()


async def put_limits(store: Store, text: str) -> None:
    async with store.writing() as session:
        await session.execute("put_limits", limits=text)


async def limits(store: Store) -> str:
    async with store.reading() as session:
        row = await session.fetch_one("read_state")
        assert row is not None
        return str(row[2])


# Migrations


async def test_an_empty_database_is_migrated_once(empty_store: Store) -> None:
    assert await tables(empty_store) == frozenset()
    assert await empty_store.pending() == [f"{m.number:04d}_{m.name}" for m in empty_store.library.migrations]
    assert await empty_store.migrate() == [f"{m.number:04d}_{m.name}" for m in empty_store.library.migrations]
    assert await empty_store.migrate() == await empty_store.pending() == []
    assert await tables(empty_store) >= OWN
    assert await tables(empty_store) == empty_store.library.tables


MIGRATE = """
import asyncio, sys
from pathlib import Path
from apipod_proxy.store import open_store

async def main(path, dsn, schema):
    store = await open_store(Path(path) if path else None, dsn, schema)
    print("connected", flush=True)
    sys.stdin.readline()
    print(*await store.migrate())
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_that_start_at_once_end_with_one_schema(empty_database: Database) -> None:
    path, dsn, schema = empty_database
    command = [sys.executable, "-W", "error", "-c", MIGRATE, str(path or ""), dsn, schema]
    processes = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=30) for process in processes]
    assert [errors for _, errors in ended] == ["", "", ""]
    # Each migration was run once, whoever ran it.
    assert sorted(" ".join(out for out, _ in ended).split()) == [
        "0001_initial",
        "0002_usage_totals",
        "0003_stored_responses",
        "0004_enabled_accounts",
    ]


async def test_tables_of_another_program_stop_the_migration_and_stay_as_they_are(empty_store: Store) -> None:
    if not empty_store.is_sqlite:
        async with empty_store._migrating() as transaction, transaction() as session:
            await session.run("SELECT 1")  # makes the schema
    async with empty_store.writing() as session:
        await session.run("CREATE TABLE users (id BIGINT PRIMARY KEY, api_key TEXT)")
        await session.run("CREATE TABLE something_else (id BIGINT PRIMARY KEY)")
    with pytest.raises(StoreError) as caught:
        await empty_store.migrate()
    assert "holds tables of another program (users); nothing was changed" in caught.value.problem
    assert "\n" not in caught.value.problem
    assert await tables(empty_store) == {"users", "something_else"}


async def test_a_database_of_a_newer_version_is_left_alone(store: Store) -> None:
    async with store.writing() as session:
        await session.execute("put_migration", number=9999, name="from_the_future", applied_at=0)
    with pytest.raises(StoreError) as caught:
        await store.migrate()
    assert "was migrated by a newer version of this program (migration 9999)" in caught.value.problem


async def test_a_migration_that_fails_leaves_nothing_behind(empty_store: Store) -> None:
    first = empty_store.library.migrations[0]
    broken = first._replace(
        statements=(*first.statements[:4], "CREATE TABLE broken (id BIGINT PRIMARY KEY, id BIGINT)")
    )
    empty_store.library = empty_store.library._replace(migrations=(broken,))
    with pytest.raises(StoreError):
        await empty_store.migrate()
    assert await tables(empty_store) == frozenset()


# Transactions


async def test_a_transaction_is_committed_at_its_end_and_rolled_back_by_an_exception(store: Store) -> None:
    await put_limits(store, "kept")
    with pytest.raises(ZeroDivisionError):
        async with store.writing() as session:
            await session.execute("put_limits", limits="lost")
            _ = 1 / 0
    assert await limits(store) == "kept"


async def test_a_cancelled_transaction_is_rolled_back_and_the_store_goes_on(store: Store) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        async with store.writing() as session:
            await session.execute("put_limits", limits="lost")
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await put_limits(store, "kept")
    assert await limits(store) == "kept"


async def test_a_cancellation_at_any_moment_leaves_the_store_usable(store: Store) -> None:
    for yields in range(12):
        task = asyncio.create_task(put_limits(store, "maybe"))
        for _ in range(yields):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await put_limits(store, "kept")
    assert await limits(store) == "kept"


async def test_a_reader_sees_one_view_while_a_writer_commits(store: Store) -> None:
    await put_limits(store, "before")
    async with store.reading() as session:
        first = await session.fetch_one("read_state")
        await put_limits(store, "after")
        second = await session.fetch_one("read_state")
    assert first is not None
    assert second is not None
    assert first[2] == second[2] == "before"
    assert await limits(store) == "after"


async def test_versions_are_in_the_order_of_commits(store: Store, open_another: Opener) -> None:
    other = await open_another()
    order: list[int] = []

    async def bump(which: Store) -> None:
        async with which.writing() as session:
            row = await session.fetch_one("bump_version", whole=0)
            assert row is not None
            await asyncio.sleep(0)
            order.append(row[0])

    await asyncio.gather(*(bump(which) for which in [store, other] * 10))
    assert order == list(range(2, 22))


async def test_a_statement_that_fails_is_a_store_error_with_its_cause(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        async with store.writing() as session:
            await session.run("SELECT no_such_column FROM users")
    assert "no_such_column" in caught.value.problem
    assert "no_such_column" not in str(caught.value)
    assert caught.value.__cause__ is not None


# Locks


async def test_one_owner_holds_a_lock_until_it_expires_or_is_dropped(
    store: Store, open_another: Opener
) -> None:
    other = await open_another()
    assert await store.take_lock("retention", "a", now=1000, milliseconds=500)
    assert not await other.take_lock("retention", "b", now=1400, milliseconds=500)
    assert await store.take_lock("retention", "a", now=1400, milliseconds=500)
    assert not await other.take_lock("retention", "b", now=1899, milliseconds=500)
    assert await other.take_lock("retention", "b", now=1900, milliseconds=500)
    await store.drop_lock("retention", "a")
    assert not await store.take_lock("retention", "a", now=1950, milliseconds=500)
    await other.drop_lock("retention", "b")
    assert await store.take_lock("retention", "a", now=1950, milliseconds=500)


# Usage


@dataclass(frozen=True)
class Booked:
    """A row of usage, in the order of the columns."""

    columns: tuple[Value, ...]

    @classmethod
    def make(cls, number: int, **columns: Any) -> Booked:
        base: dict[str, Any] = {
            "request_id": f"r{number}",
            "started_at": number,
            "user_id": "u1",
            "api_key_id": "k1",
            "subscription_id": "s1",
            "path": "/v1/messages",
            "dialect": "anthropic",
            "routed_model": "m1",
            "provider": "p1",
            "account": "a",
            "status": 200,
            "outcome": "ok",
            "streamed": 1,
            "estimated": 0,
            "duration_ms": 12,
            "attempts": "[]",
        }
        return cls(tuple((base | columns).get(name) for name in USAGE_COLUMNS))


async def test_usage_rows_come_out_as_they_went_in(store: Store) -> None:
    row = Booked.make(5, input_tokens=2**40, cost_nano=7, client_request_id="theirs", ttft_ms=3).columns
    await store.insert_usage([row])
    assert await store.read_usage(0, 10, 10) == [
        dict(zip(USAGE_COLUMNS, row, strict=True)),
    ]


async def test_a_batch_that_is_sent_again_is_booked_once(store: Store) -> None:
    await store.insert_usage([Booked.make(n).columns for n in range(3)])
    await store.insert_usage([Booked.make(n).columns for n in range(5)])
    assert [row["request_id"] for row in await store.read_usage(0, 100, 4)] == ["r4", "r3", "r2", "r1"]
    await store.insert_usage([])


@pytest.mark.parametrize("count", [1, 99, 100, 111, 500])
async def test_a_batch_of_any_size_is_booked_whole(store: Store, count: int) -> None:
    sent = [Booked.make(n, input_tokens=n, routed_model=f"m{n}").columns for n in range(count)]
    await store.insert_usage([*sent[:1], *sent])
    told = await store.read_usage(0, count, count + 1)
    assert [tuple(row.values()) for row in reversed(told)] == sent


async def test_texts_and_numbers_at_their_bounds_are_booked(store: Store) -> None:
    row = Booked.make(
        1, requested_model=fit_text("a\x00b\ud800é" + "x" * 5000), input_tokens=fit_number(2**70)
    ).columns
    await store.insert_usage([row])
    (told,) = await store.read_usage(0, 10, 10)
    assert tuple(told.values()) == row


async def test_a_batch_with_a_row_that_no_database_takes_is_refused_whole(store: Store) -> None:
    with pytest.raises(StoreError):
        await store.insert_usage(
            [*(Booked.make(n).columns for n in range(100)), Booked.make(100, path=None).columns]
        )
    assert await store.read_usage(0, 1000, 10) == []
    await store.insert_usage([Booked.make(1).columns])
    assert len(await store.read_usage(0, 1000, 10)) == 1


async def test_totals_are_sums_per_owner_since_a_time(store: Store) -> None:
    rows = [
        Booked.make(1, input_tokens=1000, user_id="old"),
        Booked.make(10, input_tokens=3, output_tokens=2, cost_nano=5),
        Booked.make(11, input_tokens=4, cache_write_tokens=7, account="b"),
        Booked.make(
            12, outcome="failed", user_id="u2", api_key_id="k2", routed_model=None, provider="", account=""
        ),
        Booked.make(
            13,
            outcome="refused",
            user_id="",
            api_key_id=None,
            subscription_id=None,
            provider=None,
            account=None,
        ),
    ]
    await store.insert_usage([row.columns for row in rows])
    totals = {grouping: await store.total_usage(grouping, 10) for grouping in GROUPINGS}
    assert totals["proxy"] == [UsageTotal("", 4, 2, 7, 0, 7, 2, 0, 5)]
    assert totals["user"] == [
        UsageTotal("u1", 2, 0, 7, 0, 7, 2, 0, 5),
        UsageTotal("u2", 1, 1, 0, 0, 0, 0, 0, 0),
    ]
    assert [(t.owner, t.requests) for t in totals["key"]] == [("k1", 2), ("k2", 1)]
    assert [(t.owner, t.requests) for t in totals["subscription"]] == [("s1", 3)]
    assert [(t.owner, t.requests) for t in totals["model"]] == [("m1", 3)]
    assert [(t.owner, t.requests) for t in totals["provider"]] == [("p1", 2)]
    assert [(t.owner, t.requests) for t in totals["account"]] == [("p1/a", 1), ("p1/b", 1)]
    assert [type(value) for value in totals["proxy"][0]] == [str, *[int] * 8]
    assert await store.total_usage("proxy", 0, 2) == [UsageTotal("", 1, 0, 1000, 0, 0, 0, 0, 0)]
    assert await store.total_usage("proxy", 100) == []
    asked = await store.total_usage("user", 10, asked=True)
    assert [(t.owner, t.requests) for t in asked] == [("u1", 2)]
    with pytest.raises(ValueError, match="is not one of proxy, user"):
        await store.total_usage("colour", 0)


async def test_requests_with_more_than_one_attempt_are_found(store: Store) -> None:
    one = '[{"model":"m","usage":{"input":1}}]'
    two = '[{"model":"m","usage":{"input":1}},{"model":"n"}]'
    await store.insert_usage([Booked.make(1, attempts=two).columns, Booked.make(2, attempts=one).columns])
    await store.insert_usage([Booked.make(3, attempts=two).columns])
    assert await store.retried_attempts(2) == [two]


async def test_old_usage_is_deleted_on_request(store: Store) -> None:
    await store.insert_usage([Booked.make(n).columns for n in range(5)])
    await store.sum_usage(until=2**62)
    await store.delete_usage(before=3)
    assert [row["started_at"] for row in await store.read_usage(0, 100, 10)] == [4, 3]


async def test_old_usage_is_deleted_in_slices_even_of_one_moment(store: Store) -> None:
    await store.insert_usage([Booked.make(n, started_at=n // 4).columns for n in range(12)])
    await store.sum_usage(until=2**62)
    await store.delete_usage(before=2, most=3)
    assert [row["started_at"] for row in await store.read_usage(0, 100, 10)] == [2, 2, 2, 2]


# Levels


async def test_levels_of_limits_are_kept_and_forgotten(store: Store) -> None:
    await store.save_levels([("user", "u1", "rpd", 5, 100), ("key", "k1", "tpd", 7, 200)])
    await store.save_levels([("user", "u1", "rpd", 6, 150)], forget_before=120)
    assert sorted(await store.read_levels()) == [("key", "k1", "tpd", 7, 200), ("user", "u1", "rpd", 6, 150)]
    await store.save_levels([], forget_before=160)
    assert await store.read_levels() == [("key", "k1", "tpd", 7, 200)]
