"""What still runs when the grace of a shutdown is over is told so."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson
import pytest

from tests.fakes.server import Do
from tests.gateway.conftest import (
    HELLO,
    Rig,
    Serve,
    Upstreams,
    catalog,
    chat,
    events,
    head,
    piece,
    refuses,
    until,
)


async def assert_told(rig: Rig, asked: asyncio.Task[tuple[aiohttp.ClientResponse, bytes]]) -> None:
    rig.server.gateway.interrupt()
    answer, body = await asked
    assert answer.status == 503
    assert orjson.loads(body)["error"]["code"] == "shutting_down"
    assert answer.headers["retry-after"] == "1"
    await until(lambda: set(rig.gauges().values()) == {0})


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_without_content_yet_is_refused(
    serve: Serve, upstream: Upstreams, stream: bool
) -> None:
    server = await upstream([Do.REQUEST, Do.STALL])
    rig = await serve(catalog(server))
    asked = asyncio.create_task(rig.ask(chat(stream)))
    await until(lambda: server.received)
    await assert_told(rig, asked)
    await server.peers[0].closed(0.5)


async def test_a_stream_ends_with_an_error_event(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream([Do.REQUEST, head(), piece(HELLO[1]), Do.STALL])))
    async with rig.post(chat(True)) as answer:
        await answer.content.readline()
        rig.server.gateway.interrupt()
        body = await answer.content.read()
    assert orjson.loads(events(body)[-1])["error"]["code"] == "shutting_down"
    assert b"[DONE]" not in body
    assert (await rig.row())["outcome"] == "stopped"


async def test_a_request_that_waits_for_room_is_refused(serve: Serve, upstream: Upstreams) -> None:
    config = catalog(await upstream([Do.REQUEST, Do.STALL]), route={"max_wait": 30})
    config["models"]["m0"]["limits"] = {"concurrency": 1}
    rig = await serve(config)
    first = asyncio.create_task(rig.ask(chat()))
    await until(lambda: rig.gauges().get(("model", "m0")) == 1)
    second = asyncio.create_task(rig.ask(chat()))
    await until(lambda: rig.server.limits.waiting("s x") == 1)
    await assert_told(rig, second)
    await first


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_a_request_in_the_pause_before_a_repeat_is_refused(
    serve: Serve, upstream: Upstreams, path: str
) -> None:
    server = await upstream(refuses(500))
    rig = await serve(catalog(server, retries={"attempts": 3, "base": 60, "max": 60}))
    asked = asyncio.create_task(rig.ask({**chat(), "input": "Hi"}, path))
    await until(lambda: rig.server.upstream_health.status(0))
    await assert_told(rig, asked)


async def test_who_comes_later_is_refused(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream([Do.REQUEST, Do.STALL])))
    rig.server.gateway.interrupt()
    answer, body = await rig.ask(chat())
    assert (answer.status, orjson.loads(body)["error"]["code"]) == (503, "shutting_down")
