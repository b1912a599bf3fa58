from __future__ import annotations

from typing import Any

import orjson
import pytest

from apipod_proxy.dialect import Aim, Encoded, openai_chat
from apipod_proxy.dialect.cohere_requests import encode_request
from apipod_proxy.dialect.vocabulary import Call
from apipod_proxy.errors import BadRequest

USER = {"role": "user", "content": "Hi"}
FIND = {
    "type": "function",
    "function": {"name": "find", "description": "Finds", "parameters": {"type": "object"}},
}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": True}}


def call_of(messages: list[Any] | None = None, **fields: Any) -> Call:
    body = {"model": "m", "messages": messages or [USER], **fields}
    return openai_chat.ROW.decode_request(orjson.dumps(body))


def encoded(
    messages: list[Any] | None = None, model: str = "command-a", **fields: Any
) -> tuple[dict[str, Any], Encoded]:
    out = encode_request(call_of(messages, **fields), Aim(model, max_output=4000))
    return orjson.loads(out.body), out


def body_of(messages: list[Any] | None = None, model: str = "command-a", **fields: Any) -> dict[str, Any]:
    return encoded(messages, model, **fields)[0]


def test_a_plain_question_stays_plain() -> None:
    assert body_of([{"role": "developer", "content": "Be kind."}, USER], stream=True) == {
        "model": "command-a",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "stream": True,
    }


def test_knobs_have_its_names_and_what_it_lacks_is_named() -> None:
    body, out = encoded(
        max_completion_tokens=9000,
        temperature=0.2,
        top_p=0.9,
        seed=7,
        stop=["a", "b"],
        presence_penalty=0.1,
        logit_bias={"1": 1},
        n=2,
        user="u",
    )
    assert {name: body[name] for name in body if name not in ("model", "messages", "stream")} == {
        "max_tokens": 4000,
        "stop_sequences": ["a", "b"],
        "temperature": 0.2,
        "p": 0.9,
        "seed": 7,
        "presence_penalty": 0.1,
    }
    assert set(out.dropped) >= {"max_tokens", "logit_bias", "n", "user"}
    assert "p" not in body_of(top_p=1)


def test_what_is_beyond_its_ranges_is_cut_and_named() -> None:
    body, out = encoded(top_p=0, frequency_penalty=-1, presence_penalty=1.5)
    assert (body["p"], body["frequency_penalty"], body["presence_penalty"]) == (0.01, 0, 1)
    assert set(out.dropped) == {"top_p", "frequency_penalty", "presence_penalty"}
    body, out = encoded(top_p=1, frequency_penalty=0.5)
    assert ("p" in body, body["frequency_penalty"], out.dropped) == (False, 0.5, ())


def test_tools_are_strict_where_each_of_them_requires_a_parameter() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    ask = {"type": "function", "function": {"name": "ask", "parameters": schema, "strict": True}}
    assert body_of(tools=[ask])["strict_tools"] is True
    for others in ([LOOK], [ask, LOOK], [ask, FIND]):
        body, out = encoded(tools=others)
        assert "strict_tools" not in body
        assert out.dropped == ("strict",)


def test_a_choice_of_tools_that_are_not_there_is_refused() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "gone"}}]}
    for choice in (
        {"type": "function", "function": {"name": "gone"}},
        {"type": "allowed_tools", "allowed_tools": allowed},
    ):
        with pytest.raises(BadRequest) as caught:
            body_of(tools=[FIND], tool_choice=choice)
        assert caught.value.path == "$.tool_choice"


def test_one_tool_is_demanded_by_offering_no_other() -> None:
    body = body_of(tools=[FIND, LOOK], tool_choice={"type": "function", "function": {"name": "look"}})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]
    assert body["tool_choice"] == "REQUIRED"
    assert body_of(tools=[FIND], tool_choice="none")["tool_choice"] == "NONE"
    assert body_of(tools=[FIND], tool_choice="required")["tool_choice"] == "REQUIRED"
    assert "tool_choice" not in body_of(tools=[FIND], tool_choice="auto")


def test_what_was_said_before_a_call_is_its_plan() -> None:
    calls = [{"id": "t-1", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}]
    history = [
        USER,
        {"role": "assistant", "content": "I look it up.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "t-1", "content": "42"},
    ]
    assert body_of(history, tools=[FIND])["messages"][1:] == [
        {"role": "assistant", "tool_plan": "I look it up.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "t-1", "content": "42"},
    ]


def test_images_go_along_and_sounds_are_refused() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    (message,) = body_of([{"role": "user", "content": [{"type": "text", "text": "See"}, image]}])["messages"]
    assert message["content"] == [{"type": "text", "text": "See"}, image]
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    with pytest.raises(BadRequest) as caught:
        body_of([{"role": "user", "content": [sound]}])
    assert caught.value.path == "$.messages[0].content[0]"


def test_schemas_become_its_json_object() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert body_of(response_format=form)["response_format"] == {"type": "json_object", "json_schema": schema}
    assert body_of(response_format={"type": "json_object"})["response_format"] == {"type": "json_object"}
    assert "response_format" not in body_of(response_format={"type": "text"})


def test_only_models_that_reason_are_told_to() -> None:
    body, out = encoded(model="command-a-reasoning-08-2025", reasoning_effort="high")
    assert body["thinking"] == {"type": "enabled"}
    assert "reasoning.effort" in out.dropped
    body, out = encoded(reasoning_effort="high")
    assert "thinking" not in body
    assert "reasoning" in out.dropped
    assert body_of(model="command-a-reasoning-08-2025", reasoning_effort="none")["thinking"] == {
        "type": "disabled"
    }
