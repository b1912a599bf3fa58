from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim
from apipod_proxy.dialect.anthropic import ROW
from apipod_proxy.dialect.anthropic.thinking import read
from apipod_proxy.dialect.vocabulary import (
    Call,
    Message,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from apipod_proxy.errors import BadRequest


@pytest.mark.parametrize(
    ("source", "effort", "expected"),
    [
        (None, None, None),
        (None, "high", Reasoning(effort="high")),
        ({"type": "adaptive"}, "max", Reasoning(True, "max", adaptive=True)),
        ({"type": "enabled", "budget_tokens": 31999}, None, Reasoning(True, budget=31999)),
        ({"type": "disabled"}, None, Reasoning(False)),
        ({"type": "adaptive", "display": "omitted"}, None, Reasoning(True, adaptive=True, show=False)),
        ({"type": "adaptive", "display": "summarized"}, None, Reasoning(True, adaptive=True, show=True)),
    ],
)
def test_every_way_to_ask_for_thinking_is_read(
    source: Any, effort: str | None, expected: Reasoning | None
) -> None:
    assert read(source, effort) == expected


@pytest.mark.parametrize(
    ("source", "effort", "path"),
    [
        ({}, None, "$.thinking.type"),
        ({"type": "x"}, None, "$.thinking.type"),
        (None, "huge", "$.output_config.effort"),
    ],
)
def test_a_wrong_wish_is_named_by_its_path(source: Any, effort: str | None, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(source, effort)
    assert caught.value.path == path


def asked(
    reasoning: Reasoning, aim: Aim, messages: list[Message] | None = None, **fields: Any
) -> tuple[Any, Any, int, tuple[str, ...]]:
    """(thinking, effort, max_tokens, dropped) of the request to a model."""
    call = Call(
        "openai_chat", "m", messages or [Message(Role.USER, [Text("hi")])], reasoning=reasoning, **fields
    )
    encoded = ROW.encode_request(call, aim)
    body = json.loads(encoded.body)
    return (
        body.get("thinking"),
        body.get("output_config", {}).get("effort"),
        body["max_tokens"],
        tuple(encoded.dropped),
    )


OLD = Aim("claude-sonnet-4-5", 64000)
NEW = Aim("claude-opus-4-6", 64000)
NEWEST = Aim("claude-opus-4-7", 64000)
SUMMARIZED = {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize(
    ("reasoning", "aim", "expected"),
    [
        (Reasoning(True, "low"), OLD, ({"type": "enabled", "budget_tokens": 2048}, None, 64000, ())),
        (Reasoning(True, budget=5000), OLD, ({"type": "enabled", "budget_tokens": 5000}, None, 64000, ())),
        (Reasoning(True, budget=5), OLD, ({"type": "enabled", "budget_tokens": 1024}, None, 64000, ())),
        (Reasoning(True, "max"), OLD, ({"type": "enabled", "budget_tokens": 48000}, None, 64000, ())),
        (Reasoning(True), OLD, ({"type": "enabled", "budget_tokens": 8192}, None, 64000, ())),
        (Reasoning(show=True), OLD, (None, None, 64000, ())),
        (Reasoning(True, "high"), Aim("m"), ({"type": "enabled", "budget_tokens": 21504}, None, 28672, ())),
        (Reasoning(True, "low"), Aim("m", 1200), (None, None, 1200, ("reasoning",))),
        (Reasoning(True, "low"), NEW, (SUMMARIZED, "low", 64000, ())),
        (Reasoning(True, "minimal", show=False), NEW, ({"type": "adaptive"}, "low", 64000, ())),
        (Reasoning(True, budget=9000), NEW, (SUMMARIZED, "medium", 64000, ())),
        (Reasoning(True, budget=60000), NEW, (SUMMARIZED, "high", 64000, ())),
        (Reasoning(True, "xhigh"), NEW, (SUMMARIZED, "high", 64000, ())),
        (Reasoning(True, "xhigh"), NEWEST, (SUMMARIZED, "xhigh", 64000, ())),
        (Reasoning(True, budget=-1), NEW, (SUMMARIZED, None, 64000, ())),
        (Reasoning(True, "ultra"), NEW, (SUMMARIZED, None, 64000, ("reasoning.effort",))),
        (Reasoning(True, "ultra"), OLD, ({"type": "enabled", "budget_tokens": 8192}, None, 64000, ())),
        (Reasoning(False, "none"), NEW, ({"type": "disabled"}, None, 64000, ())),
        (Reasoning(budget=0), OLD, ({"type": "disabled"}, None, 64000, ())),
        (Reasoning(False), Aim("m", 5, thinks=False), (None, None, 5, ())),
        (Reasoning(True, "low"), Aim("m", 5, thinks=False), (None, None, 5, ("reasoning",))),
    ],
)
def test_thinking_is_asked_for_as_the_model_wants_it(reasoning: Reasoning, aim: Aim, expected: Any) -> None:
    assert asked(reasoning, aim) == expected


def test_thinking_is_left_out_where_the_api_refuses_it() -> None:
    forced = asked(Reasoning(True, "low"), OLD, tools=[Tool("f")], tool_choice=ToolChoice("required"))
    assert (forced[0], forced[3]) == (None, ("reasoning",))
    loop = [
        Message(Role.USER, [Text("hi")]),
        Message(Role.ASSISTANT, [Thinking("Hmm", "g", "gemini"), ToolCall("t", "f", "{}")]),
        Message(Role.USER, [ToolResult("t", [Text("r")])]),
    ]
    assert asked(Reasoning(True, "low"), OLD, loop)[0::3] == (None, ("thinking", "reasoning"))
    loop[1].parts[0] = Thinking("Hmm", "s", "anthropic")
    assert asked(Reasoning(True, "low"), OLD, loop)[0] is not None


@pytest.mark.parametrize(
    ("kind", "signature", "kept"),
    [("enabled", "@gemini:s", False), ("adaptive", "@gemini:s", True), ("enabled", "s", True)],
)
def test_a_conversation_that_is_taken_over_goes_on_without_the_others_thinking(
    kind: str, signature: str, kept: bool
) -> None:
    wish = {"type": kind} | ({"budget_tokens": 1024} if kind == "enabled" else {})
    turns = [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "H", "signature": signature},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]},
    ]
    body = {"model": "m", "max_tokens": 2000, "messages": turns, "thinking": wish}
    encoded = ROW.encode_request(ROW.decode_request(json.dumps(body).encode()), Aim("m"))
    assert ("thinking" in json.loads(encoded.body)) is kept
    assert ("reasoning" in encoded.dropped) is not kept
