from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from apipod_proxy.edge.answer import Answer, DateLine, header_lines, header_value
from apipod_proxy.edge.incoming import Request
from apipod_proxy.edge.server import DEFAULT_BOUNDS
from tests.edge.conftest import Serve, Served

BY_FORM = {
    "plain": b"POST /act HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "general": b"POST /act HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
"""An answer goes to a door or to a connection of aiohttp's."""
OLD = b"POST /act HTTP/1.0\r\n\r\n"


@pytest.fixture(params=BY_FORM)
def ask(request: pytest.FixtureRequest) -> bytes:
    return BY_FORM[request.param]


async def acting(serve: Serve, act: Callable[[Answer], None]) -> Served:
    async def handle(request: Request) -> Answer:
        answer = Answer(request, b"date: today\r\n")
        answer.headers = b"x-mine: 1\r\n"
        act(answer)
        return answer

    return await serve(hot={"/act": handle})


def stream(answer: Answer) -> None:
    answer.begin_stream()
    answer.write(b"data: 1\n\n")
    answer.write(b"data: 2\n\n")
    answer.end()
    answer.end()


async def test_a_stream_is_chunked_and_its_connection_goes_on(serve: Serve, ask: bytes) -> None:
    served = await acting(serve, stream)
    said = await served.say(ask + ask, wait=0.3)
    whole = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
        b"transfer-encoding: chunked\r\ndate: today\r\nx-mine: 1\r\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    )
    assert said == whole + whole + b"<open>"


async def test_old_clients_get_a_stream_that_ends_with_its_connection(serve: Serve) -> None:
    served = await acting(serve, stream)
    head, _, body = (await served.say(OLD)).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"data: 1\n\ndata: 2\n\n"


async def test_a_whole_answer_has_its_length(serve: Serve, ask: bytes) -> None:
    served = await acting(serve, lambda answer: answer.send(529, b"application/json", b"{}"))
    said = await served.say(ask, wait=0.2)
    assert said == (
        b"HTTP/1.1 529 Overloaded\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        b"date: today\r\nx-mine: 1\r\n\r\n{}<open>"
    )


async def test_a_connection_closes_after_an_answer_that_says_so(serve: Serve, ask: bytes) -> None:
    def act(answer: Answer) -> None:
        answer.close_after()
        answer.send(401, b"application/json", b"{}")

    served = await acting(serve, act)
    said = await served.say(ask)
    assert b"connection: close\r\n" in said
    assert said.endswith(b"{}")


async def test_an_answer_that_was_not_ended_is_no_whole_one(serve: Serve, ask: bytes) -> None:
    def act(answer: Answer) -> None:
        answer.begin_stream()
        answer.write(b"data: 1\n\n")

    served = await acting(serve, act)
    said = await served.say(ask)
    assert said.endswith(b"9\r\ndata: 1\n\n\r\n")


async def test_writing_to_a_client_that_left_is_nothing(serve: Serve, ask: bytes) -> None:
    left = asyncio.Event()
    held: list[Answer] = []

    async def handle(request: Request) -> Answer:
        answer = Answer(request, b"")
        held.append(answer)
        answer.begin_stream()
        try:
            await asyncio.sleep(5)
        finally:
            left.set()
        return answer

    served = await serve(hot={"/act": handle})
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(ask)
    while not held:
        await asyncio.sleep(0.005)
    writer.close()
    await left.wait()
    assert held[0].gone
    held[0].write(b"late")
    held[0].end()
    held[0].abort()


async def test_a_client_that_reads_slowly_pauses_the_answer(serve: Serve, ask: bytes) -> None:
    paused: list[bool] = []

    async def handle(request: Request) -> Answer:
        answer = Answer(request, b"")
        answer.begin_stream()
        for _ in range(1000):
            answer.write(b"x" * 65536)
            if answer.paused:
                break
        paused.append(answer.paused)
        await answer.drained()
        paused.append(answer.paused)
        answer.end()
        return answer

    served = await serve(hot={"/act": handle}, bounds=DEFAULT_BOUNDS)
    said = await served.say(ask, wait=1)
    assert paused == [True, False]
    assert said.endswith(b"0\r\n\r\n<open>")


def test_the_date_is_formatted_once_a_second() -> None:
    dates = DateLine()
    first = dates.at(0)
    assert first == b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    assert dates.at(0) is first
    assert dates.at(1) == b"date: Thu, 01 Jan 1970 00:00:01 GMT\r\n"


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ("plain text, 100%", b"plain text, 100%"),
        ("a\r\nx-evil: b", b"a%0D%0Ax-evil: b"),
        ("漢", b"%E6%BC%A2"),
        ("\x00\x7f", b"%00%7F"),
        ("half \ud800", b"half %ED%A0%80"),
    ],
)
def test_no_value_makes_a_line_of_its_own(value: str, safe: bytes) -> None:
    assert header_value(value) == safe
    assert header_lines([("x-a", value)]) == b"x-a: " + safe + b"\r\n"
