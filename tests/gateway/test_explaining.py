"""Why a request goes where it goes: in a header for admins, and from the admin API without sending anything."""

from __future__ import annotations

from typing import Any

import orjson

from tests.gateway.conftest import (
    ADMIN,
    HELLO,
    KEY,
    Body,
    Rig,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    refuses,
    streams,
)

AS_ADMIN = {"authorization": f"Bearer {ADMIN}", "x_apipod_explain": "1"}


async def explain(rig: Rig, status: int = 200, **asked: Any) -> Body:
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with rig.client.post(
        rig.url + "/admin/route/explain", data=orjson.dumps(asked), headers=headers
    ) as answer:
        assert answer.status == status, await answer.text()
        told: Body = await answer.json()
        return told


async def test_an_admin_who_asks_is_told_the_ranking(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(refuses(401)), await upstream(streams(*HELLO), answers())))
    for stream in (True, False):
        answer, _ = await rig.ask(chat(stream), **AS_ADMIN)
        assert answer.status == 200
        told = orjson.loads(answer.headers["x-apipod-explain"])
        assert told["strategy"] == "priority"
        if stream:
            assert [one["model"] for one in told["candidates"]] == ["m0", "m1"]
    # The first one's credential was refused in between.
    assert [(one["model"], one["usable"]) for one in told["candidates"]] == [("m1", True), ("m0", False)]
    assert "account disabled" in told["candidates"][1]["reasons"][0]


async def test_nobody_else_is_told(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(answers())))
    answer, _ = await rig.ask(chat(), x_apipod_explain="1")
    assert "x-apipod-explain" not in answer.headers
    answer, _ = await rig.ask(chat(), authorization=f"Bearer {ADMIN}")
    assert "x-apipod-explain" not in answer.headers


async def test_a_failed_request_is_explained_too(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(refuses(500))))
    answer, _ = await rig.ask(chat(), **AS_ADMIN)
    assert answer.status == 502
    assert "m0" in answer.headers["x-apipod-explain"]


async def test_the_admin_api_explains_without_sending_anything(serve: Serve, upstream: Upstreams) -> None:
    server = await upstream(answers())
    config = catalog(server, server)
    config["models"]["m0"]["capabilities"] = ["tools"]
    rig = await serve(config)
    told = await explain(rig, model="x", user="u")
    assert [one["model"] for one in told["candidates"]] == ["m0", "m1"]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    request = {"messages": [{"role": "user", "content": [image]}]}
    told = await explain(rig, model="x", subscription="s", request=request)
    assert [(one["model"], one["usable"]) for one in told["candidates"]] == [("m1", True), ("m0", False)]
    assert "vision" in told["candidates"][1]["reasons"][0]
    gemini = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    told = await explain(rig, model="x", key=KEY[:12], provider="p1", dialect="gemini", request=gemini)
    assert [one["model"] for one in told["candidates"]] == ["m1"]
    assert not server.peers


async def test_what_cannot_be_explained_is_told_by_name(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(answers())))
    assert "$.model" in (await explain(rig, 400))["error"]["message"]
    assert "$.modle" in (await explain(rig, 400, modle="x"))["error"]["message"]
    assert "$.dialect" in (await explain(rig, 400, model="x", dialect="latin"))["error"]["message"]
    assert "$.request" in (await explain(rig, 400, model="x", request=1))["error"]["message"]
    assert "$.user" in (await explain(rig, 400, model="x", user=1))["error"]["message"]
    for who in ("key", "user", "subscription"):
        await explain(rig, 404, model="x", **{who: "nobody"})
    await explain(rig, 404, model="unknown")
