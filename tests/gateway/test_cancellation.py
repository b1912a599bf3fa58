"""A client that leaves: its request upstream ends at once, what it took is given back, and what it used is booked."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.fakes.server import Do, Script, ScriptedServer
from tests.gateway.conftest import (
    HELLO,
    KEY,
    Rig,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    chunk,
    event,
    head,
    message,
    piece,
    refuses,
    streams,
    until,
)

SOON = 0.1
"""Seconds within which the upstream request of a client that left is gone."""


async def leave(rig: Rig, body: object, path: str, server: ScriptedServer, seen: bytes = b"") -> None:
    """Ask on a socket of its own, leave once the provider has the request and ``seen`` has come, and see the provider left."""
    data = orjson.dumps(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    await until(lambda: any(peer.received for peer in server.peers))
    if seen:
        await asyncio.wait_for(reader.readuntil(seen), 2)
    else:
        await asyncio.sleep(0.05)
    assert not server.peers[-1].lost.is_set()
    writer.transport.abort()
    await server.peers[-1].closed(SOON)


async def settled(rig: Rig) -> None:
    """Everything that was taken is back."""
    await until(lambda: set(rig.gauges().values()) == {0})
    assert rig.server.gateway.open_streams == 0


PLACES: dict[str, tuple[Script, bool, bytes]] = {
    "before the head": ([Do.REQUEST, Do.STALL], True, b""),
    "before the head of a whole answer": ([Do.REQUEST, Do.STALL], False, b""),
    "before the first byte": ([Do.REQUEST, head(), Do.STALL], True, b""),
    "before the first content": ([Do.REQUEST, head(), piece(chunk()), Do.STALL], True, b""),
    "in the middle": ([Do.REQUEST, head(), piece(chunk("Hel")), Do.STALL], True, b"Hel"),
    "in the middle of a whole answer": (
        [
            Do.REQUEST,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
            Do.STALL,
        ],
        False,
        b"",
    ),
}


@pytest.mark.parametrize(
    ("path", "last"), [("/v1/chat/completions", b"[DONE]"), ("/v1/messages", b"message_stop")]
)
async def test_a_client_that_leaves_behind_the_last_event_has_had_its_answer(
    serve: Serve, upstream: Upstreams, path: str, last: bytes
) -> None:
    server = await upstream(streams(*HELLO, close=Do.STALL))
    rig = await serve(catalog(server))
    await leave(rig, message(True) if path == "/v1/messages" else chat(True), path, server, last)
    row = await rig.row()
    assert (row["outcome"], row["status"], row["output_tokens"], row["estimated"]) == ("ok", 200, 3, 0)
    assert row["attempts"][0]["outcome"] == "ok"
    await settled(rig)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("place", PLACES)
async def test_a_client_that_leaves_ends_its_request_upstream(
    serve: Serve, upstream: Upstreams, place: str, path: str
) -> None:
    script, stream, seen = PLACES[place]
    server = await upstream(script)
    rig = await serve(catalog(server, timeouts={"connect": 1, "first_byte": 10, "idle": 10}))
    await leave(rig, chat(stream) if "chat" in path else message(stream), path, server, seen)
    row = await rig.row()
    assert row["outcome"] == "cancelled"
    assert row["status"] == (200 if seen else 499)
    assert row["estimated"] == 1
    assert row["input_tokens"] > 0
    assert row["provider"] == "p0"
    assert [attempt["outcome"] for attempt in row["attempts"]] == ["cancelled"]
    await settled(rig)
    # It was nobody's failure.
    assert rig.server.upstream_health.breakers(0)["open"] == 0


async def test_usage_that_was_reported_before_the_client_left_is_what_is_booked(
    serve: Serve, upstream: Upstreams
) -> None:
    start = event(
        {
            "id": "c",
            "model": "up",
            "choices": [{"index": 0, "delta": {"content": "Hel"}}],
            "usage": {"prompt_tokens": 77, "completion_tokens": 33},
        }
    )
    server = await upstream([Do.REQUEST, head(), piece(start), Do.STALL])
    rig = await serve(catalog(server))
    await leave(rig, chat(True), "/v1/chat/completions", server, b"Hel")
    row = await rig.row()
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (77, 33, 0)
    assert row["cost_nano"] == 77 * 1000 + 33 * 2000


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_while_connecting_leaves_nothing_behind(
    serve: Serve, deaf: str, stream: bool
) -> None:
    rig = await serve(catalog(deaf, timeouts={"connect": 10, "first_byte": 1, "idle": 1}))
    asked = asyncio.create_task(rig.ask(chat(stream)))
    await until(lambda: any(rig.gauges().values()))
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    row = await rig.row()
    assert (row["outcome"], row["input_tokens"], row["attempts"][0].get("usage")) == ("cancelled", 0, None)
    assert (row["cost_nano"], row["estimated"]) == (0, 0)
    await settled(rig)


async def test_a_client_that_leaves_in_the_pause_before_a_repeat_is_not_asked_for_again(
    serve: Serve, upstream: Upstreams
) -> None:
    server = await upstream(refuses(503))
    rig = await serve(catalog(server, retries={"attempts": 3, "base": 60, "max": 60}))
    asked = asyncio.create_task(rig.ask(chat()))
    await until(lambda: rig.server.upstream_health.status(0))
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    row = await rig.row()
    assert (row["outcome"], [attempt["outcome"] for attempt in row["attempts"]]) == (
        "cancelled",
        ["status 503"],
    )
    await settled(rig)


async def test_a_client_that_leaves_while_it_is_pinged_ends_its_request_upstream(
    serve: Serve, upstream: Upstreams
) -> None:
    server = await upstream([Do.REQUEST, Do.STALL])
    rig = await serve(
        catalog(server, timeouts={"connect": 1, "first_byte": 10, "idle": 10}), PING_SECONDS="0.05"
    )
    await leave(
        rig,
        chat(True),
        "/v1/chat/completions",
        server,
        b": ping\n\n",
    )
    assert (await rig.row())["outcome"] == "cancelled"
    await settled(rig)


async def test_a_whole_answer_that_came_before_the_client_left_is_served(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(catalog(await upstream(answers())))
    for _ in range(3):
        await rig.ask(chat())
    assert [row["outcome"] for row in await rig.rows(3)] == ["ok"] * 3
    await settled(rig)


async def test_a_hundred_clients_that_leave_give_everything_back(serve: Serve, upstream: Upstreams) -> None:
    server = await upstream(streams(*(chunk("x") for _ in range(1000)), gap=0.01))
    rig = await serve(catalog(server, limits={"concurrency": 100}, pool={"max_connections": 200}))
    asked = [asyncio.create_task(rig.ask(chat(True))) for _ in range(45)]
    await until(lambda: rig.server.gateway.open_streams == 45)
    await asyncio.sleep(0.05)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await until(lambda: all(peer.lost.is_set() for peer in server.peers))
    rows = await rig.rows(45)
    assert {row["outcome"] for row in rows} == {"cancelled"}
    await settled(rig)
