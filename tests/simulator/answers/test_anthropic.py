from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anthropic
import pytest

from apipod_proxy.simulator import Simulator

HI: list[Any] = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="k", max_retries=0) as client:
        yield client


async def _events(http: aiohttp.ClientSession, **body: Any) -> list[str]:
    body = {"model": "sim-2-0", "max_tokens": 9, "messages": HI, "stream": True} | body
    async with http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"}) as answer:
        assert answer.status == 200, await answer.text()
        text = await answer.text()
    return [event.partition("\n")[0].removeprefix("event: ") for event in text.split("\n\n")[:-1]]


async def test_the_sdk_reads_a_whole_answer(client: anthropic.AsyncAnthropic) -> None:
    answer = await client.messages.create(model="claude-sim", max_tokens=100, messages=HI)
    assert answer.content[0].type == "text"
    assert answer.content[0].text == "Hello from the simulator.\nYou said: hi"
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 7)


async def test_the_sdk_reads_a_stream(client: anthropic.AsyncAnthropic) -> None:
    async with client.messages.stream(model="claude-sim", max_tokens=100, messages=HI) as stream:
        assert await stream.get_final_text() == "Hello from the simulator.\nYou said: hi"
        final = await stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 7)


@pytest.mark.parametrize("model", ["claude-sim", "claude-sim+redacted"])
async def test_the_sdk_runs_a_turn_with_thinking_two_tools_and_an_image(
    client: anthropic.AsyncAnthropic, schema: dict[str, Any], wish: str, png: str, model: str
) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}}
    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": wish}, image]}]
    call: dict[str, Any] = {
        "model": model,
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "get_weather", "input_schema": schema}],
    }
    whole = await client.messages.create(messages=messages, **call)
    async with client.messages.stream(messages=messages, **call) as stream:
        streamed = await stream.get_final_message()
    answer: Any
    for answer in (whole, streamed):
        kinds = [block.type for block in answer.content]
        assert kinds == [
            "redacted_thinking" if "redacted" in model else "thinking",
            "text",
            "tool_use",
            "tool_use",
        ]
        assert [block.input for block in answer.content if block.type == "tool_use"] == [
            {"city": "Oslo"},
            {"city": "Rome"},
        ]
        assert answer.stop_reason == "tool_use"
        results = [
            {"type": "tool_result", "tool_use_id": b.id, "content": [{"type": "text", "text": "18"}, image]}
            for b in answer.content
            if b.type == "tool_use"
        ]
        history = [
            *messages,
            {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in answer.content]},
            {"role": "user", "content": results},
        ]
        last = await client.messages.create(messages=history, **call)
        assert last.content[-1].type == "text"
        assert "get_weather returned: 18\nget_weather returned: 18\nImages: 3" in last.content[-1].text


async def test_altered_thinking_is_refused(client: anthropic.AsyncAnthropic) -> None:
    call: dict[str, Any] = {"model": "m", "max_tokens": 4000, "thinking": {"type": "adaptive"}}
    answer = await client.messages.create(messages=HI, **call)
    blocks = [block.model_dump(exclude_none=True) for block in answer.content]
    await client.messages.create(messages=[*HI, {"role": "assistant", "content": blocks}, *HI], **call)
    blocks[0]["thinking"] += "!"
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        await client.messages.create(messages=[*HI, {"role": "assistant", "content": blocks}, *HI], **call)


async def test_a_stream_has_the_events_of_a_real_one(http: aiohttp.ClientSession) -> None:
    assert await _events(http) == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (await _events(http, model="sim-1-0+no_done"))[-1] == "message_delta"


async def test_what_was_cached_is_read_the_next_time(client: anthropic.AsyncAnthropic) -> None:
    system: Any = [{"type": "text", "text": "rules " * 100, "cache_control": {"type": "ephemeral"}}]
    first = await client.messages.create(model="m", max_tokens=9, messages=HI, system=system)
    second = await client.messages.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "ho"}], system=system
    )
    assert (first.usage.cache_read_input_tokens, second.usage.cache_creation_input_tokens) == (0, 0)
    assert first.usage.cache_creation_input_tokens == second.usage.cache_read_input_tokens
    assert (second.usage.cache_read_input_tokens or 0) > 100


async def test_errors_are_those_of_anthropic(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as overloaded:
        await client.messages.create(model="m+status=529;retry_after=2", max_tokens=9, messages=HI)
    assert overloaded.value.status_code == 529
    assert overloaded.value.response.headers["retry-after"] == "2"
    assert overloaded.value.body == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": overloaded.value.response.headers["request-id"],
    }
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        async with client.messages.stream(model="sim-5-0+error_mid=2", max_tokens=9, messages=HI) as stream:
            await stream.get_final_message()
    with pytest.raises(anthropic.APIStatusError, match="rate limit"):
        async with client.messages.stream(
            model="sim-5-0+error_first;status=429", max_tokens=9, messages=HI
        ) as stream:
            await stream.get_final_message()


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_tokens"), ("filter", "refusal"), ("refusal", "refusal")]
)
async def test_every_end_has_its_reason(client: anthropic.AsyncAnthropic, finish: str, reason: str) -> None:
    answer = await client.messages.create(model=f"m+finish={finish}", max_tokens=99, messages=HI)
    async with client.messages.stream(model=f"m+finish={finish}", max_tokens=99, messages=HI) as stream:
        streamed = await stream.get_final_message()
    assert answer.stop_reason == streamed.stop_reason == reason


async def test_a_stop_sequence_is_named(client: anthropic.AsyncAnthropic) -> None:
    answer = await client.messages.create(model="m", max_tokens=99, messages=HI, stop_sequences=["said"])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "said")


async def test_thinking_can_be_omitted_but_for_its_signature(client: anthropic.AsyncAnthropic) -> None:
    thinking: Any = {"type": "adaptive", "display": "omitted"}
    answer = await client.messages.create(model="m", max_tokens=99, messages=HI, thinking=thinking)
    assert answer.content[0].type == "thinking"
    assert answer.usage.output_tokens_details is not None
    assert answer.usage.output_tokens_details.thinking_tokens == 12
    assert (answer.content[0].thinking, len(answer.content[0].signature) > 100) == ("", True)
