"""Every official SDK against every upstream dialect: two turns, two parallel tool calls, an image, thinking; streamed and not."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as gemini

from apipod_proxy.simulator import Simulator
from tests.sdk.conftest import ASK, KEY, PARAMETERS, PNG, RESULTS, TOOLS, UPSTREAMS
from tests.serve.conftest import Gateway


class Turn(NamedTuple):
    """What an SDK read of one answer."""

    text: str
    thinking: str
    calls: dict[str, dict[str, Any]]
    ids: tuple[str, ...]
    stop: str
    input_tokens: int
    output_tokens: int


class Chat:
    stops = ("tool_calls", "stop")

    def __init__(self, base: str) -> None:
        self.sdk = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
        self.messages: list[Any] = [
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": ASK},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                ],
            },
        ]
        self.tools: list[Any] = [
            {"type": "function", "function": {"name": name, "description": about, "parameters": PARAMETERS}}
            for name, about in TOOLS.items()
        ]

    async def turn(self, model: str, stream: bool) -> Turn:
        options: dict[str, Any] = {
            "model": model,
            "messages": self.messages,
            "tools": self.tools,
            "reasoning_effort": "medium",
            "max_completion_tokens": 4000,
        }
        if stream:
            async with self.sdk.chat.completions.stream(
                **options, stream_options={"include_usage": True}
            ) as events:
                completion: Any = await events.get_final_completion()
        else:
            completion = await self.sdk.chat.completions.create(**options)
        choice = completion.choices[0]
        message = choice.message
        self.messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in self.messages[-1].get("tool_calls") or []:
            call["function"].pop("parsed_arguments", None)
        calls = message.tool_calls or []
        return Turn(
            message.content or "",
            getattr(message, "reasoning_content", None) or "",
            {call.function.name: json.loads(call.function.arguments) for call in calls},
            tuple(call.id for call in calls),
            choice.finish_reason,
            completion.usage.prompt_tokens,
            completion.usage.completion_tokens,
        )

    ask = turn

    async def answer(self, model: str, stream: bool) -> Turn:
        for call in self.messages[-1]["tool_calls"]:
            self.messages.append(
                {"role": "tool", "tool_call_id": call["id"], "content": RESULTS[call["function"]["name"]]}
            )
        return await self.turn(model, stream)


class Messages:
    stops = ("tool_use", "end_turn")

    def __init__(self, base: str) -> None:
        self.sdk = anthropic.AsyncAnthropic(base_url=base, api_key=KEY, max_retries=0)
        self.messages: list[Any] = [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": ASK},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            }
        ]
        self.tools: list[Any] = [
            {"name": name, "description": about, "input_schema": PARAMETERS} for name, about in TOOLS.items()
        ]

    async def turn(self, model: str, stream: bool) -> Turn:
        options: dict[str, Any] = {
            "model": model,
            "system": "Be brief.",
            "messages": self.messages,
            "tools": self.tools,
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "max_tokens": 4000,
        }
        if stream:
            async with self.sdk.messages.stream(**options) as events:
                message: Any = await events.get_final_message()
        else:
            message = await self.sdk.messages.create(**options)
        self.messages.append(
            {
                "role": "assistant",
                "content": [block.model_dump(exclude_none=True) for block in message.content],
            }
        )
        for block in self.messages[-1]["content"]:
            block.pop("parsed_output", None)
        uses = [block for block in message.content if block.type == "tool_use"]
        return Turn(
            "".join(block.text for block in message.content if block.type == "text"),
            "".join(block.thinking for block in message.content if block.type == "thinking"),
            {use.name: use.input for use in uses},
            tuple(use.id for use in uses),
            message.stop_reason,
            message.usage.input_tokens,
            message.usage.output_tokens,
        )

    ask = turn

    async def answer(self, model: str, stream: bool) -> Turn:
        uses = [block for block in self.messages[-1]["content"] if block["type"] == "tool_use"]
        results = [
            {"type": "tool_result", "tool_use_id": use["id"], "content": RESULTS[use["name"]]} for use in uses
        ]
        self.messages.append({"role": "user", "content": results})
        return await self.turn(model, stream)


class Gemini:
    stops = ("STOP", "STOP")

    def __init__(self, base: str) -> None:
        self.sdk = genai.Client(api_key=KEY, http_options=gemini.HttpOptions(base_url=base))
        self.contents: list[Any] = [
            gemini.Content(
                role="user",
                parts=[
                    gemini.Part(text=ASK),
                    gemini.Part.from_bytes(data=base64.b64decode(PNG), mime_type="image/png"),
                ],
            )
        ]
        self.config = gemini.GenerateContentConfig(
            system_instruction="Be brief.",
            max_output_tokens=4000,
            thinking_config=gemini.ThinkingConfig(include_thoughts=True, thinking_budget=2000),
            tools=[
                gemini.Tool(
                    function_declarations=[
                        gemini.FunctionDeclaration(
                            name=name, description=about, parameters_json_schema=PARAMETERS
                        )
                        for name, about in TOOLS.items()
                    ]
                )
            ],
            automatic_function_calling=gemini.AutomaticFunctionCallingConfig(disable=True),
        )

    async def turn(self, model: str, stream: bool) -> Turn:
        options: dict[str, Any] = {"model": model, "contents": self.contents, "config": self.config}
        parts: list[Any] = []
        last: Any = None
        if stream:
            async for last in await self.sdk.aio.models.generate_content_stream(**options):
                parts += (
                    last.candidates[0].content.parts or []
                    if last.candidates and last.candidates[0].content
                    else []
                )
        else:
            last = await self.sdk.aio.models.generate_content(**options)
            parts = list(last.candidates[0].content.parts)
        self.contents.append(gemini.Content(role="model", parts=parts))
        calls = [part.function_call for part in parts if part.function_call]
        usage = last.usage_metadata
        return Turn(
            "".join(part.text for part in parts if part.text and not part.thought),
            "".join(part.text for part in parts if part.text and part.thought),
            {call.name: dict(call.args) for call in calls},
            tuple(call.id or "" for call in calls),
            last.candidates[0].finish_reason.value,
            usage.prompt_token_count,
            usage.candidates_token_count,
        )

    ask = turn

    async def answer(self, model: str, stream: bool) -> Turn:
        calls = [part.function_call for part in self.contents[-1].parts if part.function_call]
        self.contents.append(
            gemini.Content(
                role="user",
                parts=[
                    gemini.Part(
                        function_response=gemini.FunctionResponse(
                            id=call.id, name=call.name, response={"output": RESULTS[call.name]}
                        )
                    )
                    for call in calls
                ],
            )
        )
        return await self.turn(model, stream)


class Responses:
    stops = ("completed", "completed")

    def __init__(self, base: str) -> None:
        self.sdk = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
        self.items: list[Any] = [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": ASK},
                    {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"},
                ],
            }
        ]
        self.tools: list[Any] = [
            {
                "type": "function",
                "name": name,
                "description": about,
                "parameters": PARAMETERS,
                "strict": False,
            }
            for name, about in TOOLS.items()
        ]

    async def turn(self, model: str, stream: bool) -> Turn:
        options: dict[str, Any] = {
            "model": model,
            "instructions": "Be brief.",
            "input": self.items,
            "tools": self.tools,
            "reasoning": {"effort": "medium", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
            "store": False,
            "max_output_tokens": 4000,
        }
        if stream:
            async with self.sdk.responses.stream(**options) as events:
                response: Any = await events.get_final_response()
        else:
            response = await self.sdk.responses.create(**options)
        for item in response.output:
            self.items.append(item.model_dump(exclude_none=True, exclude={"parsed_arguments"}))
        calls = [item for item in response.output if item.type == "function_call"]
        reasoning = [item for item in response.output if item.type == "reasoning"]
        return Turn(
            response.output_text,
            "".join(part.text for item in reasoning for part in item.summary),
            {call.name: json.loads(call.arguments) for call in calls},
            tuple(call.call_id for call in calls),
            response.status,
            response.usage.input_tokens,
            response.usage.output_tokens,
        )

    ask = turn

    async def answer(self, model: str, stream: bool) -> Turn:
        for call in [item for item in self.items if item.get("type") == "function_call"]:
            self.items.append(
                {"type": "function_call_output", "call_id": call["call_id"], "output": RESULTS[call["name"]]}
            )
        return await self.turn(model, stream)


async def close(client: Any) -> None:
    """The SDKs leave their connections open otherwise, and an open socket is a warning."""
    await (client.sdk.aio.aclose() if isinstance(client, Gemini) else client.sdk.close())


CLIENTS: dict[str, type[Any]] = {"chat": Chat, "messages": Messages, "gemini": Gemini, "responses": Responses}


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("sdk", CLIENTS)
async def test_two_turns_with_tools_an_image_and_thinking(
    gateway: Gateway, simulator: Simulator, sdk: str, upstream: str
) -> None:
    for stream in (False, True):
        client = CLIENTS[sdk](gateway.base)
        try:
            await converse(client, f"{upstream}/some-model+thinking=1", stream)
        finally:
            await close(client)
    # One request for each turn: no SDK asked twice, and no candidate was asked in vain.
    assert len([request for request in simulator.requests if request.method == "POST"]) == 4


async def converse(client: Any, model: str, stream: bool) -> None:
    first = await client.ask(model, stream)
    assert set(first.calls) == set(TOOLS), first
    assert all(isinstance(call["city"], str) for call in first.calls.values())
    assert len(set(first.ids)) == 2
    assert all(first.ids)
    assert first.thinking
    assert first.stop == client.stops[0]
    assert first.input_tokens > 0
    assert first.output_tokens > 0
    second = await client.answer(model, stream)
    assert not second.calls
    # The simulator tells what it saw: the picture, the system text and both results.
    for part in ("Images: 1 (image/png", "Be brief.", *RESULTS.values()):
        assert part in second.text, second
    assert second.stop == client.stops[1]
    assert second.thinking
