"""A real ``serve`` process in front of a simulator that is three providers, each speaking one dialect only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from apipod_proxy.simulator import Simulator
from tests.serve.conftest import KEY, Gateway, launch, simulator

__all__ = ["KEY", "launch", "simulator"]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}},
    "required": ["city"],
}
TOOLS = {"get_weather": "The weather of a city", "get_time": "The time in a city"}
ASK = "Look at the picture, then use get_weather and get_time for Paris."
RESULTS = {"get_weather": "22 degrees and sunny", "get_time": "14:05"}

UPSTREAMS = ("chat", "messages", "gemini")


def catalog(simulator_url: str) -> dict[str, Any]:
    types = {"chat": "openai_compatible", "messages": "anthropic", "gemini": "google_ai_studio"}
    return {
        "providers": {
            name: {"type": kind, "base_url": simulator_url, "api_key": f"upstream-{name}"}
            for name, kind in types.items()
        },
        "models": {},
        "subscriptions": {
            "all": {"routes": {f"{name}/*": {"targets": [{"provider": name}]} for name in types}}
        },
    }


@pytest.fixture
async def gateway(launch: Any, simulator: Simulator) -> AsyncIterator[Gateway]:
    yield await launch(changes=catalog(simulator.url))
