from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.simulator.ask import Refusal
from apipod_proxy.simulator.requests.openai_responses import KIND, read
from apipod_proxy.simulator.signature import sign

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}", "id": "fc_1"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "18"}
PATCH = {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "x"}
PATCHED = {
    "type": "custom_tool_call_output",
    "call_id": "c2",
    "output": [{"type": "input_text", "text": "done"}],
}


def _body(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": list(items) or "hi", **fields}


def test_a_full_request_is_understood() -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
    ]
    parts.append({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"})
    ask = read(
        _body(
            {"type": "message", "role": "developer", "content": "D"},
            {"type": "message", "role": "user", "content": parts},
            instructions="I",
            stream=True,
            max_output_tokens=16,
            reasoning={"effort": "low"},
            text={"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
            tools=[
                {"type": "function", "name": "f", "parameters": {"type": "object"}},
                {"type": "custom", "name": "p"},
                {"type": "web_search"},
                {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
            ],
            tool_choice="required",
        )
    )
    assert (ask.system, ask.user, ask.images, ask.documents) == (
        ["I", "D"],
        "look",
        ["image/png, 3 bytes"],
        ["application/pdf, 3 bytes"],
    )
    assert (ask.stream, ask.max_tokens, ask.thinking, ask.schema, ask.choice) == (
        True,
        16,
        True,
        {"type": "object"},
        "any",
    )
    assert [(tool.name, tool.custom) for tool in ask.tools] == [("f", False), ("p", True), ("g", False)]


def test_outputs_belong_to_their_calls() -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sign(KIND, "x")}
    ask = read(_body(USER, reasoning, CALL, PATCH, OUTPUT, PATCHED))
    assert (ask.results, ask.rounds) == ([("get_weather", "18"), ("apply_patch", "done")], 1)
    assert read(_body(USER, CALL, OUTPUT, CALL | {"call_id": "c3"}, OUTPUT | {"call_id": "c3"})).rounds == 2


def test_calls_of_openais_own_tools_can_be_answered() -> None:
    call = {"type": "tool_search_call", "call_id": "c5", "arguments": {}, "execution": "client"}
    assert read(_body(USER, call, OUTPUT | {"call_id": "c5"})).results == [("tool_search_call", "18")]
    assert read(_body(USER, call)).results == []


def test_tools_can_stand_in_the_input() -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "f"}]}
    assert [tool.name for tool in read(_body(item, USER)).tools] == ["f"]


@pytest.mark.parametrize(
    ("body", "param", "text"),
    [
        ({"input": "x"}, "model", "Missing required parameter: 'model'."),
        ({"model": "m"}, "input", "Missing required parameter: 'input'."),
        (_body(messages=[]), "messages", "Unknown parameter: 'messages'."),
        (_body(max_tokens=1), "max_tokens", "Unknown parameter: 'max_tokens'."),
        (_body(max_output_tokens=1), "max_output_tokens", "Expected a value >= 16"),
        (_body(tools=[{"type": "function", "function": {"name": "x"}}]), "tools[0].name", "Missing required"),
        (_body(tools=[{"name": "x"}]), "tools[0].type", "Missing required"),
        (_body(tools=[{"type": "function", "name": "a b"}]), "tools[0].name", "does not match pattern"),
        (_body(tool_choice={"type": "function", "name": "x"}), "tool_choice", "'x' not found in 'tools'"),
        (_body(text={"format": {"type": "json_schema"}}), "text.format.name", "Missing required"),
        (_body({"role": "tool", "content": "x"}), "input[0].role", "Invalid value: 'tool'"),
        (
            _body({"role": "user", "content": [{"type": "text", "text": "x"}]}),
            "input[0].content[0]",
            "Invalid value: 'text'",
        ),
        (
            _body({"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}),
            "input[0].content[0]",
            "Invalid value: 'input_text'",
        ),
        (_body({"role": "user"}), "input[0].content", "Missing required"),
        (_body(USER, OUTPUT), "input", "No tool call found for function call output with call_id c1."),
        (_body(USER, CALL), "input", "No tool output found for function call c1."),
        (
            _body(USER, PATCH, OUTPUT | {"call_id": "c2"}),
            "input",
            "No tool call found for function call output with call_id c2.",
        ),
        (_body(USER, PATCH), "input", "No tool output found for custom tool call c2."),
        (
            _body(USER, {"type": "function_call", "call_id": "c", "name": "x"}),
            "input[1].arguments",
            "Missing required",
        ),
        (_body(USER, {"type": "function_call_output", "output": ""}), "input[1].call_id", "Missing required"),
        (
            _body(USER, {"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}),
            None,
            "item rs_1 could not be verified",
        ),
    ],
)
def test_what_openai_refuses_is_refused(body: dict[str, Any], param: str | None, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(body)
    assert text in refused.value.message
    assert refused.value.param == param
