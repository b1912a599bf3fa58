"""What is particular to the SQLite driver."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from apipod_proxy.errors import StoreError, StoreUnavailable
from apipod_proxy.store import open_store
from apipod_proxy.store.sqlite import Writer
from tests.store.test_base import Booked


async def test_the_file_and_its_folder_are_made_and_written_ahead(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "proxy.db"
    store = await open_store(path)
    try:
        await store.migrate()
        assert await store.listen(lambda: None, lambda: None) is None
        assert repr(store) == f"<SqliteStore {path}>"
        assert store.poll_seconds <= 0.5
        # What clients said is in them.
        assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {
            f"proxy.db{ending}": "0o600" for ending in ("", "-wal", "-shm")
        }
    finally:
        await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "proxy.db"
    path.write_bytes(b"something else entirely, and long enough to be looked at" * 100)
    with pytest.raises(StoreError) as caught:
        await open_store(path)
    assert "file is not a database" in caught.value.problem


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable) as caught:
        await open_store(tmp_path / "file" / "proxy.db")
    assert "the folder cannot be made" in caught.value.problem
    with pytest.raises(StoreUnavailable):
        await open_store(tmp_path)


async def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "proxy.db")
    await store.close()
    with pytest.raises(StoreUnavailable):
        async with store.reading():
            pass


async def test_foreign_keys_are_kept(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "proxy.db")
    try:
        await store.migrate()
        with pytest.raises(StoreError) as caught:
            async with store.writing() as session:
                await session.run(
                    "INSERT INTO routes (id, subscription_id, requested_name, strategy, max_wait, hedge)"
                    " VALUES ('r', 'none', 'x', 'even', 0, 0)"
                )
        assert "FOREIGN KEY" in caught.value.problem
    finally:
        await store.close()


async def test_a_batch_whose_sender_went_away_leaves_the_writer_free(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "proxy.db")
    try:
        await store.migrate()
        rows = [Booked.make(number).columns for number in range(300)]
        sending = asyncio.create_task(store.insert_usage(rows))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await store.take_lock("l", "me", 1, 10)
        await store.insert_usage(rows)
        assert len(await store.read_usage(0, 1000, 1000)) == 300
    finally:
        await store.close()


async def test_a_file_that_was_removed_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    path, away = tmp_path / "proxy.db", tmp_path / "away.db"
    store = await open_store(path)
    rows = [Booked.make(1).columns]
    try:
        await store.migrate()
        path.rename(away)
        for _ in range(4):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await store.read_levels()
            with pytest.raises(StoreUnavailable) as caught:
                await store.insert_usage(rows)
            assert caught.value.problem == f"{path}: the file was removed"
        assert not path.exists()
        away.rename(path)
        await store.insert_usage(rows)
        assert len(await store.read_usage(0, 1000, 10)) == 1
    finally:
        await store.close()


async def test_a_file_that_was_put_in_the_place_of_another_is_gone_on_with(tmp_path: Path) -> None:
    path, new = tmp_path / "proxy.db", tmp_path / "new.db"
    store, other = await open_store(path), await open_store(new)
    try:
        await store.migrate()
        await other.migrate()
        await store.save_levels([("s", "o", "k", 1, 1)])
        new.replace(path)
        for _ in range(4):
            assert await store.read_levels() == []
        await store.insert_usage([Booked.make(1).columns])
        assert await store.take_lock("l", "me", 1, 10)
        path.unlink()
        path.touch()
        with pytest.raises(StoreError, match="refused"):
            await store.insert_usage([Booked.make(1).columns])
        await store.migrate()
        await store.insert_usage([Booked.make(1).columns])
        assert len(await store.read_usage(0, 1000, 10)) == 1
    finally:
        await store.close()
        await other.close()


def test_a_writer_outside_of_a_transaction_makes_one_of_many_rows(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None, factory=Writer)
    try:
        connection.execute("CREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT)")
        sql = "INSERT INTO t (a, b) VALUES (:a, :b)"
        connection.executemany(sql, [(number, "x") for number in range(123)])
        assert connection.execute("SELECT COUNT(*), SUM(a) FROM t").fetchone() == (123, 123 * 61)
        with pytest.raises(sqlite3.IntegrityError):
            connection.executemany(sql, [(number, "x") for number in range(300, 122, -1)])
            connection.executemany(sql, [(number, "x") for number in range(500, 200, -1)])
        assert not connection.in_transaction
        assert connection.execute("SELECT COUNT(*) FROM t").fetchone() == (301,)
        connection.execute("BEGIN")
        connection.executemany(sql, [{"a": 1000, "b": "y"}])
        connection.rollback()
        assert connection.execute("SELECT COUNT(*) FROM t").fetchone() == (301,)
    finally:
        connection.close()
