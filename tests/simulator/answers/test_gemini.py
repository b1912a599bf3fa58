from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import errors, types

from apipod_proxy.simulator import Simulator

HI = {"contents": [{"role": "user", "parts": [{"text": "hi <b>"}]}]}


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Any]:
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=simulator.url))
    yield client.aio.models
    await client.aio.aclose()
    client.close()


async def test_the_sdk_reads_a_whole_answer(client: Any) -> None:
    answer = await client.generate_content(model="gemini-sim", contents="hi <b>")
    assert answer.text == "Hello from the simulator.\nYou said: hi <b>"
    assert answer.candidates[0].finish_reason == "STOP"
    assert (
        answer.usage_metadata.total_token_count
        == answer.usage_metadata.prompt_token_count + answer.usage_metadata.candidates_token_count
    )


async def test_the_sdk_reads_a_stream(client: Any) -> None:
    chunks = [
        chunk async for chunk in await client.generate_content_stream(model="gemini-sim", contents="hi <b>")
    ]
    assert "".join(chunk.text or "" for chunk in chunks) == "Hello from the simulator.\nYou said: hi <b>"
    counts = [chunk.usage_metadata.candidates_token_count for chunk in chunks]
    assert counts == sorted(counts)
    assert chunks[-1].candidates[0].finish_reason == "STOP"


async def test_the_sdk_runs_a_turn_with_thinking_two_tools_and_an_image(
    client: Any, schema: dict[str, Any], wish: str, png: str
) -> None:
    declaration = types.FunctionDeclaration(name="get_weather", parameters_json_schema=schema)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declaration])],
        thinking_config=types.ThinkingConfig(include_thoughts=True),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    image = types.Part.from_bytes(data=base64.b64decode(png), mime_type="image/png")
    contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=wish), image])]
    whole = await client.generate_content(model="gemini-3-sim", contents=contents, config=config)
    stream = await client.generate_content_stream(model="gemini-3-sim", contents=contents, config=config)
    streamed = [part async for chunk in stream for part in chunk.candidates[0].content.parts]
    for parts in (whole.candidates[0].content.parts, streamed):
        calls = [part for part in parts if part.function_call]
        assert parts[0].thought
        assert [part.function_call.args for part in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
        assert [bool(part.thought_signature) for part in calls] == [True, False]
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=part.function_call.id, name="get_weather", response={"output": "18"}
                )
            )
            for part in calls
        ]
        history = [
            *contents,
            types.Content(role="model", parts=parts),
            types.Content(role="user", parts=results),
        ]
        last = await client.generate_content(model="gemini-3-sim", contents=history, config=config)
        assert "get_weather returned: 18\nget_weather returned: 18\nImages: 1" in last.text
        calls[0].thought_signature = None
        with pytest.raises(errors.ClientError, match="missing a thought_signature"):
            await client.generate_content(model="gemini-3-sim", contents=history, config=config)


async def test_early_models_send_no_signatures_and_no_ids(client: Any, schema: dict[str, Any]) -> None:
    declaration = types.FunctionDeclaration(name="get_weather", parameters_json_schema=schema)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declaration])])
    answer = await client.generate_content(
        model="gemini-2.0-flash", contents="use get_weather", config=config
    )
    (part,) = answer.candidates[0].content.parts
    assert (part.function_call.id, part.thought_signature) == (None, None)


async def test_the_sdk_embeds_and_counts(client: Any) -> None:
    embedded = await client.embed_content(model="gemini-embedding-001", contents=["a", "b"])
    assert [len(one.values) for one in embedded.embeddings] == [3072, 3072]
    assert (await client.count_tokens(model="m", contents="hi")).total_tokens > 0


async def test_events_end_in_crlf_and_carry_usage(http: aiohttp.ClientSession) -> None:
    for model in ("m", "sim-3-0"):
        async with http.post(f"/v1beta/models/{model}:streamGenerateContent?alt=sse", json=HI) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            text = await answer.text()
        *events, rest = text.split("\r\n\r\n")
        assert rest == "" and "\n" not in text.replace("\r\n", "")
        assert "<" not in text
        chunks = [json.loads(event.removeprefix("data: ")) for event in events]
        assert [chunk["usageMetadata"].get("candidatesTokenCount") for chunk in chunks] == [
            *range(1, len(chunks)),
            len(chunks) - 1,
        ]
        assert len({chunk["responseId"] for chunk in chunks}) == 1


async def test_a_stream_without_sse_is_one_array(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1beta/models/sim-3-0:streamGenerateContent", json=HI) as answer:
        assert answer.content_type == "application/json"
        text = await answer.text()
    assert text.startswith('[{\n  "candidates": [') and "\n,\r\n{" in text
    assert len(json.loads(text)) == 4


async def test_a_blocked_prompt_has_feedback_and_no_candidates(client: Any) -> None:
    answer = await client.generate_content(model="m+finish=blocked", contents="hi")
    assert (answer.candidates, answer.prompt_feedback.block_reason) == (None, "PROHIBITED_CONTENT")
    chunks = [
        chunk async for chunk in await client.generate_content_stream(model="m+finish=blocked", contents="hi")
    ]
    assert chunks[0].prompt_feedback.block_reason == "PROHIBITED_CONTENT"


@pytest.mark.parametrize(("finish", "reason"), [("length", "MAX_TOKENS"), ("filter", "SAFETY")])
async def test_every_end_has_its_reason(client: Any, finish: str, reason: str) -> None:
    answer = await client.generate_content(model=f"m+finish={finish}", contents="hi")
    chunks = [
        chunk
        async for chunk in await client.generate_content_stream(model=f"m+finish={finish}", contents="hi")
    ]
    assert answer.candidates[0].finish_reason == chunks[-1].candidates[0].finish_reason == reason


async def test_errors_are_those_of_google(client: Any, http: aiohttp.ClientSession) -> None:
    with pytest.raises(errors.ClientError) as limited:
        await client.generate_content(model="m+status=429;retry_after=34.4", contents="hi")
    assert limited.value.status == "RESOURCE_EXHAUSTED"
    async with http.post("/v1beta/models/m+status=429;retry_after=34.4:generateContent", json=HI) as answer:
        assert "retry-after" not in answer.headers
        assert (await answer.json())["error"]["details"][0]["retryDelay"] == "34.4s"
    async with http.post("/v1beta/models/m+status=503:streamGenerateContent", json=HI) as answer:
        assert [one["error"]["status"] for one in await answer.json()] == ["UNAVAILABLE"]
    async with http.post(
        "/v1beta/models/m:generateContent", json={"contents": HI["contents"], "foo": 1}
    ) as answer:
        error = (await answer.json())["error"]
    assert error["message"] == 'Invalid JSON payload received. Unknown name "foo": Cannot find field.'
    assert error["details"][0]["fieldViolations"][0]["description"] == error["message"]


@pytest.mark.parametrize("knobs", ["error_first", "error_mid=2"])
async def test_streams_fail_in_their_framing(http: aiohttp.ClientSession, knobs: str) -> None:
    async with http.post(f"/v1beta/models/sim-5-0+{knobs}:streamGenerateContent?alt=sse", json=HI) as answer:
        last = (await answer.text()).split("\r\n\r\n")[-2]
    assert json.loads(last.removeprefix("data: "))["error"]["status"] == "UNAVAILABLE"
    async with http.post(f"/v1beta/models/sim-5-0+{knobs}:streamGenerateContent", json=HI) as answer:
        assert json.loads(await answer.text())[-1]["error"]["status"] == "UNAVAILABLE"
