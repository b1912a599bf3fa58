from __future__ import annotations

import gzip
import zlib

import pytest
from aiohttp import web

from apipod_proxy.errors import Unauthenticated
from tests.edge.conftest import Serve

HEAD = b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


def with_length(body: bytes, *headers: bytes) -> bytes:
    return HEAD + b"".join(h + b"\r\n" for h in headers) + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_a_body_in_any_number_of_pieces_comes_whole(serve: Serve) -> None:
    served = await serve()
    body = bytes(range(256)) * 300
    whole = with_length(body)
    assert (await served.say(whole)).endswith(body)
    assert (await served.say(whole[:150], whole[150:60_000], whole[60_000:])).endswith(body)
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    assert (await served.say(chunked)).endswith(b"hello world")


async def test_an_empty_body_is_empty(serve: Serve) -> None:
    served = await serve()
    assert (await served.say(HEAD + b"\r\n")).endswith(b"\r\n\r\n")
    assert (await served.say(HEAD + b"Content-Length: 0\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(serve: Serve) -> None:
    served = await serve(limit_mb=1)
    answer = await served.say(HEAD + b"Content-Length: 33000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"larger than 1 MB" in answer


async def test_a_chunked_body_is_cut_where_it_becomes_too_large(serve: Serve) -> None:
    served = await serve(limit_mb=1)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = await served.say(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17, wait=3)
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_of_exactly_the_limit_passes(serve: Serve) -> None:
    served = await serve(limit_mb=1)
    assert (await served.say(with_length(b"x" * 1_000_000), wait=3)).startswith(b"HTTP/1.1 200")
    assert (await served.say(with_length(b"x" * 1_000_001), wait=3)).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_body_is_inflated(serve: Serve, encoding: str) -> None:
    served = await serve()
    body = b'{"model": "x"}' * 1000
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    answer = await served.say(with_length(packed, b"Content-Encoding: " + encoding.encode()))
    assert answer.endswith(body)


async def test_the_limit_holds_for_what_a_body_inflates_to(serve: Serve) -> None:
    served = await serve(limit_mb=1)
    bomb = gzip.compress(b"\0" * 100_000_000, 1)
    assert len(bomb) < 1_000_000
    answer = await served.say(with_length(bomb, b"Content-Encoding: gzip"), wait=3)
    assert answer.startswith(b"HTTP/1.1 413")


async def test_what_does_not_inflate_is_a_bad_request(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(with_length(b"this is no gzip", b"Content-Encoding: gzip"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"does not inflate" in answer


@pytest.mark.parametrize("encoding", [b"compress", b"gzip, gzip", b"aes128gcm"])
async def test_an_encoding_that_is_not_known_is_a_bad_request(serve: Serve, encoding: bytes) -> None:
    served = await serve()
    answer = await served.say(with_length(b"abc", b"Content-Encoding: " + encoding))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"gzip and deflate are" in answer


async def test_a_body_that_stops_arriving_times_out(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(HEAD + b"Content-Length: 10\r\n\r\nabc", wait=3)
    assert answer.startswith(b"HTTP/1.1 408")
    assert not answer.endswith(b"<open>")


@pytest.mark.parametrize("path", [b"/echo", b"/hot"])
async def test_who_asks_before_sending_a_body_is_told_to_go_on_once(serve: Serve, path: bytes) -> None:
    served = await serve()
    head = (
        b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        % path
    )
    answer = await served.say(head, b"abc", pause=0.05)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert answer.count(b"100 Continue") == 1
    assert answer.endswith(b"abc")


async def test_who_is_refused_is_not_told_to_go_on(serve: Serve) -> None:
    async def refuse(request: web.Request) -> web.Response:
        raise Unauthenticated(Unauthenticated.UNKNOWN)

    served = await serve({"/refuse": refuse})
    head = b"POST /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert (await served.say(head, wait=2)).startswith(b"HTTP/1.1 401")
