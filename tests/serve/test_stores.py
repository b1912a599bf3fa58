"""A running server and what happens in its database: keys that come and go, and a database that does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

from tests.serve.conftest import COMMAND, Gateway, Launch, chat, clean_environment

ENCRYPTION_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


class Relay:
    """Stands between a client and a server, and can be cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        self._writers |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            return
        finally:
            sink.close()


@pytest.fixture
async def relay(postgres_url: str) -> AsyncIterator[Relay]:
    between = Relay(postgres_url)
    await between.open()
    yield between
    await between.cut()


def on_postgres(relay: Relay, postgres_url: str, schema: str) -> dict[str, str]:
    """The environment of a server whose database is behind the relay."""
    parts = urlsplit(postgres_url)
    login = parts.netloc.rpartition("@")[0]
    url = parts._replace(netloc=f"{login}@127.0.0.1:{relay.port}").geturl()
    return {"DATABASE_URL": url, "DATABASE_SCHEMA": schema, "ENCRYPTION_KEY": ENCRYPTION_KEY}


async def command(gateway: Gateway, environ: dict[str, str], *arguments: str) -> str:
    """What another process of the same database prints."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        cwd=gateway.folder,
        env=clean_environment(gateway.folder) | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode().strip()


async def status_of(gateway: Gateway, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{gateway.base}/v1/chat/completions", json=chat("fast"), headers=headers) as answer,
    ):
        return answer.status


async def seconds_until(gateway: Gateway, key: str, status: int) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(5):
        while await status_of(gateway, key) != status:
            await asyncio.sleep(0.02)
    return time.monotonic() - begun


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_keys_of_another_process_come_and_go_within_a_second(
    launch: Launch, relay: Relay, postgres_url: str, postgres_schema: str, database: str
) -> None:
    environ = on_postgres(relay, postgres_url, postgres_schema) if database == "postgres" else {}
    gateway = await launch(environ=environ)
    key = await command(gateway, environ, "keys", "create", "fresh", "--subscription", "all")
    assert await seconds_until(gateway, key, 200) < 1
    await command(gateway, environ, "keys", "revoke", key)
    assert await seconds_until(gateway, key, 403) < 1


async def test_without_its_database_the_server_serves_on_and_keeps_its_usage(
    launch: Launch, relay: Relay, client: aiohttp.ClientSession, postgres_url: str, postgres_schema: str
) -> None:
    gateway = await launch(environ=on_postgres(relay, postgres_url, postgres_schema))
    async with client.get(f"{gateway.base}/health") as answer:
        assert "REDIS_URL is not set" in " ".join((await answer.json())["degraded"])
    await relay.cut()
    for _ in range(20):
        async with client.post(f"{gateway.base}/v1/chat/completions", json=chat("fast")) as answer:
            assert answer.status == 200
    async with asyncio.timeout(8):
        degraded = ""
        while "catalog" not in degraded:
            await asyncio.sleep(0.05)
            async with client.get(f"{gateway.base}/health") as answer:
                degraded = " ".join((await answer.json())["degraded"])
    async with client.get(f"{gateway.base}/health/ready") as answer:
        assert answer.status == 200
    await relay.open()
    connection = await asyncpg.connect(postgres_url)
    try:
        async with asyncio.timeout(15):
            while await connection.fetchval(f"SELECT count(*) FROM {postgres_schema}.usage_logs") != 20:
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
