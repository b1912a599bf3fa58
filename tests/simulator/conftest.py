"""A running simulator, and a way to post to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from apipod_proxy.simulator import Simulator, start


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with await start(seed=7) as running:
        yield running


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the simulator: paths are relative to it."""
    async with aiohttp.ClientSession(simulator.url, headers={"authorization": "Bearer k"}) as session:
        yield session
