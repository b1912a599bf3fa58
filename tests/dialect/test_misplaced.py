from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect.misplaced import as_chat
from apipod_proxy.errors import BadRequest


def meant(**members: Any) -> Any:
    body = as_chat(json.dumps({"model": "m", **members}).encode())
    return None if body is None else json.loads(body)


def test_a_request_of_responses_is_said_in_chat() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    said = meant(
        instructions="Be brief.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"},
        ],
        tools=[tool, {"type": "custom", "name": "patch"}],
        reasoning={"effort": "medium"},
        stream=True,
    )
    assert [message["role"] for message in said["messages"]] == ["system", "user", "assistant", "tool"]
    assert [tool["function"]["name"] for tool in said["tools"]] == ["f", "patch"]
    assert (said["model"], said["stream"], said["reasoning_effort"]) == ("m", True, "medium")
    assert meant(input="hi")["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("members", [{}, {"input": None}, {"input": "hi", "messages": []}])
def test_anything_else_is_left_as_it_is(members: dict[str, Any]) -> None:
    assert meant(**members) is None


@pytest.mark.parametrize("members", [{"input": 3}, {"input": "hi", "previous_response_id": "resp_1"}])
def test_what_is_wrong_in_it_is_told(members: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        meant(**members)
