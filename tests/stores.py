"""Stores for tests: both drivers. ``store`` is migrated and holds nothing, ``empty_store`` has no tables yet."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from apipod_proxy.store import Store, open_store

Opener = Callable[[], Awaitable[Store]]


class Database(NamedTuple):
    """As ``open_store`` takes it."""

    path: Path | None
    dsn: str
    schema: str


# Children first.
_EMPTIED = (
    *(
        "api_keys",
        "users",
        "quota_items",
        "routes",
        "subscriptions",
        "llm_models",
        "provider_accounts",
        "providers",
    ),
    *("usage_logs", "usage_totals", "limit_levels", "stored_responses", "apipod_locks", "apipod_state"),
)
EMPTY = "; ".join(
    (
        *(f"DELETE FROM {table}" for table in _EMPTIED),
        "DELETE FROM apipod_migrations WHERE number > 1000",
        "UPDATE usage_marks SET value = 0",
        "INSERT INTO apipod_state (id, version, catalog_version, limits, applied) VALUES (1, 1, 1, '', '')",
    )
)


@pytest.fixture(params=["sqlite", "postgresql"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file: copying it is faster than migrating anew for every test."""
    path = tmp_path_factory.mktemp("template") / "proxy.db"
    _run(_migrate(Database(path, "", "")))
    return path


@pytest.fixture(scope="session")
def migrated_schema(postgres_url: str) -> Iterator[str]:
    """A schema that all tests use, one after the other."""
    name = f"test_{secrets.token_hex(6)}"
    _run(_migrate(Database(None, postgres_url, name)))
    yield name
    _run(_execute(postgres_url, f'DROP SCHEMA "{name}" CASCADE'))


@pytest.fixture
async def database(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A migrated database that holds nothing."""
    if driver == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        return Database(Path(shutil.copy(template, tmp_path / "proxy.db")), "", "")
    url, schema = request.getfixturevalue("postgres_url"), request.getfixturevalue("migrated_schema")
    await _execute(url, f'SET search_path TO "{schema}"; {EMPTY}')
    return Database(None, url, schema)


@pytest.fixture
def empty_database(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if driver == "sqlite":
        return Database(tmp_path / "empty.db", "", "")
    return Database(None, request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_schema"))


@pytest.fixture
async def open_another(database: Database) -> AsyncIterator[Opener]:
    """Opens the same database once more, as another process would; all are closed after the test."""
    opened: list[Store] = []

    async def opener() -> Store:
        opened.append(await open_store(*database))
        return opened[-1]

    yield opener
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_another: Opener) -> Store:
    return await open_another()


@pytest.fixture
async def empty_store(empty_database: Database) -> AsyncIterator[Store]:
    store = await open_store(*empty_database)
    yield store
    await store.close()


def _run(work: Coroutine[Any, Any, None]) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def _migrate(database: Database) -> None:
    store = await open_store(*database)
    await store.migrate()
    await store.close()


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
