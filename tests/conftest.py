"""What all tests share: the event loop of production, real services, and a detector of blocking calls."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from typing import Any, TypeVar, cast

import asyncpg
import pytest
import redis.asyncio
import uvloop
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

from apipod_proxy.edge.loop import settle_memory

# How fast examples are drawn says nothing on a machine that is busy with other tests.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

T = TypeVar("T")

CLEAN_UP_SECONDS = 60


class Loop(uvloop.Loop):
    """The loop of production with an end: what runs in it is cancelled when its test has used up its time.

    pytest-timeout alone would wait for ever, because it raises in a signal handler and an idle uvloop drops what is raised there.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        task = asyncio.ensure_future(cast(Awaitable[T], future), loop=self)
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self.call_later(self._seconds, expire)
        try:
            return super().run_until_complete(task)
        except asyncio.CancelledError as exc:
            if expired:
                raise TimeoutError(f"the test did not end within {self._seconds:g} seconds") from exc
            raise
        finally:
            timer.cancel()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test runs on the loop that the server runs on."""
    marker = item.get_closest_marker("timeout")
    limit = (
        marker.args[0]
        if marker and marker.args
        else config.getoption("timeout") or config.getini("timeout") or 60
    )
    # A sixth is left for the report: it reads every module that the stack goes through.
    return {"uvloop": lambda: Loop(float(limit) * 5 / 6)}


def pytest_configure(config: pytest.Config) -> None:
    # google-genai subclasses aiohttp's session, of which aiohttp warns; nothing that this project could change.
    config.addinivalue_line(
        "filterwarnings", "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
    )


def pytest_collection_finish() -> None:
    """As the server does when it is loaded: a look through all that was collected takes half a second of whichever test it hits."""
    settle_memory()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Watch over the end of a test that failed, too: its failure has ended the watch over the rest. A loop that closes may wait for ever."""
    faulthandler.dump_traceback_later(CLEAN_UP_SECONDS, exit=True, file=2)


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[BlockBuster]:
    """A call from our code that would hold up the event loop fails the test."""
    with blockbuster_ctx("apipod_proxy") as detector:
        for function in detector.functions.values():
            # The driver looks for ~/.pgpass and certificates whenever it dials, which no request waits for.
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
        yield detector


def _service(name: str, what: str) -> str:
    url = os.environ.get(name)
    if not url:
        pytest.fail(
            f"{name} is not set: this test needs a real {what}; scripts/test brings one up", pytrace=False
        )
    return url


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """URL of a real PostgreSQL, shared by all tests: each keeps to a schema of its own."""
    return _service("TEST_DATABASE_URL", "PostgreSQL")


@pytest.fixture
async def postgres_schema(postgres_url: str) -> AsyncIterator[str]:
    """The name of a schema that does not exist yet and is dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    yield name
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """URL of a real Redis, shared by all tests: each keeps to a key prefix of its own."""
    return _service("TEST_REDIS_URL", "Redis")


@pytest.fixture
async def redis_prefix(redis_url: str) -> AsyncIterator[str]:
    """A prefix for keys; what stands under it is deleted after the test, also within a {hash tag}."""
    prefix = f"test-{secrets.token_hex(6)}"
    yield prefix
    client = redis.asyncio.Redis.from_url(redis_url)
    try:
        async for key in client.scan_iter(match=f"*{prefix}*", count=1000):
            await client.delete(key)
    finally:
        await client.aclose()
