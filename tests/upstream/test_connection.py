"""The protocol alone, fed by hand: every way in which an answer can be cut into reads."""

from __future__ import annotations

import asyncio
import gzip
import math
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apipod_proxy.catalog.model import Timeouts
from apipod_proxy.errors import UpstreamBroken, UpstreamTimeout
from apipod_proxy.upstream.connection import Connection, promised
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.lane import Lane
from apipod_proxy.upstream.pool import Pool
from tests.fakes.server import answer, chunked
from tests.upstream.recorder import Recorder

ENDPOINT = Endpoint("http", "a.test", 80)
CALM = Timeouts(60, 60, 60)
HEAD = b"POST / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that writes down what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.aborted = False
        self.reading = True
        self.left = 0

    def write(self, data: Any) -> None:
        if self.aborted:
            raise RuntimeError("unable to perform operation on a closed handle")
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Bench:
    """A pool with one idle connection over a wire of ours."""

    def __init__(self) -> None:
        self.pool = Pool()
        lane = Lane(self.pool, ENDPOINT)
        lane._size = 1
        self.pool._lanes[ENDPOINT.key] = lane
        self.wire = Wire()
        self.connection = Connection(lane)
        self.connection.connection_made(self.wire)
        self.connection.held = True
        self.connection.born = self.pool.clock()
        lane.release(self.connection)

    def send(self, body: bytes = b"", timeouts: Timeouts = CALM) -> Recorder:
        recorder = Recorder()
        self.call = self.pool.send(ENDPOINT, HEAD, body, recorder, timeouts)
        self.pool.burst.flush()
        return recorder


CONTENT = b"0123456789" * 3

WHOLE = {
    "length": answer(CONTENT),
    "chunked": chunked(CONTENT[:6], CONTENT[6:]),
    "interim": b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + answer(CONTENT),
    "trailer": chunked(CONTENT, end=b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
    "gzip": answer(gzip.compress(CONTENT), headers=b"Content-Encoding: gzip\r\n"),
    "empty": answer(b""),
    "204": b"HTTP/1.1 204 No\r\nX: y\r\n\r\n",
}


@pytest.mark.parametrize("name", WHOLE)
async def test_byte_by_byte_is_as_good_as_whole(name: str) -> None:
    data = WHOLE[name]
    whole, single = Bench(), Bench()
    expected, recorder = whole.send(), single.send()
    whole.connection.data_received(data)
    for byte in data[:-1]:
        single.connection.data_received(bytes((byte,)))
        assert not recorder.ended
    single.connection.data_received(data[-1:])
    for each in (expected, recorder):
        assert each.ended and each.status == expected.status and each.content == expected.content
        assert each.headers == expected.headers
    assert whole.pool.idle == single.pool.idle == 1


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(WHOLE)), cuts=st.lists(st.integers(0, 300), max_size=6), kept=st.booleans()
)
def test_any_split_gives_the_same_answer(name: str, cuts: list[int], kept: bool) -> None:
    async def run() -> None:
        data = WHOLE[name] + (b"" if kept else b"HTTP/1.1 2")
        bench = Bench()
        recorder = bench.send()
        places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
        for start, end in pairwise(places):
            bench.connection.data_received(data[start:end])
        assert recorder.ended and recorder.error is None
        assert recorder.content == (b"" if name in ("empty", "204") else CONTENT)
        assert bench.pool.idle == (1 if kept else 0) and bench.wire.aborted is not kept

    asyncio.run(run())


@pytest.mark.parametrize("name", [name for name in WHOLE if name != "204"])
async def test_cut_anywhere_it_is_never_whole(name: str) -> None:
    data = WHOLE[name]
    for length in range(1, len(data)):
        bench = Bench()
        recorder = bench.send()
        bench.connection.data_received(data[:length])
        bench.connection.eof_received()
        bench.connection.connection_lost(None)
        assert isinstance(recorder.error, UpstreamBroken) and not recorder.ended
        assert bench.pool.open == 0


@settings(deadline=None, max_examples=300)
@given(
    data=st.sampled_from(sorted(WHOLE.values())),
    place=st.integers(0, 300),
    junk=st.binary(max_size=8),
    removed=st.integers(0, 8),
)
def test_damage_never_raises_and_never_leaves_the_call_without_an_end(
    data: bytes, place: int, junk: bytes, removed: int
) -> None:
    async def run() -> None:
        bench = Bench()
        bench.connection.served = 0
        recorder = bench.send()
        bench.connection.data_received(data[:place] + junk + data[place + removed :])
        if not recorder.over.is_set():
            bench.connection.eof_received()
            bench.connection.connection_lost(None)
        assert recorder.over.is_set()

    asyncio.run(run())


async def test_headers_come_in_lower_case_in_order_and_doubled() -> None:
    bench = Bench()
    recorder = bench.send()
    bench.connection.data_received(answer(headers=b"Set-Cookie: a\r\nX-Request-ID: Q\r\nSET-COOKIE: b\r\n"))
    assert recorder.headers == [
        (b"set-cookie", b"a"),
        (b"x-request-id", b"Q"),
        (b"set-cookie", b"b"),
        (b"content-length", b"2"),
    ]


async def test_decoded_content_has_the_headers_of_the_plain_one() -> None:
    bench = Bench()
    recorder = bench.send()
    bench.connection.data_received(WHOLE["gzip"])
    assert recorder.headers == []


@pytest.mark.parametrize("size", [0, 100, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
async def test_the_request_is_written_whole_whatever_its_size(size: int) -> None:
    bench = Bench()
    bench.send(bytes(size))
    assert bench.wire.written == HEAD + bytes(size)


async def test_a_large_request_waits_for_the_socket() -> None:
    bench = Bench()
    bench.connection.pause_writing()
    bench.send(bytes(1_000_000))
    assert bench.wire.written == HEAD
    bench.connection.resume_writing()
    assert bench.wire.written == HEAD + bytes(1_000_000)
    bench.connection.resume_writing()
    assert len(bench.wire.written) == len(HEAD) + 1_000_000


async def test_a_request_that_is_taken_slowly_is_not_late_but_one_that_is_not_taken_is() -> None:
    bench = Bench()
    bench.connection.pause_writing()
    recorder = bench.send(bytes(10_000_000), Timeouts(60, 0.2, 60))
    for _ in range(6):
        await asyncio.sleep(0.05)
        bench.connection.resume_writing()
        bench.connection.pause_writing()
    assert recorder.silent
    await recorder.finished()
    assert isinstance(recorder.error, UpstreamTimeout) and recorder.error.stage == "first_byte"


async def test_a_closed_handle_is_no_failure_but_a_reason_for_a_fresh_connection() -> None:
    class Late(Wire):
        def is_closing(self) -> bool:
            return False

    bench = Bench()
    bench.connection.transport = wire = Late()
    wire.aborted = True
    bench.send(bytes(20_000))
    assert repr(bench.call) == "<Call connecting>" and not bench.call.sent
    assert bench.pool.idle == 0
    bench.call.abort()


async def test_a_handle_that_closes_before_its_turn_to_write_is_one_that_closed_on_the_way() -> None:
    bench = Bench()
    bench.connection.served = 1
    bench.pool.burst.crowd = 2
    recorder = Recorder()
    call = bench.pool.send(ENDPOINT, HEAD, b"{}", recorder, CALM)
    bench.wire.aborted = True
    bench.pool.burst.flush()
    assert bench.wire.written == b""
    bench.connection.connection_lost(None)
    assert repr(call) == "<Call connecting>" and recorder.silent
    call.abort()


async def test_what_was_left_unsent_costs_the_connection() -> None:
    bench = Bench()
    recorder = bench.send()
    bench.wire.left = 1
    bench.connection.data_received(answer())
    assert recorder.ended and bench.wire.aborted and bench.pool.open == 0


async def test_the_request_is_let_go_when_the_answer_begins() -> None:
    bench = Bench()
    bench.send(b"x" * 100)
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\n")
    assert bench.call.body
    bench.connection.data_received(b"Transfer-Encoding: chunked\r\n\r\n")
    assert not bench.call.head and not bench.call.body


async def test_an_interrupt_inside_a_receiver_is_not_swallowed() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    bench = Bench()
    recorder = bench.send()
    recorder.at_body = interrupt
    with pytest.raises(KeyboardInterrupt):
        bench.connection.data_received(answer())
    assert isinstance(recorder.error, UpstreamBroken) and bench.pool.open == 0


async def test_a_connection_says_what_it_is_doing() -> None:
    bench = Bench()
    assert repr(bench.connection) == "<Connection idle, 0 served>"
    bench.send()
    assert repr(bench.connection) == "<Connection awaiting the head, 0 served>"
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert repr(bench.connection) == "<Connection receiving, 0 served>"
    bench.connection.data_received(b"hi")
    assert repr(bench.connection) == "<Connection idle, 1 served>"


async def test_a_stream_keeps_no_byte_of_what_passed() -> None:
    bench = Bench()
    recorder = bench.send()
    recorder.at_body = recorder.pieces.clear
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    event = b"400\r\n%b\r\n" % bytes(0x400)
    bench.connection.data_received(event)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(2000):
        bench.connection.data_received(event)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (b"timeout=5", 4),
        (b"max=100, timeout = 60", 59),
        (b"timeout=1", 0.5),
        (b"timeout=0", 0),
        (b"max=5", math.inf),
        (b"timeout=soon", math.inf),
    ],
)
def test_the_keep_alive_header_is_read_with_a_margin(field: bytes, seconds: float) -> None:
    assert promised(field) == seconds
