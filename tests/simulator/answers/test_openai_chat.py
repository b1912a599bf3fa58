from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from apipod_proxy.simulator import Simulator


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{simulator.url}/v1", api_key="k", max_retries=0) as client:
        yield client


async def _events(http: aiohttp.ClientSession, **body: Any) -> list[str]:
    body = {"model": "sim-2-0", "messages": [{"role": "user", "content": "hi"}], "stream": True} | body
    async with http.post("/v1/chat/completions", json=body) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = await answer.text()
    return [event.removeprefix("data: ") for event in text.split("\n\n")[:-1]]


async def test_the_sdk_reads_a_whole_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="gpt-sim", messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.choices[0].message.content == "Hello from the simulator.\nYou said: hi"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_the_sdk_reads_a_stream(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="gpt-sim", messages=[{"role": "user", "content": "hi"}], stream_options={"include_usage": True}
    ) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Hello from the simulator.\nYou said: hi"
    assert final.usage is not None


@pytest.mark.parametrize("model", ["gpt-sim", "gpt-sim+interleave", "gpt-sim+split=7"])
async def test_the_sdk_runs_a_turn_with_two_tools(
    client: openai.AsyncOpenAI, schema: dict[str, Any], wish: str, model: str
) -> None:
    messages: list[Any] = [{"role": "user", "content": wish}]
    tools: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]
    whole = await client.chat.completions.create(model=model, messages=messages, tools=tools)
    async with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        streamed = await stream.get_final_completion()
    for answer in (whole, streamed):
        assert answer.choices[0].finish_reason == "tool_calls"
        calls = answer.choices[0].message.tool_calls
        assert calls is not None
        assert [
            (call.function.name, call.function.arguments) for call in calls if call.type == "function"
        ] == [
            ("get_weather", '{"city": "Oslo"}'),
            ("get_weather", '{"city": "Rome"}'),
        ]
    calls = whole.choices[0].message.tool_calls or []
    messages.append(whole.choices[0].message.model_dump(exclude_none=True))
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": f"{n} degrees"} for n, call in enumerate(calls)
    ]
    last = await client.chat.completions.create(model=model, messages=messages, tools=tools)
    assert "get_weather returned: 0 degrees\nget_weather returned: 1 degrees" in str(
        last.choices[0].message.content
    )


async def test_the_sdk_gets_what_it_wants_to_parse(
    client: openai.AsyncOpenAI, schema: dict[str, Any]
) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], response_format=wanted
    )
    assert answer.choices[0].message.content == '{"city": "Paris"}'


async def test_errors_are_those_of_openai(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        await client.chat.completions.create(
            model="m+status=429;retry_after=3", messages=[{"role": "user", "content": "hi"}]
        )
    assert limited.value.response.headers["retry-after"] == "3"
    assert limited.value.code == "rate_limit_exceeded"
    with pytest.raises(openai.BadRequestError, match="empty array"):
        await client.chat.completions.create(model="m", messages=[])
    with pytest.raises(openai.APIError, match="The server had an error"):
        async for _ in await client.chat.completions.create(
            model="sim-9-0+error_mid=2", messages=[{"role": "user", "content": "hi"}], stream=True
        ):
            pass


async def test_usage_is_null_on_every_chunk_but_the_last_when_it_was_asked_for(
    http: aiohttp.ClientSession,
) -> None:
    *chunks, usage, done = await _events(http, stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert len(chunks) == 4
    assert all('"usage":null' in chunk for chunk in chunks)
    assert '"choices":[],"usage":{"prompt_tokens":' in usage


async def test_there_is_no_usage_unless_it_was_asked_for(http: aiohttp.ClientSession) -> None:
    assert not any('"usage"' in event for event in await _events(http))
    assert not any(
        '"usage":{' in event
        for event in await _events(http, model="sim-1-0+no_usage", stream_options={"include_usage": True})
    )


async def test_padding_can_be_turned_off(http: aiohttp.ClientSession) -> None:
    assert '"obfuscation":"' in (await _events(http))[0]
    assert "obfuscation" not in (await _events(http, stream_options={"include_obfuscation": False}))[0]


async def test_several_choices_come_interleaved_and_with_their_probabilities(
    client: openai.AsyncOpenAI,
) -> None:
    stream = await client.chat.completions.create(
        model="sim-2-0", messages=[{"role": "user", "content": "hi"}], n=2, logprobs=True, stream=True
    )
    chunks = [chunk.choices[0] async for chunk in stream]
    assert [choice.index for choice in chunks] == [0, 1] * 4
    assert [choice.finish_reason for choice in chunks][-2:] == ["stop", "stop"]
    assert chunks[2].logprobs is not None and chunks[2].logprobs.content is not None
    assert chunks[2].logprobs.content[0].token == " token"


async def test_reasoning_comes_as_other_providers_send_it(http: aiohttp.ClientSession) -> None:
    events = await _events(http, model="m+thinking")
    assert sum('"reasoning_content":' in event for event in events) == 4
    async with http.post(
        "/v1/chat/completions", json={"model": "m+thinking", "messages": [{"role": "user", "content": "x"}]}
    ) as answer:
        message = (await answer.json())["choices"][0]["message"]
    assert message["reasoning_content"].startswith("The request is clear")


@pytest.mark.parametrize(
    ("finish", "reason", "field"),
    [("filter", "content_filter", None), ("refusal", "stop", "refusal"), ("length", "length", "content")],
)
async def test_every_end_has_its_reason(
    client: openai.AsyncOpenAI, finish: str, reason: str, field: str | None
) -> None:
    messages: Any = [{"role": "user", "content": "hi"}]
    whole = await client.chat.completions.create(model=f"m+finish={finish}", messages=messages)
    async with client.chat.completions.stream(model=f"m+finish={finish}", messages=messages) as stream:
        reasons = [
            event.chunk.choices[0].finish_reason
            async for event in stream
            if event.type == "chunk" and event.chunk.choices
        ]
    assert whole.choices[0].finish_reason == reason == reasons[-1]
    for name in ("content", "refusal"):
        assert bool(getattr(whole.choices[0].message, name)) == (name == field)


async def test_reasoning_tokens_are_counted_when_there_was_an_effort(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], reasoning_effort="low"
    )
    assert answer.usage is not None and answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 12


async def test_custom_tools_get_text(client: openai.AsyncOpenAI) -> None:
    tools: Any = [{"type": "custom", "custom": {"name": "apply_patch"}}]
    answer = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "use apply_patch"}], tools=tools
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "custom" and call.custom.input == "input for apply_patch"
