"""The endpoints of pictures through a whole server, and what they make of requests and answers."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import orjson
import pytest

from apipod_proxy.errors import BadRequest, UpstreamBroken
from apipod_proxy.pictures import picture_in, to_chat, to_image
from apipod_proxy.simulator import Simulator
from apipod_proxy.simulator.others import PNG
from apipod_proxy.upstream.hosts import Unfetchable
from apipod_proxy.upstream.media import Fetched
from tests.fakes.server import Do, answer
from tests.gateway.conftest import Rig, Serve, Upstreams, serve, upstream
from tests.gateway.conftest import catalog as routed
from tests.test_inlining import Site, rig, simulator, site

__all__ = ["rig", "serve", "simulator", "site", "upstream"]

PIXEL = base64.b64decode(PNG)
JSON = b"Content-Type: application/json\r\n"


@pytest.mark.parametrize("name", ["prompt", "inputs"])
async def test_a_picture_is_answered_as_such(rig: Rig, simulator: Simulator, name: str) -> None:
    got, picture = await rig.ask({"model": "chat/dall-e-3", name: "A cat", "n": 3}, "/image")
    assert (got.status, got.headers["content-type"], picture) == (200, "image/png", PIXEL)
    assert got.headers["x-apipod-provider"] == "chat"
    assert simulator.requests[-1].body == {"model": "dall-e-3", "prompt": "A cat"}
    row = await rig.row()
    assert (row["path"], row["outcome"], row["status"], row["output_tokens"]) == ("/image", "ok", 200, 272)


async def test_a_picture_by_url_is_fetched(serve: Serve, upstream: Upstreams, site: Site) -> None:
    told = orjson.dumps({"data": [{"url": f"{site.origin}/a.png"}]})
    painter = await upstream([Do.REQUEST, answer(told, headers=JSON), Do.AGAIN])
    rig = await serve(routed(painter), trusted_media=frozenset({site.origin}))
    got, picture = await rig.ask({"model": "x", "prompt": "A cat"}, "/image")
    assert (got.headers["content-type"], picture) == ("image/png", PIXEL)


@pytest.mark.parametrize(
    "told",
    [
        {"data": [{"url": "http://169.254.169.254/latest"}]},
        {"data": [{"b64_json": "?"}]},
        {"data": [{}]},
        {"data": []},
        {"data": [5]},
        {},
    ],
)
async def test_an_answer_without_a_picture_is_an_error(serve: Serve, upstream: Upstreams, told: Any) -> None:
    painter = await upstream([Do.REQUEST, answer(orjson.dumps(told), headers=JSON), Do.AGAIN])
    rig = await serve(routed(painter))
    got, body = await rig.ask({"model": "x", "prompt": "A cat"}, "/image")
    assert got.status == 502 and b"169.254" not in body
    row = await rig.row()
    assert (row["status"], row["outcome"]) == (502, "failed")


async def test_a_picture_is_described(rig: Rig, simulator: Simulator, site: Site) -> None:
    asked: dict[str, dict[str, Any]] = {
        "chat/m": {"image": PNG},
        "gem/m": {"image_url": f"{site.origin}/a.png", "prompt": "What is it?"},
        "ant/m": {"image": f"data:image/png;base64,{PNG}", "max_tokens": 50},
    }
    for model, given in asked.items():
        got, body = await rig.ask({"model": model, **given}, "/v1/images/text")
        told = orjson.loads(body)
        assert got.status == 200, body
        assert "image/png" in told["text"] and told["model"] == model
        assert told["usage"]["prompt_tokens"] > 0
    assert simulator.requests[-1].body["max_tokens"] == 50
    assert len(await rig.rows(3)) == 3


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/image", {"model": "chat/m"}, "prompt"),
        ("/image", {"model": "chat/m", "inputs": 5}, "inputs"),
        ("/image", {"prompt": "x"}, "model"),
        ("/v1/images/text", {"model": "chat/m"}, "image_url"),
        ("/v1/images/text", {"image": PNG}, "model"),
        ("/v1/images/text", {"model": "chat/m", "image": "?"}, "image"),
        ("/v1/images/text", {"model": "chat/m", "image": "AAAA"}, "image"),
        ("/v1/images/text", {"model": "gem/m", "image_url": "http://localhost/"}, "image_url"),
        ("/v1/images/text", {"model": "gem/m", "image_url": {"url": 4}}, "image_url"),
    ],
)
async def test_a_wrong_request_is_told_where_it_is_wrong(rig: Rig, path: str, body: Any, param: str) -> None:
    got, told = await rig.ask(body, path)
    assert (got.status, orjson.loads(told)["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"choices": [{"message": {"content": [{"type": "text", "text": "A "}, {"text": "cat"}]}}]}, "A cat"),
        ({"choices": [{"message": {"content": None, "refusal": "No."}}]}, "No."),
        ({"choices": [{"message": {"content": [5]}}]}, None),
        ({"choices": [{"message": None}]}, None),
        ({"choices": []}, None),
        ({}, None),
    ],
)
async def test_a_description_is_taken_from_whatever_a_provider_answers(
    serve: Serve, upstream: Upstreams, told: Any, text: str | None
) -> None:
    writer = await upstream([Do.REQUEST, answer(orjson.dumps(told), headers=JSON), Do.AGAIN])
    rig = await serve(routed(writer))
    got, body = await rig.ask({"model": "x", "image": PNG}, "/v1/images/text")
    if text is None:
        assert got.status == 502, body
        assert (await rig.row())["outcome"] == "failed"
    else:
        assert (got.status, orjson.loads(body)["text"]) == (200, text)


async def test_every_form_of_an_answer_is_understood() -> None:
    async def fetch(url: str) -> Fetched:
        if url != "https://pics.org/a":
            raise Unfetchable("no")
        return Fetched(PIXEL, "image/png")

    for entry in (
        {"b64_json": PNG},
        {"b64_json": f"data:image/png;base64,{PNG}"},
        {"url": f"data:image/webp;base64,{PNG}"},
        {"url": "https://pics.org/a"},
    ):
        picture = await picture_in(fetch, orjson.dumps({"data": [entry]}))
        assert picture == (PIXEL, "image/png")
    with pytest.raises(UpstreamBroken):
        await picture_in(fetch, orjson.dumps({"data": [{"url": "https://pics.org/b"}]}))


def test_requests_are_rewritten() -> None:
    whole = {"model": "m", "prompt": "a", "inputs": "b", "size": "1x1", "stream": True}
    assert orjson.loads(to_image(orjson.dumps(whole))) == {"model": "m", "prompt": "a", "size": "1x1"}
    chat = orjson.loads(to_chat(orjson.dumps({"model": "m", "image_url": {"url": "https://a.org/b"}})))
    assert chat["messages"][0]["content"][1]["image_url"] == {"url": "https://a.org/b"}
    with pytest.raises(BadRequest):
        to_chat(b"[]")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/image"])
async def test_a_client_that_leaves_during_a_fetch_leaves_nothing_behind(
    serve: Serve, upstream: Upstreams, path: str
) -> None:
    slow, left = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slow.set()
        while await reader.read(4096):
            pass
        left.set()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        told = orjson.dumps({"data": [{"url": f"{origin}/a.png"}]})
        painter = await upstream([Do.REQUEST, answer(told, headers=JSON), Do.AGAIN])
        rig = await serve(routed(painter), trusted_media=frozenset({origin}))
        body = {"model": "x", "prompt": "A cat"}
        if path != "/image":
            part = {"type": "file_url", "file_url": f"{origin}/a.png"}
            body = {"model": "x", "messages": [{"role": "user", "content": [part]}]}  # type: ignore[dict-item]
        asking = asyncio.create_task(rig.ask(body, path))
        async with asyncio.timeout(5):
            await slow.wait()
            asking.cancel()
            await left.wait()
        row = await rig.row()
        assert (row["outcome"], row["status"]) == ("cancelled", 499)
        assert not any(rig.gauges().values())
