"""Counts of tokens through a whole server: a provider's where one counts, else an estimate; nothing is charged for either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import orjson
import pytest
from google import genai
from google.genai import types

from apipod_proxy.simulator import Simulator, start
from tests.fakes.server import Do, answer
from tests.gateway.conftest import KEY, Rig, Serve, Upstreams, catalog, serve, upstream

__all__ = ["serve", "upstream"]

TYPES = {"own": "openai", "oai": "openai_compatible", "gem": "google_ai_studio", "ant": "anthropic"}
TEXT = "How many tokens are in this sentence of ten words?"


def message(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": TEXT}], **more}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with await start() as running:
        yield running


@pytest.fixture
async def rig(serve: Serve, simulator: Simulator) -> Rig:
    return await serve(
        {
            "providers": {
                name: {"type": kind, "base_url": simulator.url, "api_key": f"up-{name}"}
                for name, kind in TYPES.items()
            },
            "models": {},
            "subscriptions": {
                "s": {"routes": {f"{name}/*": {"targets": [{"provider": name}]} for name in TYPES}}
            },
            "users": {"u": {"subscription": "s", "keys": [{"key": KEY, "name": "k", "limits": {"rpd": 1}}]}},
        }
    )


@pytest.mark.parametrize("model", ["ant/claude", "gem/gemini", "oai/gpt"])
async def test_the_sdk_of_messages_counts(rig: Rig, simulator: Simulator, model: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=rig.url, api_key=KEY, max_retries=0) as sdk:
        tool: Any = {"name": "t", "description": "d", "input_schema": {"type": "object"}}
        for _ in range(3):
            # More often than the key may ask for completions.
            raw = await sdk.messages.with_raw_response.count_tokens(
                **message(model), system="Be brief", tools=[tool], extra_query={"beta": "true"}
            )
    counted = (await raw.parse()).input_tokens
    assert counted > 5
    assert (raw.headers.get("x-apipod-estimated") == "1") == (model == "oai/gpt")
    assert len(simulator.requests) == (0 if model == "oai/gpt" else 3)
    assert not await rig.rows(0)


@pytest.mark.parametrize("model", ["ant/claude", "gem/gemini", "oai/gpt"])
async def test_the_sdk_of_gemini_counts(rig: Rig, simulator: Simulator, model: str) -> None:
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=rig.url))
    told = await client.aio.models.count_tokens(model=model, contents=TEXT)
    await client.aio.aclose()
    assert told.total_tokens and told.total_tokens > 5
    if model != "oai/gpt":
        path = "/v1/messages/count_tokens" if model == "ant/claude" else "/v1beta/models/gemini:countTokens"
        assert simulator.requests[-1].path == path


@pytest.mark.parametrize("model", ["ant/claude", "gem/gemini", "oai/gpt", "own/gpt"])
async def test_the_sdk_of_responses_counts(rig: Rig, simulator: Simulator, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=KEY, max_retries=0) as sdk:
        told = await sdk.responses.input_tokens.count(model=model, input=TEXT, instructions="Be brief")
    assert told.input_tokens > 5
    assert told.object == "response.input_tokens"
    paths = {
        "ant/claude": "/v1/messages/count_tokens",
        "gem/gemini": "/v1beta/models/gemini:countTokens",
        "own/gpt": "/v1/responses/input_tokens",
    }
    assert [one.path for one in simulator.requests] == ([paths[model]] if model in paths else [])


async def test_a_whole_request_of_gemini_is_counted_under_the_providers_name(
    rig: Rig, simulator: Simulator
) -> None:
    inner = {
        "model": "models/gem/x",
        "contents": [{"parts": [{"text": TEXT}]}],
        "systemInstruction": {"parts": [{"text": "Be brief"}]},
    }
    for model in ("gem/x", "ant/x"):
        got, told = await rig.ask({"generateContentRequest": inner}, f"/v1beta/models/{model}:countTokens")
        assert got.status == 200, told
    assert simulator.requests[0].body["generateContentRequest"]["model"] == "models/x"
    assert simulator.requests[1].body["system"]


async def test_the_estimate_is_rather_too_high(rig: Rig) -> None:
    body = message("oai/gpt", system="word " * 10_000)
    _, told = await rig.ask(body, "/v1/messages/count_tokens")
    assert 10_000 < orjson.loads(told)["input_tokens"] < 25_000
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "A" * 400_000},
    }
    body = {"model": "oai/gpt", "messages": [{"role": "user", "content": [picture]}]}
    _, told = await rig.ask(body, "/v1/messages/count_tokens")
    assert 1600 < orjson.loads(told)["input_tokens"] < 8000


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({"model": "ant/m"}, 400, "$.messages"),
        ({"messages": [{}]}, 400, "$.model"),
        (message("nobody"), 404, "nobody"),
        (message("ant/claude", messages=[{"role": "robot", "content": "x"}]), 400, "messages.0.role"),
    ],
)
async def test_a_wrong_request_is_refused_in_the_clients_dialect(
    rig: Rig, body: Any, status: int, where: str
) -> None:
    got, told = await rig.ask(body, "/v1/messages/count_tokens")
    assert got.status == status
    error = orjson.loads(told)
    assert error["type"] == "error" and where in error["error"]["message"]


async def test_nobody_counts_without_a_key(rig: Rig, simulator: Simulator) -> None:
    for path in ("/v1/messages/count_tokens", "/v1beta/models/gem/x:countTokens"):
        got, _ = await rig.ask(message("ant/m"), path, authorization="Bearer no")
        assert got.status == 401
    assert not simulator.requests


@pytest.mark.parametrize(
    "script",
    [
        [Do.REQUEST, answer(status=500), Do.AGAIN],
        [Do.REQUEST, answer(b'{"type":"error"}', status=401), Do.AGAIN],
        [Do.REQUEST, answer(b'{"type":"error"}', status=429), Do.AGAIN],
        [Do.REQUEST, answer(b"no json"), Do.AGAIN],
        [Do.REQUEST, Do.RESET],
        [Do.STALL],
    ],
)
async def test_a_provider_that_fails_to_count_is_none_the_worse_for_it(
    serve: Serve, upstream: Upstreams, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = await serve(catalog(await upstream(script), kind="anthropic"))
    monkeypatch.setattr(rig.server.counting, "_seconds", 0.3)
    for _ in range(7):
        got, told = await rig.ask(message("x"), "/v1/messages/count_tokens")
        assert got.status == 200 and got.headers["x-apipod-estimated"] == "1"
        assert orjson.loads(told)["input_tokens"] > 5
        if script == [Do.STALL]:
            break
    assert not rig.server.upstream_health.degraded(0)
    assert not await rig.rows(0)
