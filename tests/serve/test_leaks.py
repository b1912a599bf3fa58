"""What thousands of requests, and hundreds that were given up, leave behind: nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from apipod_proxy.simulator import Simulator
from tests.serve.conftest import Gateway, Launch, chat, until

ROUND = 600
AT_ONCE = 40


def descriptors(gateway: Gateway) -> int:
    return len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir()))


async def a_round(gateway: Gateway, client: aiohttp.ClientSession) -> None:
    """Requests of both kinds over connections that are kept."""
    left = iter(range(ROUND))

    async def ask() -> None:
        for number in left:
            body = chat("sim-3-0", stream=bool(number % 2))
            async with client.post(f"{gateway.base}/v1/chat/completions", json=body) as answer:
                assert answer.status == 200
                await answer.read()

    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))


async def give_up(gateway: Gateway, client: aiohttp.ClientSession) -> None:
    """Ask for a long stream and leave in its middle."""
    body = chat("sim-1000-5", stream=True)
    async with client.post(f"{gateway.base}/v1/chat/completions", json=body) as answer:
        await answer.content.readany()
        answer.close()


async def test_memory_and_descriptors_stay_flat(
    launch: Launch, client: aiohttp.ClientSession, simulator: Simulator
) -> None:
    gateway = await launch()

    async def use() -> None:
        await a_round(gateway, client)
        for _ in range(5):
            await asyncio.gather(*(give_up(gateway, client) for _ in range(AT_ONCE)))
        await until(lambda: simulator.stats.open == 0)

    # Pools and caches fill at first.
    await use()
    await use()
    memory, open_files = gateway.resident(), descriptors(gateway)
    await use()
    await use()
    assert gateway.resident() - memory < 6_000_000
    assert descriptors(gateway) <= open_files + AT_ONCE
    text = await (await client.get(f"{gateway.base}/metrics")).text()
    assert "apipod_open_streams 0.0" in text
    assert "apipod_open_requests 1.0" in text
