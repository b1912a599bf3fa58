"""Every dialect to every other: what an answer or a request tells is the same on the other side, as far as both can say it."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from apipod_proxy.dialect import Aim, Dialect
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.vocabulary import (
    Call,
    Event,
    Failure,
    Media,
    Message,
    OutputFormat,
    Role,
    Sampling,
    StopReason,
    Text,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.dialect.event_strategies import answers, told
from tests.dialect.wire import INFO, decode, ids, recorded_answer, recordings

ROWS = list(DIALECTS.values())
PAIRS = [
    pytest.param(first, second, id=f"{first.name}-{second.name}") for first, second in product(ROWS, ROWS)
]
INFORMED = INFO._replace(include_usage=True)
SAME_REASON = {StopReason.REFUSAL: StopReason.CONTENT_FILTER, StopReason.STOP_SEQUENCE: StopReason.STOP}


def across(events: list[Event]) -> dict[str, Any]:
    """What every dialect can tell.

    Chat has no order between thinking, text and calls; Messages does not count thinking apart, Gemini not what is written to a cache.
    """
    all_of: Any = told(events)
    usage = all_of["usage"]
    said = all_of["said"]
    reason = all_of["reason"]
    return {
        "thinking": "".join(item[1] for item in said if item[0] is ThinkingDelta),
        "text": "".join(item[1] for item in said if item[0] is TextDelta),
        "calls": [item for item in said if len(item) == 3],
        "reason": SAME_REASON.get(reason, reason),
        "usage": (
            usage["input"] + usage["cache_write"],
            usage["cache_read"],
            usage["output"] + usage["reasoning"],
        ),
    }


def sent(row: Dialect, events: list[Event]) -> bytes:
    encoder = row.encoder(INFORMED)
    return b"".join(encoder.send(event) for event in events) + row.done


@pytest.mark.parametrize(("first", "second"), PAIRS)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(events=answers())
def test_an_answer_tells_the_same_in_every_dialect(
    first: Dialect, second: Dialect, events: list[Event]
) -> None:
    expected = across(events)
    received = decode(first, sent(first, events))
    assert across(decode(second, sent(second, received))) == expected
    assert across(second.decode_unary(second.encoder(INFORMED).fold(received), ids())) == expected


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}, "n": {"type": ["integer", "null"]}},
    "required": ["city"],
}
MODELS = {"gemini": "gemini-2.5-pro", "anthropic": "claude-sonnet-4-5"}


def a_call() -> Call:
    return Call(
        "openai_chat",
        "m",
        [
            Message(Role.SYSTEM, [Text("be brief")]),
            Message(
                Role.USER,
                [
                    Text("see"),
                    Media("image", "image/png", "iVBORw0KGgo="),
                    Media("image", "image/png", url="https://e.com/a.png"),
                    Media("document", "application/pdf", "JVBERi0="),
                    Text("ok?"),
                ],
            ),
            Message(
                Role.ASSISTANT,
                [
                    Text("so"),
                    ToolCall("call_a", "f", '{"city":"Rome"}'),
                    ToolCall("call_b", "f", '{"city":"Bonn"}'),
                ],
            ),
            Message(
                Role.USER,
                [ToolResult("call_a", [Text("sunny")]), ToolResult("call_b", [Text("rainy")]), Text("and?")],
            ),
            Message(Role.ASSISTANT, [Text("done")]),
            Message(Role.USER, [Text("more")]),
        ],
        stream=True,
        max_tokens=1000,
        tools=[Tool("f", "does f", SCHEMA), Tool("g", None, {"type": "object", "properties": {}})],
        tool_choice=ToolChoice("tool", ["f"]),
        sampling=Sampling(temperature=0.5),
        output=OutputFormat("json_schema", SCHEMA, "n"),
    )


def asked(call: Call) -> dict[str, Any]:
    """What a request asks, without what only one dialect says of it."""
    turns: list[Any] = []
    for message in call.messages:
        parts = [_part(part) for part in message.parts]
        if turns and turns[-1][0] is message.role:
            turns[-1][1].extend(parts)
        else:
            turns.append((message.role, parts))
    return {
        "turns": turns,
        "tools": [(tool.name, tool.description, tool.parameters) for tool in call.tools],
        "choice": call.tool_choice and (call.tool_choice.mode, call.tool_choice.names),
        "knobs": (call.max_tokens, call.sampling.temperature, call.stream),
        "output": call.output
        and (call.output.kind, {**call.output.schema, "additionalProperties": None, "description": None}),
    }


def _part(part: Any) -> Any:
    if isinstance(part, Text):
        return part.text
    if isinstance(part, Media):
        # Chat and Messages do not tell the type of what they load themselves.
        return (part.kind, part.media_type if part.data else None, part.data, part.url)
    if isinstance(part, ToolCall):
        return (part.id, part.name, json.loads(part.arguments))
    assert isinstance(part, ToolResult)
    return (part.call_id, [_part(piece) for piece in part.content])


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_request_asks_the_same_in_every_dialect(first: Dialect, second: Dialect) -> None:
    call = a_call()
    for row in (first, second):
        model = MODELS.get(row.name, "openai/gpt-5")
        call = row.decode_request(row.encode_request(call, Aim(model)).body, model=model, stream=True)
    assert asked(call) == asked(a_call())


def _is_mine(case: dict[str, Any]) -> bool:
    path = case["request"]["path"].partition("?")[0]
    speaks = "enerateContent" in path or path.endswith("/responses")
    return bool(speaks and case["response"]["status"] == 200 and len(recorded_answer(case)) < 60_000)


RECORDED = recordings(
    _is_mine, "gemini-generateContent", "vertex", "openai-responses", "xai", "deepseek", "openrouter"
)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem[-60:])
def test_a_recorded_answer_tells_the_same_in_every_dialect(path: Path) -> None:
    case = json.loads(path.read_bytes())
    own = DIALECTS["gemini" if "enerateContent" in case["request"]["path"] else "openai_responses"]
    data = recorded_answer(case)
    events = decode(own, data) if "chunks" in case["response"] else own.decode_unary(data, ids())
    if any(isinstance(event, Failure) for event in events) or "custom_tool_call" in data.decode():
        return
    expected = across(events)
    for row in ROWS:
        found = across(
            decode(row, sent(row, events))
            if "chunks" in case["response"]
            else row.decode_unary(row.encoder(INFORMED).fold(events), ids())
        )
        if row.name == "openai_chat":
            # Signed thinking stands there twice: as text, and in the details with its signature.
            found["thinking"] = expected["thinking"]
        if expected["reason"] is StopReason.OTHER:
            found["reason"] = StopReason.OTHER
        assert found == expected, row.name


TOOLS: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "f"}, "eager": True}],
    },
    "anthropic": {
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "custom", "name": "f", "input_schema": {"type": "object"}, "eager": True}],
    },
    "gemini": {
        "contents": [{"parts": [{"text": "hi"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {}, "eager": True}]}],
    },
}


@pytest.mark.parametrize("first", TOOLS)
@pytest.mark.parametrize("second", TOOLS)
def test_what_only_one_dialect_knows_of_a_tool_is_named(first: str, second: str) -> None:
    body = json.dumps({"model": "m"} | TOOLS[first]).encode()
    call = DIALECTS[first].decode_request(body, model="m", stream=False)
    encoded = DIALECTS[second].encode_request(call, Aim("m"))
    assert list(encoded.dropped) == ([] if first == second else ["tools.eager"])
