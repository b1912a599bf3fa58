"""Two turns of a conversation: what a provider signed comes back to it unaltered, whatever dialect the client speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim, Quirks
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.vocabulary import (
    End,
    Event,
    Finish,
    Message,
    Role,
    SignatureDelta,
    Start,
    StopReason,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArgs,
    ToolCall,
    ToolOpen,
    ToolResult,
    Usage,
    UsageReport,
)
from tests.dialect.wire import INFO, decode

SIGNATURE = "RXJ0aGlzIGlzIGEgc2lnbmF0dXJl"
OTHER = "c2Vjb25kIHNpZ25hdHVyZQ=="
END: list[Event] = [UsageReport(Usage(input=3, output=5)), Finish(StopReason.TOOL_USE), End()]
CALLS: list[Event] = [
    TextDelta("Let me look.", 1),
    ToolOpen("call_1", "get_weather", 2),
    ToolArgs('{"city":"Paris"}', 2),
    ToolOpen("call_2", "get_weather", 3),
    ToolArgs('{"city":"Rome"}', 3),
]
THOUGHT: list[Event] = [ThinkingDelta("I should ", 0), ThinkingDelta("ask twice.", 0)]


def signed(name: str) -> list[Event]:
    """An answer as the provider of this dialect signs it."""
    if name != "gemini":
        return [Start("r"), *THOUGHT, SignatureDelta(SIGNATURE, name, 0), *CALLS, *END]
    calls = [
        event._replace(signature=SIGNATURE, signed_by=name)
        if isinstance(event, ToolOpen) and event.id == "call_1"
        else event
        for event in CALLS
    ]
    return [Start("r"), *THOUGHT, *calls, *END]


def next_request(name: str, answer: Any) -> bytes:
    """The client's second request: its question, the whole answer as it got it, and the results."""
    results = {"call_1": "Sunny", "call_2": "Rain"}
    ask = "Where is it nicer?"
    if name == "openai_chat":
        tools = [{"role": "tool", "tool_call_id": key, "content": value} for key, value in results.items()]
        turns = [{"role": "user", "content": ask}, answer["choices"][0]["message"], *tools]
        return json.dumps({"model": "m", "messages": turns}).encode()
    if name == "anthropic":
        blocks = [
            {"type": "tool_result", "tool_use_id": key, "content": value} for key, value in results.items()
        ]
        turns = [
            {"role": "user", "content": ask},
            {"role": "assistant", "content": answer["content"]},
            {"role": "user", "content": blocks},
        ]
        return json.dumps({"model": "m", "max_tokens": 9, "messages": turns}).encode()
    if name == "gemini":
        parts = [
            {"functionResponse": {"id": key, "name": "get_weather", "response": {"output": value}}}
            for key, value in results.items()
        ]
        contents = [
            {"role": "user", "parts": [{"text": ask}]},
            answer["candidates"][0]["content"],
            {"role": "user", "parts": parts},
        ]
        return json.dumps({"contents": contents}).encode()
    outputs = [
        {"type": "function_call_output", "call_id": key, "output": value} for key, value in results.items()
    ]
    return json.dumps(
        {"model": "m", "input": [{"role": "user", "content": ask}, *answer["output"], *outputs]}
    ).encode()


def second_turn(client: str, events: list[Event]) -> list[Message]:
    """The messages of the client's second request."""
    row = DIALECTS[client]
    streamed = b"".join(row.encoder(INFO).send(event) for event in events)
    assert streamed
    body = json.loads(row.encoder(INFO).fold(events))
    return row.decode_request(next_request(client, body), model="m", stream=False).messages


def signatures(messages: list[Message]) -> set[tuple[str, str | None]]:
    found = set()
    for message in messages:
        for part in message.parts:
            if isinstance(part, (Thinking, ToolCall)) and part.signature:
                found.add((part.signature, part.signed_by))
    return found


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai_responses"])
@pytest.mark.parametrize("client", DIALECTS)
def test_a_signature_comes_back_to_who_made_it(provider: str, client: str) -> None:
    messages = second_turn(client, signed(provider))
    assert signatures(messages) == {(SIGNATURE, provider)}
    answer = next(message for message in messages if message.role is Role.ASSISTANT)
    calls = [part for message in messages for part in message.parts if isinstance(part, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Rome"}),
    ]
    results = [part for message in messages for part in message.parts if isinstance(part, ToolResult)]
    assert [result.call_id for result in results] == [call.id for call in calls] == ["call_1", "call_2"]
    assert any(isinstance(part, Thinking) and part.text == "I should ask twice." for part in answer.parts)
    body = json.loads(DIALECTS[client].encoder(INFO).fold(signed(provider)))
    call = DIALECTS[client].decode_request(next_request(client, body), model="m", stream=False)
    encoded = DIALECTS[provider].encode_request(call, Aim("gemini-3-pro" if provider == "gemini" else "m"))
    assert SIGNATURE.encode() in encoded.body


@pytest.mark.parametrize("client", ["openai_chat", "anthropic"])
def test_two_signed_thoughts_keep_their_own_signatures(client: str) -> None:
    events: list[Event] = [
        Start("r"),
        ThinkingDelta("one", 0),
        SignatureDelta(SIGNATURE, "anthropic", 0),
        ThinkingDelta("two", 1),
        SignatureDelta(OTHER, "anthropic", 1),
        SignatureDelta("aGlkZGVu", "anthropic", 2, redacted=True),
        TextDelta("done", 3),
        *END,
    ]
    answer = second_turn(client, events)[1]
    thoughts = [
        (part.text, part.signature, part.redacted) for part in answer.parts if isinstance(part, Thinking)
    ]
    assert thoughts == [("one", SIGNATURE, False), ("two", OTHER, False), ("", "aGlkZGVu", True)]


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("provider", ["anthropic", "gemini", "openai_responses"])
def test_a_provider_is_not_shown_what_another_one_signed(client: str, provider: str) -> None:
    maker = "anthropic" if provider != "anthropic" else "gemini"
    body = json.loads(DIALECTS[client].encoder(INFO).fold(signed(maker)))
    call = DIALECTS[client].decode_request(next_request(client, body), model="m", stream=False)
    encoded = DIALECTS[provider].encode_request(call, Aim("m"))
    assert SIGNATURE.encode() not in encoded.body
    assert encoded.dropped


def test_details_of_a_router_go_back_to_it() -> None:
    detail = {
        "type": "reasoning.text",
        "text": "Hmm",
        "signature": SIGNATURE,
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    chunk = {
        "id": "c",
        "choices": [{"index": 0, "delta": {"reasoning": "Hmm", "reasoning_details": [detail]}}],
    }
    last = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    text = b"".join(b"data: " + json.dumps(item).encode() + b"\n\n" for item in (chunk, last))
    router = Aim("m", quirks=Quirks(reasoning_details=True))
    for client in ("openai_chat", "anthropic"):
        events = decode(DIALECTS["openai_chat"], text)
        body = json.loads(DIALECTS[client].encoder(INFO).fold(events))
        call = DIALECTS[client].decode_request(next_request(client, body), model="m", stream=False)
        sent = json.loads(DIALECTS["openai_chat"].encode_request(call, router).body)["messages"][1]
        assert sent["reasoning_details"] == [detail]
