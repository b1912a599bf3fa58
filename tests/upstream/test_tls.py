"""TLS against real servers with certificates of an authority of our own."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from apipod_proxy.catalog.model import Timeouts
from apipod_proxy.errors import Unreachable, UpstreamBroken
from apipod_proxy.upstream import tls
from apipod_proxy.upstream.dns import Address, Resolver
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.pool import Pool
from tests.fakes.certificates import Authority
from tests.fakes.server import Do, Flood, ScriptedServer, answer, chunked
from tests.upstream.recorder import Recorder, ask, request

GOOD = (Do.REQUEST, answer(b"good"), Do.AGAIN)
CLOSING = (Do.REQUEST, answer(b"good", headers=b"Connection: close\r\n"), Do.CLOSE)
NAME = "api.provider.test"


async def here(host: str, port: int) -> list[Address]:
    """Every name is this machine."""
    return [Address(2, ("127.0.0.1", port))]


def pool_of_tests() -> Pool:
    return Pool(resolver=Resolver(lookup=here))


def endpoint_of(server: ScriptedServer, authority: Authority | None, name: str = NAME) -> Endpoint:
    return Endpoint("https", name, server.port, ca_file=authority.ca_file if authority else None)


async def test_a_server_with_a_good_certificate_is_spoken_to(authority: Authority) -> None:
    context = authority.server_context(NAME)
    asked: list[object] = []
    context.sni_callback = lambda held, name, _: asked.append(name)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with ScriptedServer(GOOD, tls=context) as server:
        pool = pool_of_tests()
        for _ in range(3):
            recorder = await ask(pool, endpoint_of(server, authority))
            assert recorder.content == b"good"
        assert len(server.peers) == 1 and asked == [NAME]
        held: ssl.SSLObject = server.peers[0].transport.get_extra_info("ssl_object")
        assert held.selected_alpn_protocol() == "http/1.1"
        assert held.version() == "TLSv1.3"
        await pool.close()


async def test_an_address_can_be_in_the_certificate(authority: Authority) -> None:
    async with ScriptedServer(GOOD, tls=authority.server_context("127.0.0.1")) as server:
        pool = Pool()
        assert (await ask(pool, endpoint_of(server, authority, "127.0.0.1"))).content == b"good"
        await pool.close()


@pytest.mark.parametrize("flaw", ["unknown authority", "other name", "expired"])
async def test_a_server_that_cannot_be_trusted_gets_no_byte_of_the_request(
    flaw: str, authority: Authority
) -> None:
    context = authority.server_context(
        "other.test" if flaw == "other name" else NAME, expired=flaw == "expired"
    )
    async with ScriptedServer(GOOD, tls=context) as server:
        pool = pool_of_tests()
        endpoint = endpoint_of(server, None if flaw == "unknown authority" else authority)
        recorder = Recorder()
        call = request(pool, endpoint, recorder)
        await recorder.finished()
        assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "tls"
        assert isinstance(recorder.error.__cause__, OSError)
        assert not call.sent and pool.open == 0
        assert server.received == b""
        await pool.close()


async def test_a_server_that_speaks_plain_text_fails_at_tls() -> None:
    async with ScriptedServer((answer(b"plain"), Do.STALL)) as server:
        pool = pool_of_tests()
        recorder = await ask(pool, endpoint_of(server, None))
        assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "tls"
        await pool.close()


@pytest.mark.parametrize("end", [Do.CLOSE, Do.RESET])
async def test_a_connection_lost_in_the_handshake_fails_at_tls(end: Do) -> None:
    async with ScriptedServer((0.02, end)) as server:
        pool = pool_of_tests()
        recorder = await ask(pool, endpoint_of(server, None))
        assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "tls"
        assert pool.open == 0
        await pool.close()


async def test_a_silent_handshake_counts_as_connecting() -> None:
    async with ScriptedServer((Do.STALL,)) as server:
        pool = pool_of_tests()
        recorder = await ask(pool, endpoint_of(server, None), timeouts=Timeouts(0.5, 9, 9))
        assert recorder.error is not None and recorder.error.status == 504
        await server.arrived.wait()
        await server.peers[0].closed(0.2)
        await pool.close()


async def test_a_file_of_authorities_that_cannot_be_read_fails_at_tls(tmp_path: Path) -> None:
    async with ScriptedServer(GOOD) as server:
        pool = pool_of_tests()
        endpoint = Endpoint("https", NAME, server.port, ca_file=str(tmp_path / "none.pem"))
        recorder = await ask(pool, endpoint)
        assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "tls"
        assert not server.peers
        await pool.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_session_is_resumed(version: ssl.TLSVersion, authority: Authority) -> None:
    context = authority.server_context(NAME)
    context.maximum_version = version
    async with ScriptedServer(CLOSING, tls=context) as server:
        pool = pool_of_tests()
        reused = []
        for number in range(3):
            recorder = await ask(pool, endpoint_of(server, authority))
            assert recorder.content == b"good"
            held: ssl.SSLObject = server.peers[number].transport.get_extra_info("ssl_object")
            reused.append(held.session_reused)
        assert reused == [False, True, True]
        await pool.close()


async def test_a_server_that_has_forgotten_its_sessions_is_reached_all_the_same(authority: Authority) -> None:
    pool = pool_of_tests()
    for _ in range(2):
        async with ScriptedServer(CLOSING, tls=authority.server_context(NAME)) as server:
            assert (await ask(pool, endpoint_of(server, authority))).content == b"good"
    await pool.close()


async def test_large_bodies_cross_in_both_directions(authority: Authority) -> None:
    piece = b"%x\r\n%b\r\n" % (65536, bytes(65536))
    script = (Do.REQUEST, chunked(end=b""), Flood(piece, 100), b"0\r\n\r\n", Do.AGAIN)
    async with ScriptedServer(script, tls=authority.server_context(NAME)) as server:
        pool = pool_of_tests()
        for _ in range(2):
            recorder = await ask(pool, endpoint_of(server, authority), body=bytes(3_000_000))
            assert len(recorder.content) == 6_553_600 and recorder.ended
        assert len(server.peers) == 1
        await pool.close()


async def test_a_slow_client_keeps_the_upstream_close_behind_it(authority: Authority) -> None:
    piece = b"%x\r\n%b\r\n" % (65536, bytes(65536))
    script = (Do.REQUEST, chunked(end=b""), Flood(piece, 1000), b"0\r\n\r\n")
    async with ScriptedServer(script, tls=authority.server_context(NAME)) as server:
        pool = pool_of_tests()
        recorder = Recorder()
        call = request(pool, endpoint_of(server, authority), recorder)
        recorder.at_body = call.pause
        for _ in range(5):
            await asyncio.sleep(0.03)
            call.resume()
        assert server.peers[0].taken - len(recorder.content) < 8_000_000
        call.abort()
        await server.peers[0].closed(0.2)
        await pool.close()


async def test_an_early_answer_over_tls_costs_the_connection(authority: Authority) -> None:
    script = (Do.HEAD, Do.DEAF, answer(b"too large", status=413), Do.STALL)
    async with ScriptedServer(script, tls=authority.server_context(NAME)) as server:
        pool = pool_of_tests()
        recorder = await ask(pool, endpoint_of(server, authority), body=bytes(32_000_000))
        assert (recorder.status, recorder.content) == (413, b"too large")
        assert pool.open == 0
        await pool.close()


async def test_a_body_until_close_ends_with_the_connection(authority: Authority) -> None:
    async with ScriptedServer(
        (Do.REQUEST, b"HTTP/1.1 200 OK\r\n\r\nhi", Do.CLOSE), tls=authority.server_context(NAME)
    ) as server:
        pool = pool_of_tests()
        recorder = await ask(pool, endpoint_of(server, authority))
        assert recorder.content == b"hi" and recorder.ended
        await pool.close()


async def test_a_reset_inside_the_body_is_told(authority: Authority) -> None:
    async with ScriptedServer(
        (Do.REQUEST, answer(b"hello")[:-2], 0.02, Do.RESET), tls=authority.server_context(NAME)
    ) as server:
        pool = pool_of_tests()
        recorder = await ask(pool, endpoint_of(server, authority))
        assert isinstance(recorder.error, UpstreamBroken)
        await pool.close()


@pytest.mark.parametrize("end", [Do.CLOSE, Do.RESET])
async def test_the_race_with_a_closing_server_is_won_over_tls_too(end: Do, authority: Authority) -> None:
    script = (Do.REQUEST, answer(b"1"), Do.REQUEST, end)
    async with ScriptedServer(script, GOOD, tls=authority.server_context(NAME)) as server:
        pool = pool_of_tests()
        await ask(pool, endpoint_of(server, authority))
        assert (await ask(pool, endpoint_of(server, authority))).content == b"good"
        await pool.close()


# Contexts


async def test_a_context_is_made_once_for_each_set_of_authorities(authority: Authority) -> None:
    contexts = tls.Contexts()
    first, second = await asyncio.gather(contexts.get(None), contexts.get(None))
    assert first is second
    other = await contexts.get(authority.ca_file)
    assert other is not first and await contexts.get(authority.ca_file) is other
    for context in (first, other):
        assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_where_the_system_has_no_authorities_those_of_certifi_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    assert not tls.system_authorities()
    assert len(tls.make_context(None).get_ca_certs()) > 50


def test_the_memory_of_sessions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "SESSION_LIMIT", 2)

    class Held:
        context = tls.make_context(None)
        server_hostname = "a"
        session = "session"

    class Transport(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return Held

    for name in ("a", "b", "c"):
        Held.server_hostname = name
        tls.remember(Transport())
    assert list(Held.context.sessions) == ["c"]
