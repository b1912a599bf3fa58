from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from apipod_proxy.dialect.members import DECODER
from apipod_proxy.dialect.openai_responses import ROW
from apipod_proxy.dialect.openai_responses_memory import (
    REFERENCE,
    continued,
    input_items,
    item_not_found,
    kept,
    not_found,
    previous_id,
    references,
    resolved,
    response_of,
    wants_keeping,
)
from apipod_proxy.dialect.vocabulary import (
    End,
    Event,
    Finish,
    Message,
    Role,
    SignatureDelta,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArgs,
    ToolCall,
    ToolOpen,
    ToolResult,
)
from apipod_proxy.errors import BadRequest
from tests.dialect.wire import fold


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (body(), None),
        (body(previous_response_id=None), None),
        (body(previous_response_id="resp_1"), "resp_1"),
    ],
)
def test_a_request_tells_what_it_goes_on_from(request_body: bytes, expected: str | None) -> None:
    assert previous_id(DECODER.decode(request_body)) == expected


def test_an_id_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        previous_id(DECODER.decode(body(previous_response_id=3)))
    assert caught.value.path == "$.previous_response_id"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, True), ({"store": True}, True), ({"store": None}, True), ({"store": False}, False)],
)
def test_responses_are_kept_unless_the_client_says_otherwise(fields: dict[str, Any], expected: bool) -> None:
    assert wants_keeping(DECODER.decode(body(**fields))) is expected


def test_a_conversation_goes_on_over_two_turns() -> None:
    first = body(instructions="be brief", input="hi")
    answer: list[Event] = [
        ThinkingDelta("hm"),
        SignatureDelta("sig", "anthropic"),
        TextDelta("so", 1),
        ToolOpen("c1", "f", 2),
        ToolArgs("{}", 2),
        Finish(StopReason.TOOL_USE),
        End(),
    ]
    conversation = kept(first, fold(ROW, answer)["output"])
    second = continued(
        body(
            previous_response_id="resp_1",
            input=[{"type": "function_call_output", "call_id": "c1", "output": "x"}],
        ),
        conversation,
    )
    assert "previous_response_id" not in json.loads(second)
    call = ROW.decode_request(second)
    assert [message.role for message in call.messages] == [Role.USER, Role.ASSISTANT, Role.USER]
    assert call.messages[0] == Message(Role.USER, [Text("hi")])
    assert [type(part) for part in call.messages[1].parts] == [Thinking, Text, ToolCall]
    assert call.messages[1].parts[0] == Thinking("hm", "sig", "anthropic")
    assert call.messages[2] == Message(Role.USER, [ToolResult("c1", [Text("x")])])
    third = continued(body(previous_response_id="resp_2", input="more"), kept(second, []))
    assert len(json.loads(third)["input"]) == len(json.loads(second)["input"]) + 1


def test_a_request_without_input_goes_on_with_what_was_kept() -> None:
    conversation = kept(body(input="hi"), ["odd"])
    assert json.loads(continued(body(previous_response_id="r"), conversation))["input"] == [
        {"type": "message", "role": "user", "content": "hi"},
        "odd",
    ]


def test_an_unknown_response_is_refused_in_the_words_of_the_api() -> None:
    error = json.loads(ROW.encode_error(not_found("resp_9"), "req_1"))["error"]
    assert error["code"] == "previous_response_not_found"
    assert error["param"] == "previous_response_id"
    assert "resp_9" in error["message"]


def test_items_that_went_in_are_listed_without_those_that_came_out() -> None:
    conversation = orjson.dumps(
        [
            {"role": "user", "content": "a"},
            {"type": "message", "role": "assistant", "content": "b", "id": "msg_1"},
            {"type": "function_call_output", "call_id": "c", "output": "d"},
            "odd",
            {"type": "message", "role": "assistant", "content": []},
        ]
    )
    text = {"type": "message", "status": "completed"}
    assert input_items(conversation, 1, "resp_x") == [
        {"id": "item_x_0", **text, "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"id": "msg_1", **text, "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"id": "item_x_2", "type": "function_call_output", "call_id": "c", "output": "d"},
    ]


def test_a_request_that_names_items_gets_them_in_their_places() -> None:
    answer = fold(ROW, [TextDelta("so"), ToolOpen("c1", "f", 2), ToolArgs("{}", 2), End()])
    said, called = answer["output"]
    result = {"type": "function_call_output", "call_id": "c1", "output": "x"}
    named = body(
        input=[
            {"role": "user", "content": "hi"},
            {"type": "item_reference", "id": said["id"]},
            {"type": "item_reference", "id": called["id"]},
            {"type": "item_reference", "id": "fc_of_a_provider"},
            result,
        ]
    )
    assert REFERENCE in named
    assert references(named) == [said["id"], called["id"], "fc_of_a_provider"]
    assert [response_of(item) for item in references(named)] == [answer["id"], answer["id"], None]
    put = json.loads(resolved(named, {said["id"]: said, called["id"]: called}))["input"]
    assert [(item.get("type"), item.get("status")) for item in put] == [
        (None, None),
        ("message", None),
        ("function_call", None),
        ("item_reference", None),
        ("function_call_output", None),
    ]
    assert put[1]["content"] == said["content"]


@pytest.mark.parametrize("given", ["hi", None, [], ["odd", {"type": "item_reference"}, {"id": "msg_1"}]])
def test_a_request_may_name_no_items(given: Any) -> None:
    assert references(body(input=given)) == []


def test_an_unknown_item_is_refused_in_the_words_of_the_api() -> None:
    refused = item_not_found("rs_9")
    error = json.loads(ROW.encode_error(refused, "req_1"))["error"]
    assert (refused.status, error["type"], error["param"]) == (404, "invalid_request_error", "input")
    assert "Item with id 'rs_9' not found." in error["message"]
