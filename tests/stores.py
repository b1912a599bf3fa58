"""Stores for tests: both drivers, each on an empty database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from apipod_proxy.store import Store, open_store

Opener = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path | None, str, str]:
    """(path, dsn, schema) of an empty database, as open_store takes them."""
    if request.param == "sqlite":
        return tmp_path / "proxy.db", "", ""
    return None, request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_schema")


@pytest.fixture
async def open_another(database: tuple[Path | None, str, str]) -> AsyncIterator[Opener]:
    """Opens the same database once more, as another process would; all are closed after the test."""
    opened: list[Store] = []

    async def opener() -> Store:
        opened.append(await open_store(*database))
        return opened[-1]

    yield opener
    for store in opened:
        await store.close()


@pytest.fixture
async def empty_store(open_another: Opener) -> Store:
    """A store that was not migrated."""
    return await open_another()


@pytest.fixture
async def store(empty_store: Store) -> Store:
    await empty_store.migrate()
    return empty_store
