from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from apipod_proxy.dialect.tap import Tap
from apipod_proxy.dialect.vocabulary import Failure
from apipod_proxy.errors import Kind, ShuttingDown, Unreachable, UpstreamBroken, UpstreamStatus
from apipod_proxy.stream import pump as pump_module
from apipod_proxy.stream.lens import IdentityLens
from apipod_proxy.stream.outlet import Outlet
from apipod_proxy.stream.pump import (
    ERROR_BYTES,
    HOLD_BYTES,
    StreamPump,
    WholePump,
    failure_error,
    is_json,
)
from tests.stream.build import Call, Client, Frames

SSE = [(b"content-type", b"text/event-stream")]
JSON = [(b"content-type", b"application/json; charset=utf-8")]


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


ROLE = event(b'{"model":"up","choices":[{"index":0,"delta":{"role":"assistant"}}]}')
TEXT = event(b'{"model":"up","choices":[{"index":0,"delta":{"content":"Hi"}}]}')
FINISH = event(b'{"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
DONE = event(b"[DONE]")
ERROR = event(b'{"error":{"message":"overloaded","code":529}}')


@dataclass
class Bench:
    client: Client
    outlet: Outlet
    call: Call
    pump: StreamPump

    @property
    def text(self) -> bytes:
        return b"".join(self.client.written)


def bench(outlet: Outlet | None = None) -> Bench:
    client, call = Client(), Call()
    loop = asyncio.get_running_loop()
    outlet = outlet or Outlet(client, Frames(), None, loop)
    pump = StreamPump(outlet, IdentityLens(Tap("openai_chat", "x")), loop)
    pump.call = call
    pump.head(200, SSE)
    return Bench(client, outlet, call, pump)


async def test_nothing_is_sent_before_content_comes_and_then_everything_in_order() -> None:
    b = bench()
    b.pump.body(ROLE)
    assert not b.client.begun
    b.pump.body(TEXT)
    assert b.text == (ROLE + TEXT).replace(b'"up"', b'"x"')
    assert b.pump.started
    assert b.pump.first_content_at is not None


async def test_a_whole_stream_ends_whole_and_keeps_its_connection() -> None:
    b = bench()
    for piece in (ROLE, TEXT, FINISH, DONE):
        b.pump.body(piece)
    b.pump.end()
    await asyncio.wait_for(b.pump.waiter, 1)
    assert (b.client.ended, b.pump.error, b.call.aborted) == (1, None, False)
    assert b.text.endswith(DONE)


async def test_an_upstream_that_does_not_end_its_message_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pump_module, "LINGER_SECONDS", 0.02)
    b = bench()
    for piece in (TEXT, FINISH, DONE):
        b.pump.body(piece)
    await asyncio.wait_for(b.pump.waiter, 1)
    assert (b.client.ended, b.pump.error, b.call.aborted) == (1, None, True)


async def test_a_reset_after_the_end_is_no_error() -> None:
    b = bench()
    for piece in (TEXT, FINISH, DONE):
        b.pump.body(piece)
    b.pump.failed(UpstreamBroken("reset"))
    await asyncio.wait_for(b.pump.waiter, 1)
    assert (b.client.ended, b.pump.error) == (1, None)


@pytest.mark.parametrize("content", [False, True])
async def test_a_cut_is_an_error_before_and_after_content(content: bool) -> None:
    b = bench()
    b.pump.body(TEXT if content else ROLE)
    b.pump.end()
    await asyncio.wait_for(b.pump.waiter, 1)
    assert isinstance(b.pump.error, UpstreamBroken)
    assert (b.client.ended, b.client.begun) == (0, content)


async def test_the_reason_why_the_connection_broke_is_the_error() -> None:
    b = bench()
    reason = Unreachable("request")
    b.pump.failed(reason)
    await asyncio.wait_for(b.pump.waiter, 1)
    assert b.pump.error is reason


@pytest.mark.parametrize("content", [False, True])
async def test_an_error_event_ends_the_attempt_and_its_request(content: bool) -> None:
    b = bench()
    b.pump.body(TEXT if content else ROLE)
    b.pump.body(ERROR)
    await asyncio.wait_for(b.pump.waiter, 1)
    assert isinstance(b.pump.error, UpstreamStatus)
    assert b.pump.error.upstream_status == 529
    assert b.call.aborted
    assert b"overloaded" not in b.text


async def test_an_error_event_behind_the_last_newline_is_seen_at_the_end() -> None:
    b = bench()
    b.pump.body(ERROR.rstrip())
    b.pump.end()
    await asyncio.wait_for(b.pump.waiter, 1)
    assert isinstance(b.pump.error, UpstreamStatus)


async def test_no_more_than_so_much_is_held_back() -> None:
    b = bench()
    filler = event(b'{"model":"up","choices":[],"note":"' + b"x" * 1000 + b'"}')
    for _ in range(HOLD_BYTES // len(filler)):
        b.pump.body(filler)
    assert b.text == b""
    b.pump.body(filler)
    assert b.client.begun
    assert b.pump.received == b.outlet.sent


async def test_who_comes_second_is_given_up() -> None:
    first = bench()
    second = bench(first.outlet)
    first.pump.body(TEXT)
    second.pump.body(TEXT)
    await asyncio.wait_for(second.pump.waiter, 1)
    assert isinstance(second.pump.error, UpstreamBroken)
    assert second.call.aborted
    assert not first.call.aborted


async def test_an_error_status_is_collected_and_not_streamed() -> None:
    b = bench()
    b.pump.head(503, JSON)
    b.pump.body(b'{"error":')
    b.pump.body(b"{}}")
    b.pump.end()
    await asyncio.wait_for(b.pump.waiter, 1)
    assert (b.pump.collected, b.pump.error, b.pump.is_stream) == (b'{"error":{}}', None, False)
    assert b.pump.received == 12


async def test_a_stream_that_is_called_json_is_streamed() -> None:
    b = bench()
    b.pump.head(200, JSON)
    for piece in (ROLE, TEXT, FINISH, DONE):
        b.pump.body(piece)
    b.pump.end()
    assert b.pump.is_stream
    assert b.text == (ROLE + TEXT + FINISH + DONE).replace(b'"up"', b'"x"')


@pytest.mark.parametrize(("status", "body"), [(200, b'{"choices":[]}'), (503, TEXT)])
async def test_a_whole_answer_to_who_asked_for_a_stream_is_held(status: int, body: bytes) -> None:
    b = bench()
    b.pump.head(status, JSON)
    b.pump.body(body[:5])
    b.pump.body(body[5:])
    b.pump.end()
    assert (b.pump.is_stream, b.pump.collected, b.text) == (False, body, b"")


async def test_an_error_without_end_is_not_collected_without_end() -> None:
    b = bench()
    b.pump.head(503, JSON)
    for _ in range(3):
        b.pump.body(b"x" * ERROR_BYTES)
    assert isinstance(b.pump.error, UpstreamBroken)
    assert b.call.aborted


async def test_it_can_be_given_up_from_outside() -> None:
    b = bench()
    b.pump.body(TEXT)
    b.pump.give_up(ShuttingDown())
    await asyncio.wait_for(b.pump.waiter, 1)
    assert isinstance(b.pump.error, ShuttingDown)
    assert b.call.aborted


def whole(status: int = 200) -> WholePump:
    pump = WholePump(asyncio.get_running_loop())
    pump.call = Call()
    pump.head(status, JSON)
    return pump


async def test_a_whole_answer_is_held_until_its_end() -> None:
    pump = whole()
    pump.body(b"a")
    pump.body(b"b")
    assert not pump.waiter.done()
    pump.end()
    assert (pump.collected, pump.received, pump.error) == (b"ab", 2, None)


async def test_a_whole_answer_that_is_cut_is_an_error() -> None:
    pump = whole()
    pump.body(b"a")
    pump.failed(UpstreamBroken("cut"))
    assert isinstance(pump.error, UpstreamBroken)


async def test_of_a_long_error_the_beginning_is_enough() -> None:
    pump = whole(500)
    pump.body(b"x" * (ERROR_BYTES + 1))
    assert pump.waiter.done()
    assert pump.error is None


async def test_a_whole_answer_without_end_is_given_up() -> None:
    pump = whole()
    piece = b"x" * (8 << 20)
    for _ in range(9):
        pump.body(piece)
    assert isinstance(pump.error, UpstreamBroken)


@pytest.mark.parametrize(
    ("kind", "json"),
    [
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"text/event-stream", False),
        (b"application/x-ndjson", False),
        (b"text/html", False),
    ],
)
def test_json_is_told_by_its_content_type(kind: bytes, json: bool) -> None:
    assert is_json([(b"server", b"x"), (b"content-type", kind)]) is json


def test_without_a_content_type_it_is_no_json() -> None:
    assert not is_json([(b"server", b"x")])


def test_a_failure_in_a_stream_is_as_if_it_had_come_with_a_status() -> None:
    error = failure_error(Failure(message="slow down", kind="rate_limit", status=429, retry_after=2.5))
    assert (error.upstream_status, error.kind, error.retry_after) == (429, Kind.RATE_LIMIT, 3)
    assert (error.status, error.retryable) == (429, True)
    assert failure_error(Failure(message="?", kind="what")).kind is Kind.UPSTREAM
    rejected = failure_error(Failure("no", "invalid_request", 400))
    assert (rejected.status, rejected.retryable) == (400, False)
    doubtful = failure_error(Failure("no", "quota", 400))
    assert (doubtful.status, doubtful.retryable) == (502, True)
