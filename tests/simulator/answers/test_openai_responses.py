from __future__ import annotations

import json
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


async def _events(http: aiohttp.ClientSession, **body: Any) -> list[dict[str, Any]]:
    async with http.post(
        "/v1/responses", json={"model": "sim-2-0", "input": "hi", "stream": True} | body
    ) as answer:
        assert answer.status == 200, await answer.text()
        text = await answer.text()
    events = []
    for record in text.split("\n\n")[:-1]:
        name, data = record.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


async def test_the_sdk_reads_a_whole_answer(client: openai.AsyncOpenAI) -> None:
    answer = await client.responses.create(model="gpt-sim", input="hi")
    assert answer.output_text == "Hello from the simulator.\nYou said: hi"
    assert answer.status == "completed"
    assert answer.usage is not None and answer.usage.total_tokens > 0


async def test_the_sdk_reads_a_stream(client: openai.AsyncOpenAI) -> None:
    async with client.responses.stream(model="gpt-sim", input="hi") as stream:
        text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        final = await stream.get_final_response()
    assert text == final.output_text == "Hello from the simulator.\nYou said: hi"


async def test_the_sdk_runs_a_turn_with_reasoning_two_tools_and_an_image(
    client: openai.AsyncOpenAI, schema: dict[str, Any], wish: str, png: str
) -> None:
    parts = [
        {"type": "input_text", "text": wish},
        {"type": "input_image", "image_url": f"data:image/png;base64,{png}"},
    ]
    given: list[Any] = [{"role": "user", "content": parts}]
    call: dict[str, Any] = {
        "model": "gpt-sim",
        "tools": [{"type": "function", "name": "get_weather", "parameters": schema, "strict": True}],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    whole = await client.responses.create(input=given, **call)
    async with client.responses.stream(input=given, **call) as stream:
        streamed = await stream.get_final_response()
    answer: Any
    for answer in (whole, streamed):
        assert [item.type for item in answer.output] == [
            "reasoning",
            "message",
            "function_call",
            "function_call",
        ]
        reasoning = answer.output[0]
        assert (
            reasoning.type == "reasoning"
            and reasoning.encrypted_content
            and reasoning.summary[0].text.startswith("The request")
        )
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [item.arguments for item in calls] == ['{"city": "Oslo"}', '{"city": "Rome"}']
        outputs = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "18"} for item in calls
        ]
        history = [
            *given,
            *(item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output),
            *outputs,
        ]
        for item in history:
            for part in item.get("content", ()) if item.get("role") == "assistant" else ():
                part.pop("parsed", None)
        last = await client.responses.create(input=history, **call)
        assert "get_weather returned: 18\nget_weather returned: 18\nImages: 1" in last.output_text


async def test_custom_tools_get_text(client: openai.AsyncOpenAI) -> None:
    tools: Any = [{"type": "custom", "name": "apply_patch"}]
    answer = await client.responses.create(model="m", input="use apply_patch", tools=tools)
    (item,) = answer.output
    assert item.type == "custom_tool_call" and item.input == "input for apply_patch"
    async with client.responses.stream(model="m", input="use apply_patch", tools=tools) as stream:
        pieces = [
            event.delta async for event in stream if event.type == "response.custom_tool_call_input.delta"
        ]
    assert "".join(pieces) == item.input


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stored_response_can_be_continued(client: openai.AsyncOpenAI, streamed: bool) -> None:
    if streamed:
        async with client.responses.stream(model="m", input="one") as stream:
            first = (await stream.get_final_response()).id
    else:
        first = (await client.responses.create(model="m", input="one")).id
    second = await client.responses.create(model="m", input="two", previous_response_id=first)
    assert "You said: two" in second.output_text
    with pytest.raises(openai.BadRequestError, match="not found"):
        await client.responses.create(model="m", input="two", previous_response_id="resp_x")


async def test_a_stream_has_the_events_of_a_real_one(http: aiohttp.ClientSession) -> None:
    events = await _events(http)
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert events[0]["response"]["usage"] is None
    assert events[-1]["response"]["output"] == [events[-2]["item"]]
    assert "response.completed" not in [
        event["type"] for event in await _events(http, model="sim-1-0+no_done")
    ]
    assert (await _events(http, model="sim-1-0+no_usage"))[-1]["response"]["usage"] is None


async def test_what_was_cut_short_is_incomplete(
    client: openai.AsyncOpenAI, http: aiohttp.ClientSession
) -> None:
    answer = await client.responses.create(model="m+finish=length", input="hi")
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None and answer.incomplete_details.reason == "max_output_tokens"
    assert (await _events(http, model="m+finish=filter"))[-1]["type"] == "response.incomplete"
    refused = await _events(http, model="m+finish=refusal")
    assert (
        "".join(event["delta"] for event in refused if event["type"] == "response.refusal.delta")
        == "I cannot help with that."
    )


@pytest.mark.parametrize("knobs", ["error_first", "error_mid=1"])
async def test_a_stream_fails_with_an_error_and_a_failed_response(
    http: aiohttp.ClientSession, knobs: str
) -> None:
    events = await _events(http, model=f"sim-3-0+{knobs};status=429")
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["error"]["code"] == "rate_limit_exceeded"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]


async def test_tokens_can_be_counted(client: openai.AsyncOpenAI) -> None:
    assert (await client.responses.input_tokens.count(model="m", input="hello")).input_tokens > 0
