"""Databases of others: their rows read in one read-only transaction, and nothing of them touched."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import asyncpg

from apipod_proxy.errors import StoreError
from apipod_proxy.store.dsn import connect_arguments, shown
from apipod_proxy.store.postgres import translated

Tables = Mapping[str, Sequence[Mapping[str, object]]]


async def read_tables(path: Path | None, dsn: str, wanted: Iterable[str]) -> Tables:
    """All rows of those of the ``wanted`` tables that are there, of a SQLite file or a PostgreSQL server. Raises StoreError."""
    if path is not None:
        return await asyncio.to_thread(_read_sqlite, path, list(wanted))
    return await _read_postgres(dsn, list(wanted))


def _read_sqlite(path: Path, wanted: Sequence[str]) -> Tables:
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
    except sqlite3.Error as exc:
        raise StoreError(f"{path}: {exc}") from exc
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {
            name: [dict(row) for row in connection.execute(_select(name))] for name in wanted if name in there
        }
    except sqlite3.Error as exc:
        raise StoreError(f"{path}: {exc}") from exc
    finally:
        connection.close()


async def _read_postgres(dsn: str, wanted: Sequence[str]) -> Tables:
    place = shown(dsn)
    with translated(place):
        arguments = connect_arguments(dsn)
        connection = await asyncpg.connect(arguments.dsn, timeout=arguments.timeout)
    try:
        with translated(place):
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                # Those that the search path of the URL reaches.
                rows = await connection.fetch(
                    "SELECT relname FROM pg_class WHERE relname = ANY($1::text[])"
                    " AND relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_table_is_visible(oid)",
                    wanted,
                )
                there = {row[0] for row in rows}
                return {
                    name: [dict(row) for row in await connection.fetch(_select(name))]
                    for name in wanted
                    if name in there
                }
    finally:
        await connection.close(timeout=2)


def _select(name: str) -> str:
    """``name`` is one of the caller's own words, never of a file's."""
    return f'SELECT * FROM "{name}"'  # noqa: S608
