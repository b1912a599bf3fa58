"""What is particular to the PostgreSQL driver."""

from __future__ import annotations

import asyncio
import socket

import asyncpg
import pytest

from apipod_proxy.errors import StoreError, StoreUnavailable
from apipod_proxy.store import Store, open_store


@pytest.fixture
async def opened(postgres_url: str, postgres_schema: str) -> Store:
    store = await open_store(None, f"{postgres_url}?application_name={postgres_schema}", postgres_schema)
    await store.migrate()
    return store


async def test_tables_stand_in_a_schema_of_their_own(
    opened: Store, postgres_url: str, postgres_schema: str
) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        schemas = await connection.fetch(
            "SELECT schemaname FROM pg_tables WHERE tablename = 'api_keys' AND schemaname = $1",
            postgres_schema,
        )
        assert [row[0] for row in schemas] == [postgres_schema]
        assert repr(opened).endswith(f"(schema {postgres_schema})>")
    finally:
        await connection.close()
        await opened.close()


async def test_a_committed_announcement_reaches_every_listener(
    opened: Store, postgres_url: str, postgres_schema: str
) -> None:
    other = await open_store(None, postgres_url, postgres_schema)
    heard, lost = asyncio.Event(), asyncio.Event()
    listener = await other.listen(heard.set, lost.set)
    assert listener is not None
    try:
        async with opened.writing() as session:
            await session.announce()
            await asyncio.sleep(0.05)
            assert not heard.is_set()
        await asyncio.wait_for(heard.wait(), 1)
        await listener.check()
        assert not lost.is_set()
    finally:
        await listener.close()
        with pytest.raises(StoreUnavailable):
            await listener.check()
        await asyncio.wait_for(lost.wait(), 1)
        await other.close()
        await opened.close()


async def test_a_lost_server_is_unavailable_and_the_pool_recovers(
    opened: Store, postgres_url: str, postgres_schema: str
) -> None:
    lost = asyncio.Event()
    listener = await opened.listen(lambda: None, lost.set)
    assert listener is not None
    killer = await asyncpg.connect(postgres_url)
    try:
        with pytest.raises(StoreUnavailable):
            async with opened.reading() as session:
                await session.fetch("read_state")
                await killer.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                    postgres_schema,
                )
                await session.fetch("read_state")
        await asyncio.wait_for(lost.wait(), 2)
        async with opened.reading() as session:
            assert await session.fetch_one("read_state") is not None
    finally:
        await killer.close()
        await listener.close()
        await opened.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(StoreUnavailable) as caught:
            await open_store(
                None, f"postgresql://me:secret@127.0.0.1:{bound.getsockname()[1]}/x?connect_timeout=2"
            )
    assert "secret" not in caught.value.problem


async def test_a_refused_name_or_parameter_is_an_error_of_the_operator(postgres_url: str) -> None:
    for parameter in ("no_such_parameter=1", "connect_timeout=soon"):
        with pytest.raises(StoreError) as caught:
            await open_store(None, f"{postgres_url}?{parameter}")
        assert not isinstance(caught.value, StoreUnavailable)
        assert parameter.split("=")[0] in caught.value.problem


async def test_libpq_parameters_are_taken(postgres_url: str, postgres_schema: str) -> None:
    url = f"{postgres_url}?sslmode=prefer&connect_timeout=3&keepalives=1&application_name=mine&statement_cache_size=0"
    store = await open_store(None, url, postgres_schema)
    try:
        assert (await store.migrate())[0] == "0001_initial"
    finally:
        await store.close()
