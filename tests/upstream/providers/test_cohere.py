"""Through the whole gateway, in front of a fake of Cohere: its path, its key, its events, its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.dialect.test_cohere import START, end, frame
from tests.serve.conftest import KEY, Gateway, Launch, chat, client, launch, message, simulator

__all__ = ["client", "launch", "simulator"]


class FakeCohere:
    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("authorization") != "Bearer co-key":
            return web.json_response({"id": "e-1", "message": "invalid api token"}, status=401)
        body = orjson.loads(await request.read())
        self.asked.append(body)
        if body["model"] == "gone":
            return web.json_response(
                {"id": "e-2", "message": "model 'gone' not found, make sure it exists"}, status=404
            )
        usage = {"billed_units": {"input_tokens": 3, "output_tokens": 2}}
        if not body["stream"]:
            content = [{"type": "text", "text": "Hello there"}]
            answer = {
                "id": "c",
                "message": {"role": "assistant", "content": content},
                "finish_reason": "COMPLETE",
            }
            return web.json_response({**answer, "usage": usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(START + frame("content-start", 0, content={"type": "text", "text": ""}))
        for word in ("Hello", " there"):
            await response.write(frame("content-delta", 0, content={"text": word}))
        # No [DONE], as its newer versions have it.
        await response.write(end(finish_reason="COMPLETE", usage=usage))
        return response

    async def embed(self, request: web.Request) -> web.Response:
        """Its surface for clients of OpenAI, which knows no members but these."""
        if request.headers.get("authorization") != "Bearer co-key":
            return web.json_response({"id": "e-1", "message": "invalid api token"}, status=401)
        body = orjson.loads(await request.read())
        self.asked.append(body)
        if body.keys() - {"model", "input", "encoding_format", "dimensions"}:
            return web.json_response({"id": "e-3", "message": "unknown field"}, status=422)
        if body["model"] == "gone":
            return web.json_response({"id": "e-2", "message": "model 'gone' not found"}, status=404)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        packed = body.get("encoding_format") == "base64"
        vector = "AAAAPwAAgL8=" if packed else [0.5, -1.0]
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, _ in enumerate(texts)]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})


@pytest.fixture
async def cohere() -> AsyncIterator[FakeCohere]:
    fake = FakeCohere()
    app = web.Application()
    app.router.add_post("/v2/chat", fake.chat)
    app.router.add_post("/compatibility/v1/embeddings", fake.embed)
    async with TestServer(app) as server:
        fake.url = str(server.make_url("")).rstrip("/")
        yield fake


async def begin(launch: Launch, cohere: FakeCohere, key: str = "co-key") -> Gateway:
    return await launch(
        changes={
            "providers": {"cohere": {"type": "cohere", "base_url": cohere.url, "api_key": key}},
            "models": {
                "command": {"provider": "cohere", "upstream_model": "command-a"},
                "gone": {"provider": "cohere"},
            },
            "subscriptions": {"all": {"routes": {"*": {}}}},
        }
    )


async def test_every_client_reaches_it(
    launch: Launch, client: aiohttp.ClientSession, cohere: FakeCohere
) -> None:
    gateway = await begin(launch, cohere)
    async with client.post(f"{gateway.base}/v1/chat/completions", json=chat("command")) as response:
        answer = await response.json()
    assert answer["choices"][0]["message"]["content"] == "Hello there"
    assert (answer["model"], answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (
        "command",
        3,
        2,
    )
    async with client.post(f"{gateway.base}/v1/messages", json=message("command", stream=True)) as response:
        text = await response.text()
    assert '"text":"Hello"' in text
    assert "message_stop" in text
    body = chat("command", stream=True)
    async with client.post(f"{gateway.base}/v1/chat/completions", json=body) as response:
        assert (await response.text()).endswith("data: [DONE]\n\n")
    assert [body["model"] for body in cohere.asked] == ["command-a"] * 3


async def test_its_errors_are_told_in_the_clients_words(
    launch: Launch, client: aiohttp.ClientSession, cohere: FakeCohere
) -> None:
    gateway = await begin(launch, cohere)
    async with client.post(f"{gateway.base}/v1/chat/completions", json=chat("gone")) as response:
        assert response.status == 404
        assert "not found" in (await response.json())["error"]["message"]


async def test_a_refused_key_is_the_gateways_trouble(
    launch: Launch, client: aiohttp.ClientSession, cohere: FakeCohere
) -> None:
    gateway = await begin(launch, cohere, "wrong")
    async with client.post(f"{gateway.base}/v1/chat/completions", json=chat("command")) as response:
        assert response.status == 502


@pytest.mark.parametrize("base", ["", "/v2", "/compatibility/v1"])
async def test_it_makes_embeddings(launch: Launch, cohere: FakeCohere, base: str) -> None:
    cohere.url += base
    gateway = await begin(launch, cohere)
    async with openai.AsyncOpenAI(base_url=f"{gateway.base}/v1", api_key=KEY, max_retries=0) as sdk:
        made = await sdk.embeddings.create(model="command", input="Hi")
        assert (made.data[0].embedding, made.usage.prompt_tokens, made.model) == ([0.5, -1.0], 4, "command")
        made = await sdk.embeddings.create(model="command", input=["a", "b"], encoding_format="float")
        assert [one.index for one in made.data] == [0, 1]
        with pytest.raises(openai.NotFoundError):
            await sdk.embeddings.create(model="gone", input="Hi")
    assert [body["model"] for body in cohere.asked] == ["command-a", "command-a", "gone"]
