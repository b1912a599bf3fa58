"""Opening connections: several addresses, and the options of the socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apipod_proxy.errors import Unreachable
from apipod_proxy.upstream import connect
from apipod_proxy.upstream.dns import Address, Resolver
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.pool import Pool
from apipod_proxy.upstream.tls import Contexts
from tests.fakes.server import Do, ScriptedServer, answer
from tests.upstream.recorder import Recorder, ask, open_pool, request

GOOD = (Do.REQUEST, answer(b"good"), Do.AGAIN)


def pool_with(*addresses: tuple[str, int]) -> Pool:
    """A pool in whose world every name has these addresses, in this order."""

    async def lookup(host: str, port: int) -> list[Address]:
        return [Address(socket.AF_INET6 if ":" in ip else socket.AF_INET, (ip, at)) for ip, at in addresses]

    resolver = Resolver(lookup=lookup)
    resolver._turn = -1  # the first connection begins with the first address
    return Pool(resolver=resolver)


@pytest.fixture
def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes no connection and refuses none."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        knocking = [socket.socket() for _ in range(4)]
        for each in knocking:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        port: int = server.getsockname()[1]
        yield port
        for each in knocking:
            each.close()


def endpoint() -> Endpoint:
    return Endpoint("http", "many.test", 80)


async def test_the_next_address_is_tried_when_one_refuses(dead_port: int) -> None:
    async with ScriptedServer(GOOD) as server:
        pool = pool_with(("127.0.0.1", dead_port), ("127.0.0.1", server.port))
        began = asyncio.get_running_loop().time()
        assert (await ask(pool, endpoint())).content == b"good"
        assert asyncio.get_running_loop().time() - began < connect.ATTEMPT_DELAY
        await pool.close()


async def test_the_next_address_is_tried_beside_one_that_is_slow(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "ATTEMPT_DELAY", 0.03)
    async with ScriptedServer(GOOD) as server:
        pool = pool_with(("127.0.0.1", silent_port), ("127.0.0.1", silent_port), ("127.0.0.1", server.port))
        before = open_files()
        recorder = await ask(pool, endpoint())
        assert recorder.content == b"good"
        await pool.close()
        await asyncio.sleep(0.01)
        assert len(open_files() - before) <= 1  # the server's side of the one connection


async def test_all_addresses_dead_is_unreachable(dead_port: int) -> None:
    pool = pool_with(("127.0.0.1", dead_port), ("::1", dead_port), ("127.0.0.2", dead_port))
    recorder = await ask(pool, endpoint())
    assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "connect"
    assert isinstance(recorder.error.__cause__, OSError)
    await pool.close()


async def test_a_name_nobody_knows_is_unreachable() -> None:
    async def lookup(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    pool = Pool(resolver=Resolver(lookup=lookup))
    recorder = await ask(pool, endpoint())
    assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "dns"
    await pool.close()


async def test_giving_up_closes_every_attempt(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "ATTEMPT_DELAY", 0.01)
    async with ScriptedServer(GOOD) as server, open_pool() as first:
        await ask(
            first, Endpoint.of_url(server.url)
        )  # the loop opens one for itself with the first connection
    before = open_files()
    pool = pool_with(*[("127.0.0.1", silent_port)] * 3)
    call = request(pool, endpoint(), Recorder())
    await asyncio.sleep(0.05)
    assert len(open_files() - before) == 1  # equal addresses are one
    call.abort()
    await asyncio.sleep(0.01)
    assert open_files() <= before and pool.open == 0
    await pool.close()


async def test_ipv6_is_spoken() -> None:
    async with ScriptedServer(GOOD, host="::1") as server, open_pool() as pool:
        assert (await ask(pool, Endpoint.of_url(f"http://[::1]:{server.port}"))).content == b"good"


async def test_sockets_have_the_options_that_streams_need() -> None:
    held: list[Any] = []
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        recorder = Recorder()
        call = request(pool, Endpoint.of_url(server.url), recorder)
        recorder.at_head = lambda: held.append(call.connection)
        await recorder.finished()
        sock: socket.socket = held[0].transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        # The kernel doubles what it is asked for, and has a limit of its own.
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * connect.RECEIVE_BUFFER


@pytest.mark.parametrize("tls", [False, True])
async def test_a_socket_that_is_reset_while_it_is_handed_over_is_closed_exactly_once(tls: bool) -> None:
    """A socket object that outlives its file descriptor closes, when collected, whoever has that number by then."""
    loop = asyncio.get_running_loop()
    contexts = Contexts()
    context = await contexts.get(None)
    connector = connect.Connector(loop, Resolver(), contexts)
    async with ScriptedServer((Do.RESET,)) as server:
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (server.host, server.port))
        await asyncio.sleep(0.02)  # the reset has arrived
        descriptor = sock.fileno()
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        try:
            await connector._open(asyncio.Protocol, sock, server.host, context if tls else None)
        except OSError:
            assert tls
        assert sock.fileno() == -1
        await asyncio.sleep(0.01)
        assert name not in open_files()


def open_files() -> set[Path]:
    """What the descriptors of this process stand for: a socket has the number of its inode in its name."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.add(each.readlink())
        except FileNotFoundError:
            pass  # the one that listed this folder
    return found
