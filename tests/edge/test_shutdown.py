from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from apipod_proxy.edge.health import Health
from apipod_proxy.edge.shutdown import Shutdown
from tests.edge.conftest import Serve, Served, read_all


class Running:
    """A served handler that answers when it is told to, and a shutdown of its server."""

    def __init__(self, served: Served, release: asyncio.Event, *, drain: float, grace: float) -> None:
        self.served = served
        self.release = release
        self.health = Health("1", time.monotonic)
        self.health.started = True
        self.shutdown = Shutdown(self.health, served.front, drain_seconds=drain, grace_seconds=grace)
        self.interruptions: list[bool] = []

    async def stop_listening(self) -> None:
        for site in self.served.runner.sites:
            await site.stop()

    def interrupt(self) -> None:
        self.interruptions.append(True)
        self.release.set()

    async def ask(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = self.served.front.busy
        reader, writer = await asyncio.open_connection("127.0.0.1", self.served.port)
        writer.write(b"POST /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        while self.served.front.busy == before:
            await asyncio.sleep(0.002)
        return reader, writer

    def drain(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.shutdown.drain(self.stop_listening, self.interrupt))


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
def running(serve: Serve) -> Start:
    async def start(drain: float = 0.0, grace: float = 5.0) -> Running:
        release = asyncio.Event()

        async def wait(request: web.Request) -> web.Response:
            await release.wait()
            return web.Response(text="whole")

        return Running(await serve({"/wait": wait}), release, drain=drain, grace=grace)

    return start


async def test_running_answers_finish_and_nobody_new_is_let_in(running: Start) -> None:
    it = await running()
    reader, writer = await it.ask()
    ending = it.drain()
    await asyncio.sleep(0.05)
    assert it.health.not_ready() == "draining"
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", it.served.port)
    it.release.set()
    assert (await read_all(reader)).endswith(b"whole")
    await ending
    assert it.interruptions == []
    writer.close()


async def test_draining_serves_as_normal_but_is_not_ready(running: Start) -> None:
    it = await running(drain=0.3)
    it.release.set()
    ending = it.drain()
    await asyncio.sleep(0.02)
    assert it.health.not_ready() == "draining"
    answer = await it.served.say(b"POST /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"whole")
    await ending


async def test_what_outlasts_its_grace_is_interrupted(running: Start) -> None:
    it = await running(grace=0.1)
    reader, writer = await it.ask()
    await it.drain()
    assert it.interruptions == [True]
    assert (await read_all(reader)).endswith(b"whole")
    writer.close()


async def test_a_further_signal_makes_haste(running: Start) -> None:
    it = await running(drain=30, grace=30)
    _, writer = await it.ask()
    it.shutdown.request()
    await it.shutdown.requested()
    ending = it.drain()
    await asyncio.sleep(0.05)
    it.shutdown.request()
    await asyncio.sleep(0.05)
    assert it.interruptions == []
    it.shutdown.request()
    async with asyncio.timeout(1):
        await ending
    assert it.interruptions == [True]
    writer.close()
