"""``streamGenerateContent`` without ``alt=sse``, through a running gateway: one JSON array, whoever answers."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from apipod_proxy.simulator import Simulator
from tests.serve.conftest import KEY, Launch

HI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]}


def catalog(simulator: Simulator) -> dict[str, Any]:
    types = {"chat": "openai_compatible", "gemini": "google_ai_studio"}
    return {
        "providers": {
            name: {"type": kind, "base_url": simulator.url, "api_key": "k"} for name, kind in types.items()
        },
        "models": {},
        "subscriptions": {
            "all": {"routes": {f"{name}/*": {"targets": [{"provider": name}]} for name in types}}
        },
        "users": {"tester": {"subscription": "all", "keys": [{"key": KEY, "name": "test"}]}},
    }


@pytest.mark.parametrize("upstream", ["chat", "gemini"])
async def test_an_array_arrives_element_by_element(
    launch: Launch, simulator: Simulator, client: aiohttp.ClientSession, upstream: str
) -> None:
    gateway = await launch(changes=catalog(simulator))
    url = f"{gateway.base}/v1beta/models/{upstream}/sim-5-20:streamGenerateContent"
    async with client.post(url, json=HI) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/json"
        pieces = [piece async for piece in answer.content.iter_any()]
    assert len(pieces) > 3
    chunks = json.loads(b"".join(pieces))
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    assert chunks[-1]["usageMetadata"]["totalTokenCount"] > 0
    assert all(chunk["modelVersion"] == f"{upstream}/sim-5-20" for chunk in chunks)
    async with client.post(f"{url}?alt=sse", json=HI) as answer:
        assert answer.content_type == "text/event-stream"
        assert (await answer.read()).startswith(b"data: {")


async def test_errors_are_elements_too(
    launch: Launch, simulator: Simulator, client: aiohttp.ClientSession
) -> None:
    gateway = await launch(changes=catalog(simulator))
    async with client.post(f"{gateway.base}/v1beta/models/none:streamGenerateContent", json=HI) as answer:
        assert answer.status == 404
        (error,) = await answer.json()
    assert error["error"]["status"] == "NOT_FOUND"
    async with client.post(f"{gateway.base}/v1beta/models/none:generateContent", json=HI) as answer:
        assert (await answer.json())["error"]["code"] == 404
