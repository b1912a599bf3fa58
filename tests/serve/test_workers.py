"""Several workers on one port."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from apipod_proxy.simulator import Simulator
from tests.serve.conftest import Gateway, Launch, chat, until


def children(pid: int) -> list[int]:
    """The worker processes of a parent."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def get(base: str, path: str) -> Any:
    """Over a connection of its own, so that any worker may take it."""
    async with aiohttp.ClientSession() as session, session.get(base + path) as answer:
        body = await answer.read()
        return orjson.loads(body) if path.startswith("/health") else body.decode()


@pytest.fixture
async def gateway(launch: Launch, redis_url: str, redis_prefix: str) -> Gateway:
    """Two workers that share their limits; the key allows one request at a time, five a minute."""
    limits = {"rpm": {"limit": 6, "burst": 6}}
    gateway = await launch(
        "--workers",
        "2",
        changes={"limits": limits},
        environ={"REDIS_URL": redis_url, "DATABASE_SCHEMA": redis_prefix.replace("-", "_")},
    )
    await gateway.line("All workers serve.")
    return gateway


async def test_two_workers_serve_as_one(gateway: Gateway, client: aiohttp.ClientSession) -> None:
    assert gateway.process.pid is not None
    workers = children(gateway.process.pid)
    assert len(workers) == 2

    async def ask() -> int:
        url = f"{gateway.base}/v1/chat/completions"
        async with (
            aiohttp.ClientSession(headers=client.headers) as own,
            own.post(url, json=chat("fast")) as answer,
        ):
            await answer.read()
            return answer.status

    # Limits are shared: of ten requests over both, six are admitted.
    statuses = await asyncio.gather(*(ask() for _ in range(10)))
    assert sorted(statuses) == [200] * 6 + [429] * 4

    # The figures of either worker are those of both.
    for _ in range(4):
        text = await get(gateway.base, "/metrics")
        assert (
            'apipod_requests_total{dialect="openai_chat",model="fast",provider="sim",status="2xx"} 6.0'
            in text
        )
        assert 'apipod_worker_up{worker="0"} 1\napipod_worker_up{worker="1"} 1\n' in text

    await until_known(gateway, {"0": "healthy", "1": "healthy"})

    # One that dies is named, and started again.
    os.kill(workers[0], signal.SIGSTOP)
    await until_known(gateway, {"missing", "healthy"})
    text = await get_from_living(gateway)
    assert "} 0\n" in text[text.index("apipod_worker_up{") :]
    os.kill(workers[0], signal.SIGKILL)
    await gateway.line("Serving.", count=3)
    await until_known(gateway, {"0": "healthy", "1": "healthy"})

    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert not children_left(workers)


async def until_known(gateway: Gateway, states: object) -> None:
    """Until ``/health`` reports the workers like this (in any order where it is a set)."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with asyncio.timeout(0.3):
                    workers = (await get(gateway.base, "/health"))["workers"]
            except (TimeoutError, aiohttp.ClientError):
                continue
            if workers == states or set(workers.values()) == states:
                return
            await asyncio.sleep(0.05)


async def get_from_living(gateway: Gateway) -> str:
    while True:
        try:
            async with asyncio.timeout(0.6):
                return str(await get(gateway.base, "/metrics"))
        except (TimeoutError, aiohttp.ClientError):
            continue


def children_left(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_the_death_of_the_parent_ends_the_workers(gateway: Gateway) -> None:
    assert gateway.process.pid is not None
    workers = children(gateway.process.pid)
    gateway.signal(signal.SIGKILL)
    await until(lambda: not children_left(workers), 10)


async def test_ctrl_c_in_a_terminal_lets_streams_finish(
    gateway: Gateway, client: aiohttp.ClientSession, simulator: Simulator
) -> None:
    assert gateway.process.pid is not None

    async def whole() -> str:
        body = chat("sim-15-50", stream=True)
        async with client.post(f"{gateway.base}/v1/chat/completions", json=body) as answer:
            return await answer.text()

    running = asyncio.create_task(whole())
    await until(lambda: simulator.stats.open_streams == 1)
    os.killpg(gateway.process.pid, signal.SIGINT)
    assert (await running).rstrip().endswith("data: [DONE]")
    assert await gateway.ended() == 0


async def test_workers_without_a_redis_are_refused_in_one_line(launch: Launch) -> None:
    gateway = await launch("--workers", "2", wait=False)
    assert await gateway.ended() == 1
    assert gateway.errors == [
        "apipod-proxy: --workers 2 needs REDIS_URL: without a Redis every worker would allow the whole of each limit"
    ]


async def test_a_start_that_fails_ends_all_workers(launch: Launch, redis_url: str) -> None:
    gateway = await launch(
        "--workers", "2", changes={"oops": 1}, environ={"REDIS_URL": redis_url}, wait=False
    )
    assert await gateway.ended() == 1
    assert len(gateway.errors) == 1
