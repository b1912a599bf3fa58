"""The pool against real sockets: reuse, its races, bounds, backpressure."""

from __future__ import annotations

import asyncio

import pytest

from apipod_proxy.catalog.model import Timeouts
from apipod_proxy.errors import Unreachable, UpstreamBroken, UpstreamTimeout
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.pool import Pool
from tests.fakes.server import Do, Flood, ScriptedServer, answer, chunked
from tests.upstream.recorder import Recorder, ask, open_pool, request

GOOD = (Do.REQUEST, answer(b"good"), Do.AGAIN)
SLOW = (Do.REQUEST, 0.05, answer(b"good"), Do.AGAIN)
MUTE = (Do.REQUEST, Do.STALL)


# Reuse


async def test_an_idle_connection_is_used_again() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        for _ in range(3):
            assert (await ask(pool, endpoint)).content == b"good"
        assert len(server.peers) == 1
        assert repr(pool) == "<Pool open: 1 open, 1 idle, 0 waiting>"


async def test_a_request_on_an_idle_connection_is_written_before_send_returns() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        fresh = request(pool, endpoint, first := Recorder())
        assert not fresh.sent and repr(fresh) == "<Call connecting>"
        await first.finished()
        reused = request(pool, endpoint, second := Recorder())
        assert reused.sent and repr(reused) == "<Call <Connection awaiting the head, 1 served>>"
        await second.finished()
        assert repr(reused) == "<Call over>"


async def test_the_connection_is_free_when_the_end_is_told() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        first, second = Recorder(), Recorder()
        first.at_end = lambda: request(pool, endpoint, second)
        request(pool, endpoint, first)
        await second.finished()
        assert second.content == b"good" and len(server.peers) == 1


async def test_accounts_do_not_share_connections() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        await ask(pool, Endpoint.of_url(server.url, partition="a"))
        await ask(pool, Endpoint.of_url(server.url, partition="b"))
        assert len(server.peers) == 2


async def test_a_connection_idle_for_too_long_is_not_used_again() -> None:
    now = 1000.0
    async with ScriptedServer(GOOD) as server:
        pool = Pool(clock=lambda: now)
        endpoint = Endpoint.of_url(server.url, keepalive=30)
        await ask(pool, endpoint)
        now += 29.9
        await ask(pool, endpoint)
        assert len(server.peers) == 1
        now += 30.1
        await ask(pool, endpoint)
        assert len(server.peers) == 2
        await server.peers[0].closed()
        await pool.close()


async def test_a_connection_idle_for_too_long_is_closed_without_being_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("apipod_proxy.upstream.pool.SWEEP_PAUSE", 0.02)
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        await ask(pool, Endpoint.of_url(server.url, keepalive=0.01))
        assert pool.idle == 1
        await server.peers[0].closed()
        assert (pool.open, pool.idle) == (0, 0)
        assert not pool.endpoints


@pytest.mark.parametrize(
    ("hint", "trusted"), [(b"timeout=5, max=100", 4.0), (b"timeout=1", 0.5), (b"max=3", 30.0)]
)
async def test_a_server_that_says_how_long_it_waits_is_believed(hint: bytes, trusted: float) -> None:
    now = 0.0
    script = (Do.REQUEST, answer(headers=b"Keep-Alive: %b\r\n" % hint), Do.AGAIN)
    async with ScriptedServer(script) as server:
        pool = Pool(clock=lambda: now)
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        now = trusted - 0.01
        await ask(pool, endpoint)
        assert len(server.peers) == 1
        now += trusted
        await ask(pool, endpoint)
        assert len(server.peers) == 2
        await pool.close()


async def test_a_connection_grows_old_however_busy_it_is() -> None:
    now = 0.0
    async with ScriptedServer(GOOD) as server:
        pool = Pool(clock=lambda: now)
        endpoint = Endpoint.of_url(server.url)
        for _ in range(34):
            await ask(pool, endpoint)
            now += 20
        assert len(server.peers) == 2
        await pool.close()


async def test_an_idle_connection_that_the_server_closes_leaves_the_pool() -> None:
    async with ScriptedServer((Do.REQUEST, answer(), 0.01, Do.CLOSE)) as server, open_pool() as pool:
        await ask(pool, Endpoint.of_url(server.url))
        assert pool.idle == 1
        await server.peers[0].closed()
        await asyncio.sleep(0.01)
        assert (pool.open, pool.idle) == (0, 0)


async def test_bytes_on_an_idle_connection_close_it() -> None:
    script = (Do.REQUEST, answer(), 0.01, answer(b"poison"), Do.STALL)
    async with ScriptedServer(script, GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        await server.peers[0].closed()
        assert (await ask(pool, endpoint)).content == b"good"


# The race: the server closes while the request is on its way


@pytest.mark.parametrize("end", [Do.CLOSE, Do.RESET])
async def test_a_request_that_met_a_closed_connection_is_sent_once_more(end: Do) -> None:
    async with (
        ScriptedServer((Do.REQUEST, answer(b"1"), Do.REQUEST, end), GOOD) as server,
        open_pool() as pool,
    ):
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        second = await ask(pool, endpoint, body=b"{second}")
        assert second.content == b"good"
        assert [bytes(peer.received).count(b"{second}") for peer in server.peers] == [1, 1]


async def test_it_is_sent_on_a_fresh_connection_even_if_others_are_idle() -> None:
    dying = (Do.REQUEST, 0.02, answer(b"1"), Do.REQUEST, Do.CLOSE)
    async with ScriptedServer(dying, dying, GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        await asyncio.gather(ask(pool, endpoint), ask(pool, endpoint))
        assert pool.idle == 2
        assert (await ask(pool, endpoint)).content == b"good"
        assert len(server.peers) == 3


async def test_it_is_not_sent_a_third_time() -> None:
    async with (
        ScriptedServer((Do.REQUEST, answer(), Do.REQUEST, Do.CLOSE), (Do.REQUEST, Do.CLOSE)) as server,
        open_pool() as pool,
    ):
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        second = await ask(pool, endpoint)
        assert isinstance(second.error, Unreachable) and second.error.stage == "request" and second.error.sent
        assert len(server.peers) == 2


async def test_a_repeat_that_finds_no_server_any_more_still_tells_that_something_was_sent() -> None:
    async with (
        ScriptedServer((Do.REQUEST, answer(), Do.REQUEST, 0.02, Do.CLOSE)) as server,
        open_pool() as pool,
    ):
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        server.stop_listening()
        error = (await ask(pool, endpoint)).error
        assert isinstance(error, Unreachable) and error.stage == "connect" and error.sent


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\n", b"\r\n", b"HTTP/1.1 102 P\r\n\r\n"])
async def test_it_is_not_sent_again_once_any_byte_came(begun: bytes) -> None:
    script = (Do.REQUEST, answer(), Do.REQUEST, begun, 0.01, Do.CLOSE)
    async with ScriptedServer(script, GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        assert isinstance((await ask(pool, endpoint)).error, UpstreamBroken)
        assert len(server.peers) == 1


async def test_it_is_not_sent_again_when_the_caller_forbids_it() -> None:
    async with (
        ScriptedServer((Do.REQUEST, answer(), Do.REQUEST, Do.CLOSE), GOOD) as server,
        open_pool() as pool,
    ):
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint)
        assert isinstance((await ask(pool, endpoint, repeatable=False)).error, Unreachable)
        assert len(server.peers) == 1


async def test_a_first_request_on_a_connection_is_not_sent_again() -> None:
    async with ScriptedServer((Do.REQUEST, Do.CLOSE), GOOD) as server, open_pool() as pool:
        assert isinstance((await ask(pool, Endpoint.of_url(server.url))).error, Unreachable)
        assert len(server.peers) == 1


# Bounds


async def test_calls_beyond_the_bound_wait_in_the_order_they_came() -> None:
    async with ScriptedServer(SLOW) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=2)
        order: list[int] = []
        recorders = [Recorder() for _ in range(6)]
        for number, recorder in enumerate(recorders):
            recorder.at_end = lambda number=number: order.append(number)
            request(pool, endpoint, recorder)
        assert (pool.open, pool.waiting) == (2, 4)
        for recorder in recorders:
            await recorder.finished()
        # Two at a time, which end in either order.
        assert [sorted(order[at : at + 2]) for at in (0, 2, 4)] == [[0, 1], [2, 3], [4, 5]]
        assert len(server.peers) == 2 and (pool.open, pool.idle, pool.waiting) == (2, 2, 0)


async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    async with ScriptedServer(SLOW) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        first, second, third = Recorder(), Recorder(), Recorder()
        first.at_end = lambda: request(pool, endpoint, third)
        request(pool, endpoint, first)
        request(pool, endpoint, second)
        await second.finished()
        assert third.silent
        await third.finished()


async def test_waiting_for_a_connection_counts_as_connecting() -> None:
    async with ScriptedServer(MUTE) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        holder = request(pool, endpoint, Recorder())
        waited = await ask(pool, endpoint, timeouts=Timeouts(0.05, 9, 9))
        assert isinstance(waited.error, UpstreamTimeout) and waited.error.stage == "connect"
        assert waited.error.seconds == 0.05 and not waited.error.sent
        assert (pool.open, pool.waiting) == (1, 0)
        holder.abort()


async def test_a_connection_that_dies_makes_room_for_those_who_wait() -> None:
    async with ScriptedServer((Do.REQUEST, 0.02, Do.RESET), GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        request(pool, endpoint, first := Recorder())
        assert (await ask(pool, endpoint)).content == b"good"
        assert isinstance(first.error, Unreachable)


async def test_a_connect_that_fails_makes_room_for_those_who_wait() -> None:
    async with ScriptedServer(GOOD) as server:
        port = server.port
    async with open_pool() as pool:
        endpoint = Endpoint("http", "127.0.0.1", port, max_connections=1)
        failed = await asyncio.gather(*(ask(pool, endpoint) for _ in range(3)))
        assert [type(each.error) for each in failed] == [Unreachable] * 3
        assert failed[0].error is not None and isinstance(failed[0].error.__cause__, ConnectionRefusedError)


async def test_a_smaller_bound_takes_effect_as_connections_end() -> None:
    async with ScriptedServer(SLOW) as server, open_pool() as pool:
        wide, narrow = Endpoint.of_url(server.url), Endpoint.of_url(server.url, max_connections=1)
        recorders = [Recorder() for _ in range(3)]
        for recorder in recorders:
            request(pool, wide, recorder)
        request(pool, narrow, last := Recorder())
        assert (pool.open, pool.waiting) == (3, 1)
        await last.finished()
        assert pool.open == 1


# Times


async def test_an_answer_may_take_longer_than_any_timeout_as_long_as_it_comes() -> None:
    steps: list[bytes | float | Do] = [Do.REQUEST, chunked(end=b"")]
    for _ in range(10):
        steps += [0.03, b"1\r\nx\r\n"]
    async with ScriptedServer((*steps, b"0\r\n\r\n")) as server, open_pool() as pool:
        recorder = await ask(pool, Endpoint.of_url(server.url), timeouts=Timeouts(0.1, 0.1, 0.1))
        assert recorder.content == b"x" * 10 and recorder.ended


@pytest.mark.parametrize(
    ("script", "stage"), [(MUTE, "first_byte"), ((Do.REQUEST, answer()[:-1], Do.STALL), "idle")]
)
async def test_silence_is_told_with_its_stage_and_closes_the_connection(
    script: tuple[Do], stage: str
) -> None:
    async with ScriptedServer(script) as server, open_pool() as pool:
        recorder = await ask(pool, Endpoint.of_url(server.url), timeouts=Timeouts(1, 0.05, 0.05))
        error = recorder.error
        assert isinstance(error, UpstreamTimeout) and error.stage == stage and error.sent
        await server.peers[0].closed()
        assert pool.open == 0


async def test_a_connection_that_was_idle_longer_than_the_idle_time_serves_again() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        for _ in range(2):
            assert (await ask(pool, endpoint, timeouts=Timeouts(1, 0.03, 0.03))).ended
            await asyncio.sleep(0.06)
        assert len(server.peers) == 1


async def test_a_shorter_time_of_the_next_request_counts() -> None:
    async with ScriptedServer((Do.REQUEST, answer(), Do.REQUEST, Do.STALL)) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        await ask(pool, endpoint, timeouts=Timeouts(9, 9, 9))
        began = asyncio.get_running_loop().time()
        assert isinstance((await ask(pool, endpoint, timeouts=Timeouts(9, 0.05, 9))).error, UpstreamTimeout)
        assert asyncio.get_running_loop().time() - began < 0.5


async def test_time_in_which_nobody_reads_is_not_idle() -> None:
    script = (Do.REQUEST, answer(b"12345")[:-1], 0.02, b"5", Do.STALL)
    async with ScriptedServer(script) as server, open_pool() as pool:
        recorder = Recorder()
        call = request(pool, Endpoint.of_url(server.url), recorder, timeouts=Timeouts(1, 1, 0.05))
        recorder.at_body = lambda: None if recorder.content.endswith(b"5") else call.pause()
        await asyncio.sleep(0.15)
        assert recorder.content == b"1234" and recorder.error is None
        call.resume()
        await recorder.finished()
        assert recorder.content == b"12345" and recorder.ended


async def test_a_call_paused_at_its_end_does_not_leave_a_deaf_connection() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        recorder = Recorder()
        call = request(pool, endpoint, recorder)
        recorder.at_body = call.pause
        await recorder.finished()
        assert (await ask(pool, endpoint)).content == b"good"
        assert len(server.peers) == 1


async def test_a_call_may_be_paused_before_it_is_connected() -> None:
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        call = request(
            pool, Endpoint.of_url(server.url), recorder := Recorder(), timeouts=Timeouts(1, 0.05, 0.05)
        )
        call.pause()
        await asyncio.sleep(0.1)
        assert recorder.silent
        call.resume()
        await recorder.finished()
        assert recorder.content == b"good"


# Large bodies


async def test_a_slow_client_keeps_the_upstream_close_behind_it() -> None:
    piece = b"%x\r\n%b\r\n" % (65536, bytes(65536))
    script = (Do.REQUEST, chunked(end=b""), Flood(piece, 1000), b"0\r\n\r\n")
    async with ScriptedServer(script) as server, open_pool() as pool:
        recorder = Recorder()
        call = request(pool, Endpoint.of_url(server.url), recorder)
        recorder.at_body = call.pause
        for _ in range(5):
            await asyncio.sleep(0.03)
            call.resume()
        ahead = server.peers[0].taken - len(recorder.content)
        assert ahead < 8_000_000
        recorder.at_body = None
        call.resume()
        await recorder.finished(within=10)
        assert len(recorder.content) == 65_536_000 and recorder.ended


@pytest.mark.parametrize("size", [16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 5_000_000])
async def test_a_large_request_arrives_whole(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    async with (
        ScriptedServer((Do.DEAF, 0.02, Do.HEAR, Do.REQUEST, answer(b"ok"), Do.AGAIN)) as server,
        open_pool() as pool,
    ):
        endpoint = Endpoint.of_url(server.url)
        assert (await ask(pool, endpoint, body=body[:size])).content == b"ok"
        assert (await ask(pool, endpoint, body=body[:size])).content == b"ok"
        assert len(server.peers) == 1
        assert bytes(server.peers[0].received).split(b"\r\n\r\n", 1)[1][:size] == body[:size]


async def test_an_answer_before_the_request_was_taken_costs_the_connection() -> None:
    script = (Do.HEAD, Do.DEAF, answer(b"too large", status=413), Do.STALL)
    async with ScriptedServer(script) as server, open_pool() as pool:
        recorder = await ask(pool, Endpoint.of_url(server.url), body=bytes(32_000_000))
        assert (recorder.status, recorder.content, recorder.ended) == (413, b"too large", True)
        assert pool.open == 0


async def test_an_answer_before_a_close_in_the_middle_of_the_request_is_heard() -> None:
    script = (
        Do.HEAD,
        Do.DEAF,
        answer(b"too large", status=413, headers=b"Connection: close\r\n"),
        0.05,
        Do.CLOSE,
    )
    async with ScriptedServer(script) as server, open_pool() as pool:
        recorder = await ask(pool, Endpoint.of_url(server.url), body=bytes(32_000_000))
        assert (recorder.status, recorder.content, recorder.ended) == (413, b"too large", True)


async def test_a_request_that_is_not_taken_is_late() -> None:
    async with ScriptedServer((Do.DEAF, Do.STALL)) as server, open_pool() as pool:
        recorder = await ask(
            pool, Endpoint.of_url(server.url), body=bytes(32_000_000), timeouts=Timeouts(1, 0.1, 1)
        )
        assert isinstance(recorder.error, UpstreamTimeout) and recorder.error.stage == "first_byte"


# Receivers that fail


@pytest.mark.parametrize("place", ["head", "body"])
async def test_a_receiver_that_raises_loses_its_call_and_nothing_else(place: str) -> None:
    reports = heard()
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        recorder = Recorder()
        setattr(recorder, f"at_{place}", lambda: 1 // 0)
        request(pool, endpoint, recorder)
        await recorder.finished()
        assert isinstance(recorder.error, UpstreamBroken)
        assert isinstance(recorder.error.__cause__, ZeroDivisionError)
        assert [type(each) for each in reports] == [ZeroDivisionError]
        await server.peers[0].closed()
        assert pool.open == 0
        assert (await ask(pool, endpoint)).content == b"good"


async def test_a_receiver_that_raises_at_the_end_keeps_the_connection() -> None:
    reports = heard()
    async with ScriptedServer(GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        recorder = Recorder()
        recorder.at_end = lambda: 1 // 0
        request(pool, endpoint, recorder)
        await recorder.finished()
        await ask(pool, endpoint)
        assert recorder.error is None and len(server.peers) == 1
        assert [type(each) for each in reports] == [ZeroDivisionError]


async def test_a_receiver_that_raises_when_told_of_a_failure_is_reported() -> None:
    class Deaf(Recorder):
        def failed(self, error: Exception) -> None:
            self.over.set()
            raise ZeroDivisionError

    reports = heard()
    async with ScriptedServer((Do.REQUEST, Do.CLOSE)) as server, open_pool() as pool:
        request(pool, Endpoint.of_url(server.url), recorder := Deaf())
        await recorder.finished()
        assert [type(each) for each in reports] == [ZeroDivisionError]
        assert pool.open == 0


def heard() -> list[BaseException]:
    """What reaches the loop's handler of exceptions from now on."""
    reports: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    return reports


# The end of the pool


async def test_closing_fails_every_call_and_closes_every_connection() -> None:
    async with ScriptedServer(MUTE) as server:
        pool = Pool()
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        connected, queued, connecting = Recorder(), Recorder(), Recorder()
        request(pool, endpoint, connected)
        request(pool, endpoint, queued)
        await server.arrived.wait()
        await asyncio.sleep(0.01)
        request(pool, Endpoint.of_url(server.url, partition="other"), connecting)
        assert repr(pool) == "<Pool open: 2 open, 0 idle, 1 waiting>"
        await pool.close()
        assert isinstance(connected.error, UpstreamBroken)
        assert isinstance(queued.error, Unreachable) and isinstance(connecting.error, Unreachable)
        assert repr(pool) == "<Pool closed: 0 open, 0 idle, 0 waiting>"
        for peer in server.peers:
            await peer.closed()


async def test_a_closed_pool_fails_what_it_is_sent_but_not_before_send_returns() -> None:
    pool = Pool()
    await pool.close()
    recorder = Recorder()
    request(pool, Endpoint("http", "127.0.0.1", 1), recorder)
    assert recorder.silent
    await recorder.finished()
    assert isinstance(recorder.error, Unreachable)


async def test_a_connection_that_becomes_free_in_a_closed_pool_is_closed() -> None:
    async with ScriptedServer(GOOD) as server:
        pool = Pool()
        recorder = Recorder()
        recorder.at_head = lambda: setattr(pool, "closed", True)
        request(pool, Endpoint.of_url(server.url), recorder)
        await recorder.finished()
        assert recorder.ended and pool.open == 0
        await pool.close()
