from __future__ import annotations

import asyncio
import math

import pytest

from apipod_proxy.errors import Unreachable
from apipod_proxy.upstream.endpoint import Endpoint
from tests.fakes.server import Do, ScriptedServer, answer
from tests.upstream.recorder import Recorder, ask, open_pool, request

GOOD = (Do.REQUEST, 0.01, answer(b"good"), Do.AGAIN)


async def test_the_last_connection_used_is_used_first() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        await asyncio.gather(*(ask(pool, endpoint) for _ in range(3)))
        before = [len(peer.received) for peer in server.peers]
        for _ in range(3):
            await ask(pool, endpoint)
        grown = [len(peer.received) > old for peer, old in zip(server.peers, before, strict=True)]
        assert sum(grown) == 1


async def test_expired_connections_are_closed_and_the_next_look_is_told() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, keepalive=30)
        call = request(pool, endpoint, first := Recorder())
        await asyncio.gather(first.finished(), ask(pool, endpoint))
        lane = call.lane
        assert repr(lane) == "<Lane 2 open, 2 idle, 0 waiting>"
        old, new = lane.idle
        old.expires, new.expires = 10, 20
        assert lane.expire(9) == 10 and len(lane.idle) == 2
        assert lane.expire(10) == 20 and list(lane.idle) == [new]
        assert lane.expire(20) == math.inf and lane.unused


async def test_a_queue_that_is_emptied_tells_everybody() -> None:
    async with ScriptedServer((Do.REQUEST, Do.STALL)) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        holder = request(pool, endpoint, Recorder())
        recorders = [Recorder() for _ in range(3)]
        for recorder in recorders:
            request(pool, endpoint, recorder)
        assert repr(holder.lane) == "<Lane 1 open, 0 idle, 3 waiting>"
        holder.lane.empty_queue()
        assert all(isinstance(recorder.error, Unreachable) for recorder in recorders)
        assert pool.waiting == 0
        holder.abort()
        await asyncio.sleep(0)


async def test_connections_are_opened_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apipod_proxy.upstream.lane.OPENING_LIMIT", 2)
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        recorders = [Recorder() for _ in range(7)]
        for recorder in recorders:
            request(pool, endpoint, recorder)
        assert (pool.open, pool.waiting) == (2, 5)
        for recorder in recorders:
            await recorder.finished()
        assert all(recorder.ended for recorder in recorders)
        # Answers take 10 ms, so those who waited went on to connections of their own.
        assert 2 < len(server.peers) <= 7


async def test_openings_that_fail_let_the_next_ones_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apipod_proxy.upstream.lane.OPENING_LIMIT", 1)
    async with ScriptedServer(GOOD) as server:
        port = server.port
    async with open_pool() as pool:
        endpoint = Endpoint("http", "127.0.0.1", port)
        recorders = await asyncio.gather(*(ask(pool, endpoint) for _ in range(4)))
        assert all(isinstance(recorder.error, Unreachable) for recorder in recorders)
        gone = [request(pool, endpoint, Recorder()) for _ in range(3)]
        for call in gone:
            call.abort()
        await asyncio.sleep(0.01)
        assert (pool.open, pool.waiting) == (0, 0)
