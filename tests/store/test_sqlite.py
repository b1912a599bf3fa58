"""What is particular to the SQLite driver."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from apipod_proxy.errors import StoreError, StoreUnavailable
from apipod_proxy.store import open_store


async def test_the_file_and_its_folder_are_made_and_written_ahead(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "proxy.db"
    store = await open_store(path)
    try:
        await store.migrate()
        assert await store.listen(lambda: None, lambda: None) is None
        assert repr(store) == f"<SqliteStore {path}>"
        assert store.poll_seconds <= 0.5
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
