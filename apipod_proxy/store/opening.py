"""Which driver a database needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from apipod_proxy.store.base import Store
from apipod_proxy.store.statements import load_library, sql_folder


async def open_store(path: Path | None, dsn: str = "", schema: str = "apipod_proxy") -> Store:
    """The SQLite file at ``path``, or the PostgreSQL server of ``dsn``. It is not migrated. Raises StoreUnavailable, StoreError."""
    opener = await asyncio.to_thread(_prepare, path, dsn, schema)
    return await opener()


def _prepare(path: Path | None, dsn: str, schema: str) -> Callable[[], Awaitable[Store]]:
    """What reads files: the statements, and the modules of the driver. The one not needed would cost 50 to 100 ms at start."""
    library = load_library(sql_folder(), numbered=path is None)
    if path is not None:
        # Only one of the drivers is imported.
        from apipod_proxy.store.sqlite import SqliteStore

        return lambda: SqliteStore.open(library, path)
    # Only one of the drivers is imported.
    from apipod_proxy.store.postgres import PostgresStore

    return lambda: PostgresStore.open(library, dsn, schema)
