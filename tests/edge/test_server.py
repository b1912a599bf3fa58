from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest
from aiohttp import web

from apipod_proxy.edge.server import DEFAULT_BOUNDS, HttpBounds, listening_sockets
from apipod_proxy.errors import Unauthenticated
from tests.edge.conftest import Serve, read_all

POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"

UNREADABLE: dict[str, bytes] = {
    "no http at all": b"garbage\r\n\r\n",
    "a tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "both length headers": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a negative length": POST + b"Content-Length: -3\r\n\r\nabc",
    "a length that is no number": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "a NUL in a value": POST + b"X: a\x00b\r\n\r\n",
    "a bare CR in a value": POST + b"X: a\rY: b\r\n\r\n",
    "a space before the colon": POST + b"X : a\r\n\r\n",
    "a folded header": POST + b"X: a\r\n b\r\n\r\n",
    "an unknown transfer coding": POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "no host": b"POST /echo HTTP/1.1\r\n\r\n",
    "an unknown version": b"POST /echo HTTP/9.9\r\nHost: a\r\n\r\n",
    "a chunk size that is no number": POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc",
    "brotli, which is not installed": POST + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
}

TOO_LARGE: dict[str, bytes] = {
    "a header over 8 KB": POST + b"X: " + b"a" * 9000 + b"\r\n\r\n",
    "a header of 100 KB": POST + b"X: " + b"a" * 100_000,
    "a name over 8 KB": POST + b"X" * 9000 + b": a\r\n\r\n",
    "over 128 headers": POST + b"X: a\r\n" * 129 + b"\r\n",
    "a path over 8 KB": b"POST /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_is_no_http_gets_a_400_that_repeats_nothing(serve: Serve, data: bytes) -> None:
    served = await serve()
    answer = await served.say(data)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert b"x-request-id: req_" in head
    assert (
        body
        == b'{"error":{"message":"The request cannot be read as HTTP.","type":"invalid_request","param":null}}'
    )


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_a_head_beyond_its_bounds_gets_a_431(serve: Serve, data: bytes) -> None:
    served = await serve()
    answer = await served.say(data)
    assert b" 431 " in answer.splitlines()[0]
    assert b"The request head is too large" in answer
    assert not answer.endswith(b"<open>")


async def test_a_header_of_8_kb_and_128_headers_are_taken(serve: Serve) -> None:
    served = await serve()
    long = await served.say(POST + b"X: " + b"a" * 8000 + b"\r\nConnection: close\r\n\r\n")
    many = await served.say(POST + b"X: a\r\n" * 126 + b"Connection: close\r\n\r\n")
    assert long.startswith(b"HTTP/1.1 200")
    assert many.startswith(b"HTTP/1.1 200")


async def test_a_head_of_many_long_headers_is_bounded_as_a_whole(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(*[POST, *[b"X: " + b"a" * 8000 + b"\r\n"] * 12], pause=0.005)
    assert b" 431 " in answer.splitlines()[0]


async def test_requests_one_after_the_other_share_a_connection(serve: Serve) -> None:
    served = await serve()
    one = POST + b"Content-Length: 3\r\n\r\nabc"
    answer = await served.say(one + one + one, wait=0.3)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.endswith(b"<open>")


async def test_http_1_0_closes_after_the_answer(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(b"POST /hot HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc")
    assert b" 200 OK\r\n" in answer
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b"abc")


async def test_connection_close_is_obeyed(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(POST + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc")
    assert answer.endswith(b"abc")


async def test_a_head_that_takes_too_long_is_cut_off(serve: Serve) -> None:
    served = await serve(bounds=DEFAULT_BOUNDS._replace(head_seconds=0.1))
    answer = await served.say(b"POST /echo HT", wait=2)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert not answer.endswith(b"<open>")
    assert [(seen.status, seen.remote) for seen in served.seen] == [(408, "127.0.0.1")]
    assert f"x-request-id: {served.seen[0].request_id}\r\n".encode() in answer
    silent = await served.say(b"", wait=2)
    assert silent == b""


async def test_a_second_head_on_a_connection_has_its_own_deadline(serve: Serve) -> None:
    served = await serve(bounds=DEFAULT_BOUNDS._replace(head_seconds=0.1))
    answer = await served.say(POST + b"Content-Length: 3\r\n\r\nabc", b"POST /echo HT", wait=2)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408 " in answer


async def test_an_answer_that_takes_long_is_no_late_head(serve: Serve) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.7)
        return web.Response(text="at last")

    served = await serve({"/slow": slow}, bounds=DEFAULT_BOUNDS._replace(head_seconds=0.1))
    answer = await served.say(b"POST /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", wait=3)
    assert answer.endswith(b"at last")


async def test_500_slow_connections_leave_the_server_unharmed(serve: Serve) -> None:
    served = await serve(bounds=DEFAULT_BOUNDS._replace(head_seconds=0.6))
    connections = await asyncio.gather(
        *(asyncio.open_connection("127.0.0.1", served.port) for _ in range(500))
    )
    for _, writer in connections:
        writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Slow: a")
    quick = await served.say(POST + b"Connection: close\r\nContent-Length: 2\r\n\r\nok")
    assert quick.endswith(b"ok")
    ends = await asyncio.gather(*(read_all(reader, 4) for reader, _ in connections))
    assert all(end.startswith(b"HTTP/1.1 408 ") and not end.endswith(b"<open>") for end in ends)
    for _, writer in connections:
        writer.close()
    async with asyncio.timeout(2):
        while served.front.connections:
            await asyncio.sleep(0.01)
    assert not served.front.waiting


async def test_who_is_refused_before_its_body_still_reads_the_answer(serve: Serve) -> None:
    async def refuse(request: web.Request) -> web.Response:
        raise Unauthenticated(Unauthenticated.MISSING)

    served = await serve({"/refuse": refuse})
    head = b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    answer = await served.say(head, b"x" * 50_000, wait=2)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer.lower()
    assert not answer.endswith((b"<open>", b"<reset>"))


async def test_a_refused_client_that_keeps_sending_is_cut(serve: Serve) -> None:
    async def refuse(request: web.Request) -> web.Response:
        raise Unauthenticated(Unauthenticated.MISSING)

    served = await serve({"/refuse": refuse})
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n")
    sent = 0
    with pytest.raises(ConnectionError):
        for _ in range(2000):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536
    assert sent < 60_000_000
    writer.close()


async def test_a_body_whose_framing_breaks_ends_its_request(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"ZZ\r\nabc\r\n", wait=2
    )
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"its framing is wrong" in answer
    assert not answer.endswith(b"<open>")


async def test_a_client_that_leaves_cancels_its_handler_at_once(serve: Serve) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def long(request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return web.Response()

    served = await serve({"/long": long})

    async def leave() -> float:
        begun.clear()
        cancelled.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"POST /long HTTP/1.1\r\nHost: a\r\n\r\n")
        await begun.wait()
        left = time.monotonic()
        writer.close()
        await cancelled.wait()
        return time.monotonic() - left

    # The best of a few: a machine that is busy with other things can only make it slower.
    assert min([await leave() for _ in range(3)]) < 0.1
    assert [(seen.path, seen.status) for seen in served.seen] == [("/long", 499)] * 3


async def test_connections_send_at_once_and_buffer_little(serve: Serve) -> None:
    async def look(request: web.Request) -> web.Response:
        assert request.transport is not None
        connection = request.transport.get_extra_info("socket")
        no_delay = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        return web.Response(text=f"{no_delay} {connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)}")

    served = await serve({"/look": look})
    answer = await served.say(b"POST /look HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    no_delay, buffer = answer.rpartition(b"\r\n\r\n")[2].split()
    assert no_delay == b"1"
    # The kernel doubles what is asked, for its own book-keeping.
    assert 256 * 1024 <= int(buffer) <= 512 * 1024


async def test_closing_idle_connections_lets_open_requests_finish(serve: Serve) -> None:
    go = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        await go.wait()
        return web.Response(text="done")

    served = await serve({"/wait": wait})
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", served.port)
    busy_reader, busy_writer = await asyncio.open_connection("127.0.0.1", served.port)
    busy_writer.write(b"POST /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    while served.front.busy != 1:
        await asyncio.sleep(0.005)
    served.front.close_idle()
    assert await read_all(idle_reader) == b""
    go.set()
    answer = await read_all(busy_reader)
    assert answer.endswith(b"done")
    idle_writer.close()
    busy_writer.close()


async def test_requests_after_the_closing_began_are_told_to_close(serve: Serve) -> None:
    served = await serve()
    served.front.closing = True
    answer = await served.say(POST + b"Content-Length: 2\r\n\r\nok")
    assert b"connection: close" in answer.lower()
    assert answer.endswith(b"ok")


async def test_a_client_that_resets_is_no_error(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = await serve()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(POST + b"Content-Length: 300\r\n\r\nabc")
        await asyncio.sleep(0.005)
    assert (await served.say(POST + b"Connection: close\r\nContent-Length: 2\r\n\r\nok")).endswith(b"ok")
    assert not caplog.records


def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(OSError, match="in use"):
            listening_sockets("127.0.0.1", holder.getsockname()[1], HttpBounds())


def test_a_port_can_be_shared_when_asked_for() -> None:
    first = listening_sockets("127.0.0.1", 0, HttpBounds(), share=True)
    second = listening_sockets("127.0.0.1", first[0].getsockname()[1], HttpBounds(), share=True)
    for listener in first + second:
        listener.close()
