from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import asyncpg
import pytest

from apipod_proxy.errors import StoreError, StoreUnavailable
from apipod_proxy.store.foreign import read_tables

STATEMENTS = "CREATE TABLE users (id bigint, name text); INSERT INTO users VALUES (1, 'a'), (2, NULL); CREATE TABLE other (id bigint)"


async def test_rows_of_a_file_are_read_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old ?#%.db"

    def make() -> bytes:
        connection = sqlite3.connect(path)
        connection.executescript(STATEMENTS)
        connection.close()
        return path.read_bytes()

    before = await asyncio.to_thread(make)
    assert await read_tables(path, "", ["users", "absent"]) == {
        "users": [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    }
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


async def test_a_file_that_is_none_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        await read_tables(tmp_path / "absent.db", "", ["users"])
    assert not list(tmp_path.iterdir())
    (tmp_path / "text").write_text("This is no database at all." * 50)
    with pytest.raises(StoreError):
        await read_tables(tmp_path / "text", "", ["users"])


async def test_rows_of_a_server_are_read_where_the_search_path_leads(
    postgres_url: str, postgres_schema: str
) -> None:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(
        f'CREATE SCHEMA "{postgres_schema}"; SET search_path TO "{postgres_schema}"; {STATEMENTS}'
    )
    await connection.close()
    url = f"{postgres_url}?search_path={postgres_schema}"
    assert await read_tables(None, url, ["users", "absent"]) == {
        "users": [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    }


async def test_a_server_that_is_away_is_said(unused_tcp_port: int) -> None:
    with pytest.raises(StoreUnavailable):
        await read_tables(None, f"postgresql://127.0.0.1:{unused_tcp_port}/x", ["users"])
