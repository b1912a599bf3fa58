from __future__ import annotations

import asyncio
import logging

import pytest

from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.incoming import Incoming, Request
from apipod_proxy.edge.server import DEFAULT_BOUNDS
from apipod_proxy.errors import Unauthenticated
from tests.edge.conftest import Serve, Served, read_all


def post(body: bytes = b"abc", lines: bytes = b"", path: bytes = b"/hot") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (path, lines, len(body), body)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2].removesuffix(b"<open>")


async def test_plain_requests_never_reach_the_general_connection(serve: Serve) -> None:
    served = await serve()
    said = await served.say(post(b"one") + post(b"two") + post(b"three"), wait=0.2)
    assert said.count(b"HTTP/1.1 200 OK") == 3
    assert said.endswith(b"three<open>")
    assert served.front.requests_count == 0


async def test_a_head_that_comes_again_is_taken_with_its_new_length(serve: Serve) -> None:
    served = await serve()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for body in (b"a", b"bc" * 40, b"", b"d" * 9):
        writer.write(post(body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: %d\r\n" % len(body) in head
        assert await reader.readexactly(len(body)) == body
    writer.close()


@pytest.mark.parametrize(
    "lengths",
    [b"Content-Length: 3\r\nContent-Length: 3\r\n", b"Content-Length: 3x\r\n", b"Content-Length: \r\n"],
)
async def test_a_known_head_with_a_strange_length_is_read_by_the_general_parser(
    serve: Serve, lengths: bytes
) -> None:
    served = await serve()
    again = b"POST /hot HTTP/1.1\r\nHost: a\r\n" + lengths + b"\r\nabc"
    said = await served.say(post() + again)
    assert said.count(b"HTTP/1.1 200") == 1
    assert said.count(b" 400 Bad Request") == 1


async def test_a_body_in_pieces_is_put_together(serve: Serve) -> None:
    served = await serve()
    body = b"0123456789" * 30_000
    whole = post(body)
    said = await served.say(
        whole[:60], *(whole[at : at + 100_000] for at in range(60, len(whole), 100_000)), wait=0.3
    )
    assert body_of(said) == body


async def test_other_requests_go_on_with_the_general_connection(serve: Serve) -> None:
    served = await serve()
    said = await served.say(post(b"one") + post(b"two", path=b"/echo") + post(b"three"), wait=0.3)
    assert [body_of(part) for part in said.split(b"HTTP/1.1 200 OK\r\n")[1:]] == [b"one", b"two", b"three"]
    assert served.front.requests_count == 2


async def test_a_head_in_pieces_is_read_by_the_general_parser(serve: Serve) -> None:
    served = await serve()
    said = await served.say(post()[:30], post()[30:], wait=0.2)
    assert body_of(said) == b"abc"
    assert served.front.requests_count == 1


async def test_a_body_over_the_limit_is_refused_unread(serve: Serve) -> None:
    served = await serve(limit_mb=1)
    large = b"POST /hot HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n"
    for before in (b"", post()):
        said = await served.say(before + large)
        assert b"HTTP/1.1 413" in said
        assert not said.endswith(b"<open>")


async def test_a_body_that_stops_is_a_408(serve: Serve) -> None:
    served = await serve()
    said = await served.say(post(b"abc")[:-1], wait=2)
    assert said.startswith(b"HTTP/1.1 408")
    assert not said.endswith((b"<open>", b"<reset>"))


async def test_a_refused_client_hears_why_although_it_still_sends(serve: Serve) -> None:
    async def refuse(request: Request) -> Answer:
        answer = Answer(request, b"")
        answer.close_after()
        answer.send(401, b"text/plain", str(Unauthenticated(Unauthenticated.MISSING)).encode())
        return answer

    served = await serve(hot={"/no": refuse})
    said = await served.say(post(b"x" * 500_000, path=b"/no")[:100_000], b"x" * 20_000, pause=0.05)
    assert said.startswith(b"HTTP/1.1 401")
    assert not said.endswith((b"<open>", b"<reset>"))


async def test_a_flood_behind_a_refusal_is_cut(serve: Serve) -> None:
    async def refuse(request: Request) -> Answer:
        answer = Answer(request, b"")
        answer.send(401, b"text/plain", b"no")
        return answer

    served = await serve(hot={"/no": refuse}, limit_mb=10)
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
    await reader.readuntil(b"no")
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            writer.write(b"x" * 9000)
            await writer.drain()
            await asyncio.sleep(0)
    await settled(served)


async def settled(served: Served) -> None:
    async with asyncio.timeout(2):
        while served.front.doors:
            await asyncio.sleep(0.01)


class Slow:
    """A handler that outlasts its test unless it is cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Request) -> Answer:
        self.begun.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return Answer(request, b"")


async def test_a_client_that_leaves_cancels_its_request(serve: Serve) -> None:
    slow = Slow()
    served = await serve(hot={"/slow": slow})
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(post(path=b"/slow"))
    await slow.begun.wait()
    assert served.front.busy == 1
    writer.close()
    await asyncio.wait_for(slow.cancelled.wait(), 2)
    await settled(served)
    assert served.front.busy == 0


def busy_with_others(served: Served) -> None:
    """So many are before whoever comes now that it waits for a few hundred turns."""

    class Other:
        def start(self) -> None: ...

    for _ in range(20_000):
        served.front.turns.enter(Other())


@pytest.mark.parametrize("leaves", ["the client", "the server"])
async def test_a_request_that_has_not_had_its_turn_is_begun_before_it_is_cancelled(
    serve: Serve, leaves: str
) -> None:
    slow = Slow()
    served = await serve(hot={"/slow": slow})
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    await asyncio.sleep(0.02)
    busy_with_others(served)
    writer.write(post(path=b"/slow"))
    async with asyncio.timeout(2):
        while not served.front.busy:
            await asyncio.sleep(0)
    assert not slow.begun.is_set()
    if leaves == "the client":
        writer.close()
    else:
        await served.front.shutdown(0.5)
    await asyncio.wait_for(slow.cancelled.wait(), 2)
    assert slow.begun.is_set()
    await settled(served)
    writer.close()


async def test_what_is_sent_ahead_waits_for_its_turn(serve: Serve) -> None:
    go = asyncio.Event()
    seen: list[bytes] = []

    async def slow(request: Request) -> Answer:
        assert isinstance(request, Incoming)
        seen.append(request.whole or b"")
        await go.wait()
        answer = Answer(request, b"")
        answer.send(200, b"text/plain", request.whole or b"")
        return answer

    served = await serve(hot={"/slow": slow})
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(post(b"1", path=b"/slow"))
    await asyncio.sleep(0.05)
    writer.write(post(b"2", path=b"/slow") + post(b"3", path=b"/slow"))
    await asyncio.sleep(0.05)
    assert seen == [b"1"]
    go.set()
    said = await read_all(reader, 0.2)
    assert seen == [b"1", b"2", b"3"]
    assert said.count(b"200 OK") == 3
    writer.close()


async def test_a_handler_that_fails_costs_its_own_connection_only(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: Request) -> Answer:
        raise RuntimeError("books")

    served = await serve(hot={"/broken": broken})
    with caplog.at_level(logging.ERROR):
        assert await served.say(post(path=b"/broken")) == b""
    assert "outside of its handler" in caplog.text
    assert body_of(await served.say(post(), wait=0.1)) == b"abc"


async def test_idle_connections_are_closed_in_time(serve: Serve) -> None:
    bounds = DEFAULT_BOUNDS._replace(head_seconds=0.05, keepalive_seconds=0.4)
    served = await serve(bounds=bounds)
    silent = await served.say(b"", wait=1)
    assert silent == b""
    answered = await served.say(post(), wait=0.2)
    assert answered.endswith(b"abc<open>")
    assert (await served.say(post(), wait=2)).endswith(b"abc")


async def test_a_stopping_front_answers_what_runs_and_closes(serve: Serve) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Answer:
        begun.set()
        await go.wait()
        answer = Answer(request, b"")
        answer.send(200, b"text/plain", b"done")
        return answer

    served = await serve(hot={"/slow": slow})
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", served.port)
    idle_writer.write(post())
    await idle_reader.readuntil(b"abc")
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(post(path=b"/slow"))
    await begun.wait()
    served.front.close_idle()
    assert await read_all(idle_reader) == b""
    late = await served.say(post(), wait=0.5)
    assert b"connection: close\r\n" in late
    assert late.endswith(b"abc")
    go.set()
    assert (await read_all(reader)).endswith(b"done")
    for each in (idle_writer, writer):
        each.close()


async def test_shutting_a_front_cancels_what_still_runs(serve: Serve) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def endless(request: Request) -> Answer:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Answer(request, b"")

    served = await serve(hot={"/endless": endless})
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(post(path=b"/endless"))
    await begun.wait()
    await served.front.shutdown(1.0)
    assert cancelled.is_set()
    assert await read_all(reader) in (b"", b"<reset>")
    writer.close()
