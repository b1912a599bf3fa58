from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.simulator.ask import Refusal
from apipod_proxy.simulator.requests.openai_chat import read

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CALLS = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "18"}
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def _body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages) or [USER], **fields}


def test_a_full_request_is_understood() -> None:
    parts = [
        {"type": "text", "text": "look"},
        PNG,
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    parts.append(
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}}
    )
    ask = read(
        _body(
            {"role": "system", "content": "S"},
            {"role": "developer", "content": [{"type": "text", "text": "D"}]},
            {"role": "user", "content": parts},
            stream=True,
            stream_options={"include_usage": True},
            max_completion_tokens=9,
            n=2,
            stop="x",
            logprobs=True,
            tools=[TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
        )
    )
    assert (ask.system, ask.user, ask.images, ask.documents, ask.audio) == (
        ["S", "D"],
        "look",
        ["image/png, 3 bytes"],
        ["application/pdf, 3 bytes"],
        1,
    )
    assert (ask.stream, ask.max_tokens, ask.choices, ask.stops, ask.logprobs) == (True, 9, 2, ["x"], True)
    assert (ask.tools[0].name, ask.choice, ask.parallel) == ("get_weather", "any", False)


def test_results_belong_to_their_calls() -> None:
    second = {"id": "c2", "type": "function", "function": {"name": "get_news", "arguments": "{}"}}
    calls = CALLS | {"tool_calls": [*CALLS["tool_calls"], second]}  # type: ignore[misc]
    ask = read(_body(USER, calls, {"role": "tool", "tool_call_id": "c2", "content": "N"}, RESULT))
    assert (ask.results, ask.rounds) == ([("get_news", "N"), ("get_weather", "18")], 1)
    ask = read(
        _body(
            USER, CALLS, RESULT, {"role": "assistant", "content": "done"}, {"role": "user", "content": "more"}
        )
    )
    assert (ask.results, ask.rounds, ask.user) == ([], 0, "more")


def test_structured_output_gives_its_schema() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert read(_body(response_format=wanted)).schema == {"type": "object"}
    assert read(_body(response_format={"type": "text"})).schema is None


@pytest.mark.parametrize(
    ("body", "param", "text"),
    [
        ({"model": "m"}, "messages", "Missing required parameter: 'messages'."),
        ({"messages": [USER]}, "model", "Missing required parameter: 'model'."),
        (_body() | {"messages": []}, "messages", "empty array"),
        (_body() | {"messages": "x"}, "messages", "expected an array of objects"),
        (_body(stop_sequences=["x"]), None, "Unrecognized request argument supplied: stop_sequences"),
        (_body(system="x"), None, "Unrecognized request argument supplied: system"),
        (
            _body(stream_options={"include_usage": True}),
            "stream_options",
            "only allowed when 'stream' is enabled",
        ),
        (_body(max_tokens=1, max_completion_tokens=1), "max_tokens", "at the same time"),
        (_body(max_tokens="1"), "max_tokens", "expected an integer, but got a string"),
        (_body(max_tokens=0), "max_tokens", "below minimum value"),
        (_body(stop=["a"] * 5), "stop", "array too long"),
        (_body(top_logprobs=2), "top_logprobs", "only allowed when 'logprobs'"),
        (_body(tools=[]), "tools", "empty array"),
        (_body(tools=[{"name": "x", "input_schema": {}}]), "tools[0].type", "Invalid value"),
        (
            _body(tools=[{"type": "function", "function": {}}]),
            "tools[0].function.name",
            "Missing required parameter",
        ),
        (
            _body(tools=[{"type": "function", "function": {"name": "a b"}}]),
            "tools[0].function.name",
            "does not match pattern",
        ),
        (
            _body(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "x"}}),
            "tool_choice",
            "'x' not found in 'tools'",
        ),
        (_body(tools=[TOOL], tool_choice={"type": "auto"}), "tool_choice", "Invalid value"),
        (_body(tool_choice="auto"), "tool_choice", "only allowed when 'tools' are specified"),
        (_body(parallel_tool_calls=True), "parallel_tool_calls", "only allowed when 'tools' are specified"),
        (_body({"role": "model", "content": "x"}), "messages[0].role", "Invalid value: 'model'"),
        (_body({"role": "user"}), "messages[0].content", "expected a string, got null"),
        (
            _body({"role": "user", "content": [{"type": "image"}]}),
            "messages[0].content[0].type",
            "Invalid value: 'image'",
        ),
        (
            _body({"role": "system", "content": [PNG]}),
            "messages[0].content[0].type",
            "Supported values are: 'text'",
        ),
        (
            _body({"role": "user", "content": [{"type": "text"}]}),
            "messages[0].content[0].text",
            "Missing required",
        ),
        (
            _body({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "AAAA"}}]}),
            "messages[0].content[0].image_url.url",
            "URL",
        ),
        (
            _body(USER, RESULT),
            "messages.[1].role",
            "must be a response to a preceeding message with 'tool_calls'",
        ),
        (_body(USER, CALLS), "messages.[2].role", "did not have response messages: c1"),
        (_body(USER, CALLS, USER, RESULT), "messages.[2].role", "did not have response messages: c1"),
        (_body(USER, CALLS, RESULT | {"tool_call_id": "c9"}), "messages.[2].tool_call_id", "'c9' not found"),
        (_body(USER, CALLS, RESULT, RESULT), "messages.[3].tool_call_id", "'c1' not found"),
        (
            _body(USER, CALLS, {"role": "tool", "content": "x"}),
            "messages[2].tool_call_id",
            "Missing required",
        ),
        (
            _body(USER, {"role": "assistant", "content": "x", "tool_calls": []}),
            "messages[1].tool_calls",
            "empty array",
        ),
        (
            _body(
                USER,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": {"name": "x", "arguments": {}}}
                    ],
                },
            ),
            "messages[1].tool_calls[0].function.arguments",
            "expected a string, but got an object",
        ),
        (
            _body(response_format={"type": "json_schema"}),
            "response_format.json_schema.name",
            "Missing required",
        ),
    ],
)
def test_what_openai_refuses_is_refused(body: dict[str, Any], param: str | None, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(body)
    assert text in refused.value.message
    assert refused.value.param == param


def test_extras_of_compatible_providers_pass() -> None:
    assert read(_body(top_k=4, usage={"include": True}, provider={"order": []}, my_own=1)).model == "m"
