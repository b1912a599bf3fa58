"""Through the whole gateway, in front of a fake of GigaChat: its tokens, its functions, its errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.serve.conftest import KEY, Gateway, Launch, chat, client, launch, simulator

__all__ = ["client", "launch", "simulator"]

STATE = "77d3fb14-457a-46ba-937e-8d856156d003"
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


class FakeGigaChat:
    def __init__(self) -> None:
        self.sold = 0
        self.asked: list[dict[str, Any]] = []
        self.stale = False
        self.url = ""

    async def sell(self, request: web.Request) -> web.Response:
        form = await request.post()
        if (
            request.headers.get("authorization") != "Basic aWQ6c2VjcmV0"
            or form["scope"] != "GIGACHAT_API_CORP"
        ):
            return web.json_response(
                {"code": 4, "message": "Can't decode 'Authorization' header"}, status=400
            )
        self.sold += 1
        return web.json_response(
            {"access_token": f"token-{self.sold}", "expires_at": round((time.time() + 1800) * 1000)}
        )

    async def chat(self, request: web.Request) -> web.StreamResponse:
        given = request.headers.get("authorization")
        if given != f"Bearer token-{self.sold}" or (self.stale and self.sold == 1):
            return web.json_response({"status": 401, "message": "Token has expired"}, status=401)
        body = orjson.loads(await request.read())
        self.asked.append(body)
        base = {"created": 1, "model": "GigaChat:2.0", "object": "chat.completion"}
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "precached_prompt_tokens": 2}
        said: dict[str, Any] = {"role": "assistant", "content": "Привет"}
        reason = "stop"
        if body.get("functions") and body["messages"][-1]["role"] != "function":
            call = {"name": "weather", "arguments": {"city": "Москва"}}
            said = {"role": "assistant", "content": "", "function_call": call, "functions_state_id": STATE}
            reason = "function_call"
        if not body["stream"]:
            choice = {"index": 0, "message": said, "finish_reason": reason}
            return web.json_response({**base, "choices": [choice], "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        chunks = [{"choices": [{"index": 0, "delta": said}]}]
        chunks.append({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": reason}]})
        for chunk in ({**base, **chunks[0]}, {**base, **chunks[1], "usage": usage}):
            await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    async def embed(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer token-{self.sold}":
            return web.json_response({"status": 401, "message": "Unauthorized"}, status=401)
        body = orjson.loads(await request.read())
        self.asked.append(body)
        if not isinstance(body["input"], list):
            return web.json_response({"status": 422, "message": "input: must be a list"}, status=422)
        data = [
            {"object": "embedding", "index": index, "embedding": [0.5, -1.0], "usage": {"prompt_tokens": 3}}
            for index, _ in enumerate(body["input"])
        ]
        return web.json_response({"object": "list", "model": "Embeddings", "data": data})


@pytest.fixture
async def giga() -> AsyncIterator[FakeGigaChat]:
    fake = FakeGigaChat()
    app = web.Application()
    app.router.add_post("/api/v2/oauth", fake.sell)
    app.router.add_post("/api/v1/chat/completions", fake.chat)
    app.router.add_post("/api/v1/embeddings", fake.embed)
    async with TestServer(app) as server:
        fake.url = str(server.make_url("")).rstrip("/")
        yield fake


async def begin(launch: Launch, giga: FakeGigaChat, key: str = "id:secret") -> Gateway:
    provider = {
        "type": "gigachat",
        "base_url": f"{giga.url}/api/v1",
        "api_key": key,
        "options": {"auth_url": f"{giga.url}/api/v2/oauth", "scope": "GIGACHAT_API_CORP"},
    }
    return await launch(
        changes={
            "providers": {"giga": provider},
            "models": {"giga": {"provider": "giga", "upstream_model": "GigaChat-2"}},
            "subscriptions": {"all": {"routes": {"*": {}}}},
        }
    )


async def ask(client: aiohttp.ClientSession, gateway: Gateway, **fields: Any) -> dict[str, Any]:
    async with client.post(f"{gateway.base}/v1/chat/completions", json=chat("giga", **fields)) as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def test_one_token_serves_many_requests(
    launch: Launch, client: aiohttp.ClientSession, giga: FakeGigaChat
) -> None:
    gateway = await begin(launch, giga)
    answers = await asyncio.gather(*(ask(client, gateway) for _ in range(10)))
    assert {answer["choices"][0]["message"]["content"] for answer in answers} == {"Привет"}
    assert giga.sold == 1
    assert answers[0]["usage"]["prompt_tokens"] == 9


async def test_a_token_that_is_refused_is_replaced_once(
    launch: Launch, client: aiohttp.ClientSession, giga: FakeGigaChat
) -> None:
    giga.stale = True
    gateway = await begin(launch, giga)
    assert (await ask(client, gateway))["choices"][0]["finish_reason"] == "stop"
    body = chat("giga", stream=True)
    async with client.post(f"{gateway.base}/v1/chat/completions", json=body) as response:
        assert (await response.text()).endswith("data: [DONE]\n\n")
    assert giga.sold == 2


async def test_a_refused_credential_is_the_gateways_trouble(
    launch: Launch, client: aiohttp.ClientSession, giga: FakeGigaChat
) -> None:
    gateway = await begin(launch, giga, "id:wrong")
    async with client.post(f"{gateway.base}/v1/chat/completions", json=chat("giga")) as response:
        assert response.status == 502


async def test_a_tool_is_called_and_answered(
    launch: Launch, client: aiohttp.ClientSession, giga: FakeGigaChat
) -> None:
    gateway = await begin(launch, giga)
    answer = await ask(client, gateway, tools=[TOOL])
    said = answer["choices"][0]["message"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert orjson.loads(said["tool_calls"][0]["function"]["arguments"]) == {"city": "Москва"}
    history = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": said["tool_calls"]},
        {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "cold"},
    ]
    answer = await ask(client, gateway, tools=[TOOL], messages=history)
    assert answer["choices"][0]["message"]["content"] == "Привет"
    assert giga.asked[-1]["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "function_call": {"name": "weather", "arguments": {"city": "Москва"}},
            "functions_state_id": STATE,
        },
        {"role": "function", "name": "weather", "content": '{"result":"cold"}'},
    ]


async def test_it_makes_embeddings_for_clients_of_openai(launch: Launch, giga: FakeGigaChat) -> None:
    gateway = await begin(launch, giga)
    async with openai.AsyncOpenAI(base_url=f"{gateway.base}/v1", api_key=KEY, max_retries=0) as sdk:
        # The SDK asks for packed vectors on its own account.
        made = await sdk.embeddings.create(model="giga", input="Привет")
        assert (made.data[0].embedding, made.usage.prompt_tokens, made.model) == ([0.5, -1.0], 3, "giga")
        made = await sdk.embeddings.create(model="giga", input=["a", "b"], encoding_format="float")
        assert ([one.index for one in made.data], made.usage.total_tokens) == ([0, 1], 6)
        with pytest.raises(openai.BadRequestError):
            await sdk.embeddings.create(model="giga", input=[[1, 2]])
    assert giga.asked[0] == {"model": "GigaChat-2", "input": ["Привет"]}
    assert giga.sold == 1
