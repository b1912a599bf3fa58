"""Requests through forward proxies, up to a proxy that itself speaks TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from apipod_proxy.errors import Unreachable
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.pool import Pool
from apipod_proxy.upstream.proxy import Proxy
from apipod_proxy.upstream.tunnel import TunnelRefused, TunnelRequest
from tests.fakes.certificates import Authority
from tests.fakes.forward_proxy import ForwardProxy
from tests.fakes.server import Do, ScriptedServer, answer
from tests.upstream.recorder import Recorder, ask, request

GOOD = (Do.REQUEST, answer(b"good"), Do.AGAIN)
NAME = "api.provider.test"


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close()


def through(
    proxy: ForwardProxy, authority: Authority, scheme: str = "https", credentials: str = ""
) -> Endpoint:
    at = Proxy.of_url(f"http://{credentials}127.0.0.1:{proxy.port}")
    return Endpoint.of_url(f"{scheme}://{NAME}", ca_file=authority.ca_file, proxy=at)


async def test_a_tls_server_is_reached_through_a_tunnel(pool: Pool, authority: Authority) -> None:
    async with (
        ScriptedServer(GOOD, tls=authority.server_context(NAME)) as server,
        ForwardProxy(server.port) as proxy,
    ):
        endpoint = through(proxy, authority, credentials="user:pw@")
        for _ in range(2):
            assert (await ask(pool, endpoint)).content == b"good"
        assert proxy.heads == [
            b"CONNECT api.provider.test:443 HTTP/1.1\r\nHost: api.provider.test:443\r\n"
            b"Proxy-Authorization: Basic dXNlcjpwdw==\r\n\r\n"
        ]
        assert b"Proxy-Authorization" not in server.received
        assert server.received.startswith(b"POST /v1/x HTTP/1.1\r\nHost: api.provider.test\r\n")
        assert repr(pool) == "<Pool open: 1 open, 1 idle, 0 waiting>"


async def test_the_proxy_can_be_reached_by_tls_itself(pool: Pool, authority: Authority) -> None:
    async with (
        ScriptedServer(GOOD, tls=authority.server_context(NAME)) as server,
        ForwardProxy(server.port, tls=authority.server_context("127.0.0.1")) as proxy,
    ):
        at = Proxy("127.0.0.1", proxy.port, tls=True)
        endpoint = Endpoint.of_url(f"https://{NAME}", ca_file=authority.ca_file, proxy=at)
        assert (await ask(pool, endpoint)).content == b"good"
        assert proxy.heads[0].startswith(b"CONNECT ")
        plain = Endpoint.of_url(f"http://{NAME}", ca_file=authority.ca_file, proxy=at)
        assert isinstance((await ask(pool, plain)).error, Unreachable)  # the server behind speaks TLS only
        assert proxy.heads[1].startswith(b"POST http://api.provider.test/v1/x HTTP/1.1\r\n")


async def test_plain_http_is_sent_to_the_proxy_with_its_whole_url(pool: Pool, authority: Authority) -> None:
    async with ScriptedServer(GOOD) as server, ForwardProxy(server.port) as proxy:
        endpoint = through(proxy, authority, "http", "user:pw@")
        assert (await ask(pool, endpoint)).content == b"good"
        assert proxy.heads[0].startswith(
            b"POST http://api.provider.test/v1/x HTTP/1.1\r\nProxy-Authorization: Basic dXNlcjpwdw==\r\nHost: "
        )


async def test_a_certificate_of_another_name_is_refused_behind_the_tunnel(
    pool: Pool, authority: Authority
) -> None:
    async with (
        ScriptedServer(GOOD, tls=authority.server_context("other.test")) as server,
        ForwardProxy(server.port) as proxy,
    ):
        recorder = await ask(pool, through(proxy, authority))
        assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "tls"
        assert server.received == b"" and pool.open == 0


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 407 Who are you"),
        (b"HTTP/1.1 502 Bad\r\n\r\n", "HTTP/1.1 502 Bad"),
        (b"HTTP/1.1 200 OK\r\n\r\nHello", "it sent bytes of its own into the tunnel"),
        (b"SSH-2.0\r\n\r\n", "SSH-2.0"),
        (b"x" * 17_000, "its answer has no end"),
    ],
)
async def test_a_proxy_that_refuses_is_told_apart(
    pool: Pool, authority: Authority, refusal: bytes, said: str
) -> None:
    async with ForwardProxy(1, refusal=refusal) as proxy:
        recorder = await ask(pool, through(proxy, authority))
        error = recorder.error
        assert isinstance(error, Unreachable) and error.stage == "proxy" and not error.sent
        assert isinstance(error.__cause__, TunnelRefused) and error.__cause__.answer == said
        assert str(error.__cause__) == f"the proxy opened no tunnel: {said}"
        assert pool.open == 0


async def test_a_proxy_that_closes_or_is_not_there_is_told_apart(pool: Pool, authority: Authority) -> None:
    async with ForwardProxy(1) as proxy:
        endpoint = through(proxy, authority)
        recorder = await ask(pool, endpoint)
        assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "proxy"
    recorder = await ask(pool, endpoint)
    assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "connect"


@pytest.mark.parametrize("stage", ["tunnel", "tls"])
async def test_giving_up_on_the_way_closes_the_connection(
    pool: Pool, authority: Authority, stage: str
) -> None:
    accept = b"" if stage == "tunnel" else b"HTTP/1.1 200 OK\r\n\r\n"
    async with ScriptedServer((Do.HEAD, accept, Do.STALL) if accept else (Do.HEAD, Do.STALL)) as proxy:
        at = Proxy("127.0.0.1", proxy.port)
        call = request(pool, Endpoint.of_url(f"https://{NAME}", proxy=at), recorder := Recorder())
        await proxy.arrived.wait()
        while stage == "tls" and b"\x16\x03" not in proxy.received:
            await asyncio.sleep(0.001)
        call.abort()
        await proxy.peers[0].closed(0.2)
        await asyncio.sleep(0)
        assert recorder.silent and pool.open == 0


async def test_an_answer_in_pieces_opens_the_tunnel() -> None:
    asking = TunnelRequest(b"")
    for byte in b"HTTP/1.1 200 OK\r\nVia: p\r\n\r\n":
        assert not asking.opened.done()
        asking.data_received(bytes((byte,)))
    await asking.opened
    asking.data_received(b"more")
    asking.connection_lost(None)


async def test_a_connection_lost_before_the_answer_is_a_refusal() -> None:
    asking = TunnelRequest(b"")
    asking.connection_lost(None)
    with pytest.raises(TunnelRefused, match="closed the connection"):
        await asking.opened
