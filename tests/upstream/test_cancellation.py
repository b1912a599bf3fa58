"""Giving up at every stage: the server sees the connection close at once, the receiver hears nothing, no place is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from apipod_proxy.upstream.dns import Address, Resolver
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.pool import Call, Pool
from tests.fakes.server import Do, Flood, Peer, Script, ScriptedServer, answer, chunked
from tests.upstream.recorder import Recorder, ask, open_pool, request

AT_ONCE = 0.1
"""Seconds within which a client that left must have cancelled its upstream request."""

MUTE = (Do.REQUEST, Do.STALL)
GOOD = (Do.REQUEST, answer(b"good"), Do.AGAIN)


async def settled(pool: Pool, open_now: int = 0) -> None:
    """Wait until the pool holds so many connections; it has 100 ms."""
    async with asyncio.timeout(AT_ONCE):
        while pool.open != open_now or pool.waiting:
            await asyncio.sleep(0.001)


@pytest.fixture
async def blackhole() -> AsyncIterator[int]:
    """A port that takes no more connections and refuses none: its queue is full, so the kernel drops what knocks."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port: int = listener.getsockname()[1]
    waiting = []
    for _ in range(4):
        knocking = socket.socket()
        knocking.setblocking(False)
        knocking.connect_ex(("127.0.0.1", port))
        waiting.append(knocking)
    await asyncio.sleep(0.01)
    yield port
    for each in (listener, *waiting):
        each.close()


async def test_while_queued() -> None:
    async with ScriptedServer(MUTE) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        holder = request(pool, endpoint, Recorder())
        queued = [(request(pool, endpoint, recorder), recorder) for recorder in (Recorder(), Recorder())]
        assert repr(queued[0][0]) == "<Call queued>"
        queued[0][0].abort()
        assert (pool.open, pool.waiting) == (1, 1)
        queued[1][0].abort()
        holder.abort()
        await settled(pool)
        assert queued[0][1].silent and queued[1][1].silent


async def test_the_one_behind_in_the_queue_moves_up() -> None:
    async with ScriptedServer(MUTE, GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        holder = request(pool, endpoint, Recorder())
        gone = request(pool, endpoint, Recorder())
        request(pool, endpoint, last := Recorder())
        gone.abort()
        await server.arrived.wait()
        holder.abort()
        await last.finished()
        assert last.content == b"good"


async def test_before_the_connect_has_even_started() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        call = request(pool, Endpoint.of_url(server.url), recorder := Recorder())
        call.abort()
        await settled(pool)
        assert recorder.silent and not server.peers


async def test_while_resolving() -> None:
    asked = asyncio.Event()

    async def never(host: str, port: int) -> list[Address]:
        asked.set()
        await asyncio.sleep(60)
        return []

    pool = Pool(resolver=Resolver(lookup=never))
    call = request(pool, Endpoint("http", "slow.test", 80), recorder := Recorder())
    await asked.wait()
    call.abort()
    await settled(pool)
    assert recorder.silent
    await pool.close()


async def test_while_connecting(blackhole: int) -> None:
    async with open_pool() as pool:
        call = request(pool, Endpoint("http", "127.0.0.1", blackhole), recorder := Recorder())
        await asyncio.sleep(0.02)
        assert repr(call) == "<Call connecting>" and not call.sent
        call.abort()
        await settled(pool)
        assert recorder.silent


async def test_while_connecting_a_place_is_freed_for_those_who_wait(blackhole: int) -> None:
    async with open_pool() as pool:
        endpoint = Endpoint("http", "127.0.0.1", blackhole, max_connections=1)
        first = request(pool, endpoint, Recorder())
        second = request(pool, endpoint, Recorder())
        await asyncio.sleep(0.01)
        first.abort()
        await settled(pool, open_now=1)
        assert repr(second) == "<Call connecting>"
        second.abort()
        await settled(pool)


async def test_while_shaking_hands() -> None:
    async with ScriptedServer((Do.STALL,)) as server, open_pool() as pool:
        call = request(pool, Endpoint("https", "127.0.0.1", server.port), recorder := Recorder())
        await server.arrived.wait()
        while not server.peers[0].received:
            await asyncio.sleep(0.001)
        call.abort()
        await server.peers[0].closed(AT_ONCE)
        await settled(pool)
        assert recorder.silent


async def test_while_the_request_is_being_sent() -> None:
    async with ScriptedServer((Do.HEAD, Do.DEAF, Do.STALL)) as server, open_pool() as pool:
        call = request(pool, Endpoint.of_url(server.url), recorder := Recorder(), body=bytes(32_000_000))
        await server.arrived.wait()
        await asyncio.sleep(0.02)
        call.abort()
        await settled(pool)
        assert call.sent and recorder.silent
        server.peers[0].transport.resume_reading()
        await server.peers[0].closed(1)
        assert len(server.peers[0].received) < 32_000_000


async def test_before_the_head() -> None:
    async with ScriptedServer(MUTE) as server, open_pool() as pool:
        call, peer, recorder = await begun(server, pool)
        assert call.sent
        call.abort()
        await peer.closed(AT_ONCE)
        assert recorder.silent and pool.open == 0


async def test_inside_the_head() -> None:
    async with (
        ScriptedServer((Do.REQUEST, b"HTTP/1.1 200 OK\r\nX:", Do.STALL)) as server,
        open_pool() as pool,
    ):
        call, peer, recorder = await begun(server, pool)
        await asyncio.sleep(0.01)
        call.abort()
        await peer.closed(AT_ONCE)
        assert recorder.silent and pool.open == 0


@pytest.mark.parametrize("start", [answer(b"12345")[:-2], chunked(b"123", end=b"")])
async def test_inside_the_body(start: bytes) -> None:
    async with ScriptedServer((Do.REQUEST, start, Do.STALL)) as server, open_pool() as pool:
        call, peer, recorder = await begun(server, pool)
        await recorder.begun.wait()
        call.abort()
        await peer.closed(AT_ONCE)
        assert recorder.content == b"123" and not recorder.over.is_set() and pool.open == 0


async def test_while_paused_in_a_flood() -> None:
    script = (Do.REQUEST, chunked(end=b""), Flood(b"8000\r\n%b\r\n" % bytes(0x8000), 10_000))
    async with ScriptedServer(script) as server, open_pool() as pool:
        call, peer, recorder = await begun(server, pool)
        recorder.at_body = call.pause
        await asyncio.sleep(0.03)
        call.abort()
        await peer.closed(AT_ONCE)
        assert not recorder.over.is_set() and pool.open == 0


async def begun(server: ScriptedServer, pool: Pool) -> tuple[Call, Peer, Recorder]:
    recorder = Recorder()
    call = request(pool, Endpoint.of_url(server.url), recorder)
    await server.arrived.wait()
    peer = server.peers[0]
    while not peer.received:
        await asyncio.sleep(0.001)
    return call, peer, recorder


@pytest.mark.parametrize(
    "script",
    [
        (Do.REQUEST, answer(b"hello"), Do.AGAIN),
        (Do.REQUEST, chunked(b"hel", b"lo"), Do.AGAIN),
        (Do.REQUEST, answer(b"hello") + b"garbage", Do.STALL),
        (Do.REQUEST, b"HTTP/1.1 200 OK\r\n\r\nhello", Do.CLOSE),
    ],
)
@pytest.mark.parametrize("place", ["head", "body"])
async def test_from_inside_a_callback_nothing_more_is_heard(script: Script, place: str) -> None:
    async with ScriptedServer(script) as server, open_pool() as pool:
        recorder = Recorder()
        call = request(pool, Endpoint.of_url(server.url), recorder)
        setattr(recorder, f"at_{place}", call.abort)
        await recorder.begun.wait()
        await server.peers[0].closed(AT_ONCE)
        assert len(recorder.pieces) == (place == "body")
        assert not recorder.over.is_set() and pool.open == 0


async def test_from_inside_the_end_and_after_it_the_connection_stays() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        recorder = Recorder()
        call = request(pool, endpoint, recorder)
        recorder.at_end = call.abort
        await recorder.finished()
        call.abort()
        call.pause()
        call.resume()
        assert call.done and pool.idle == 1
        assert (await ask(pool, endpoint)).content == b"good"
        assert len(server.peers) == 1


async def test_after_a_failure_and_twice_nothing_happens() -> None:
    async with ScriptedServer((Do.REQUEST, Do.CLOSE)) as server, open_pool() as pool:
        call = request(pool, Endpoint.of_url(server.url), recorder := Recorder())
        await recorder.finished()
        call.abort()
        call.abort()
        call.pause()
        call.resume()
        assert call.done and pool.open == 0


async def test_the_repeat_of_a_request_can_be_given_up_too() -> None:
    async with (
        ScriptedServer((Do.REQUEST, answer(), Do.REQUEST, Do.CLOSE), MUTE) as server,
        open_pool() as pool,
    ):
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        call = request(pool, endpoint, recorder := Recorder())
        while len(server.peers) < 2:
            await asyncio.sleep(0.001)
        call.abort()
        await server.peers[1].closed(AT_ONCE)
        await settled(pool)
        assert recorder.silent


async def test_many_at_once_leave_nothing_behind() -> None:
    script = (Do.REQUEST, 0.01, answer(b"hel"), Do.AGAIN)
    async with ScriptedServer(script) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=20)
        for round_ in range(5):
            calls = [request(pool, endpoint, Recorder()) for _ in range(60)]
            await asyncio.sleep(0.003 * round_)
            for call in calls[::2]:
                call.abort()
            await asyncio.sleep(0.003)
            for call in calls:
                call.abort()
        await asyncio.sleep(0.05)
        assert pool.open == pool.idle <= 20 and pool.waiting == 0
        assert (await ask(pool, endpoint)).content == b"hel"
