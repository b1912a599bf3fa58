from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.edge.door import Door
from apipod_proxy.edge.head import read_head
from apipod_proxy.edge.incoming import Incoming, is_read
from apipod_proxy.errors import RequestTimeout

BODY = bytes(range(200))


def incoming(first: bytes = b"") -> Incoming:
    found = read_head(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n")
    assert found is not None
    request = Incoming(Door.__new__(Door), found[0], None)
    request.await_body(first, len(BODY))
    return request


@given(st.lists(st.integers(1, 199), max_size=8, unique=True), st.binary(max_size=5))
def test_a_body_comes_in_any_pieces_and_what_follows_is_left_over(cuts: list[int], more: bytes) -> None:
    ends = [0, *sorted(cuts), 200]
    pieces = [BODY[a:b] for a, b in pairwise(ends)]
    if len(pieces) == 1:
        pieces = [b"", *pieces]
    request = incoming(pieces[0])
    rest = b""
    for number, piece in enumerate(pieces[1:], 2):
        assert not is_read(request)
        rest = request.feed(piece + more if number == len(pieces) else piece)
    assert request.whole == BODY
    assert is_read(request)
    assert rest == more


async def test_who_reads_is_woken_by_the_last_piece() -> None:
    request = incoming(BODY[:50])
    reading = asyncio.ensure_future(request.read(5))
    await asyncio.sleep(0)
    request.feed(BODY[50:100])
    await asyncio.sleep(0)
    assert not reading.done()
    request.feed(BODY[100:])
    assert await reading == BODY


async def test_a_body_that_stands_still_is_given_up() -> None:
    request = incoming(BODY[:50])
    with pytest.raises(RequestTimeout):
        await request.read(0.01)


async def test_a_body_that_moves_is_waited_for() -> None:
    request = incoming(BODY[:10])
    reading = asyncio.ensure_future(request.read(0.1))
    for at in range(10, 200, 10):
        await asyncio.sleep(0.02)
        assert not reading.done()
        request.feed(BODY[at : at + 10])
    assert await reading == BODY
