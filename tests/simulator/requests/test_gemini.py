from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.simulator.ask import Refusal
from apipod_proxy.simulator.requests.gemini import KIND, read, read_count
from apipod_proxy.simulator.signature import sign

USER = {"role": "user", "parts": [{"text": "hi"}]}
SIGNED = {"functionCall": {"name": "get_weather", "args": {}, "id": "a"}, "thoughtSignature": sign(KIND, "x")}
SECOND = {"functionCall": {"name": "get_news", "args": {}, "id": "b"}}
ANSWER = {"functionResponse": {"name": "get_weather", "response": {"output": "18"}, "id": "a"}}
NEWS = {"functionResponse": {"name": "get_news", "response": {"x": 1}, "id": "b"}}


def _body(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"contents": list(contents) or [USER], **fields}


def _model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def _user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def _tools(**declaration: Any) -> list[dict[str, Any]]:
    return [{"functionDeclarations": [{"name": "get_weather", **declaration}]}]


@pytest.mark.parametrize("snake", [False, True])
def test_a_full_request_is_understood_in_both_spellings(snake: bool) -> None:
    def name(camel: str, other: str) -> str:
        return other if snake else camel

    image = {name("inlineData", "inline_data"): {name("mimeType", "mime_type"): "image/png", "data": "AAAA"}}
    pdf = {
        name("fileData", "file_data"): {
            name("mimeType", "mime_type"): "application/pdf",
            name("fileUri", "file_uri"): "gs://a",
        }
    }
    body = {
        "contents": [_user({"text": "look"}, image, pdf)],
        name("systemInstruction", "system_instruction"): {"parts": [{"text": "S"}]},
        name("generationConfig", "generation_config"): {
            name("maxOutputTokens", "max_output_tokens"): 9,
            name("stopSequences", "stop_sequences"): ["x"],
            name("candidateCount", "candidate_count"): 2,
            name("thinkingConfig", "thinking_config"): {name("includeThoughts", "include_thoughts"): True},
            name("responseMimeType", "response_mime_type"): "application/json",
            name("responseSchema", "response_schema"): {"type": "OBJECT"},
        },
        "tools": [
            {
                name("functionDeclarations", "function_declarations"): [
                    {"name": "f", name("parametersJsonSchema", "parameters_json_schema"): {}}
                ]
            }
        ],
        name("toolConfig", "tool_config"): {
            name("functionCallingConfig", "function_calling_config"): {
                "mode": "ANY",
                name("allowedFunctionNames", "allowed_function_names"): ["f"],
            }
        },
    }
    ask = read("m", body, stream=True)
    assert (ask.system, ask.user, ask.images, ask.documents) == (
        ["S"],
        "look",
        ["image/png, 3 bytes"],
        ["gs://a"],
    )
    assert (ask.stream, ask.max_tokens, ask.stops, ask.choices, ask.thinking) == (True, 9, ["x"], 2, True)
    assert (ask.schema, ask.tools[0].name, ask.choice) == ({"type": "OBJECT"}, "f", "f")


def test_responses_belong_to_their_calls_in_any_order() -> None:
    ask = read("m", _body(USER, _model(SIGNED, SECOND), _user(NEWS, ANSWER)))
    assert (ask.results, ask.rounds) == ([("get_news", "{'x': 1}"), ("get_weather", "18")], 1)
    nameless = [
        {"functionResponse": {key: value for key, value in one["functionResponse"].items() if key != "id"}}
        for one in (ANSWER, NEWS)
    ]
    assert read("m", _body(USER, _model(SIGNED, SECOND), _user(*nameless))).rounds == 1


def test_chunks_of_a_stream_that_were_kept_as_contents_are_one_turn() -> None:
    chunks = (_model({"text": "So"}), _model(SIGNED), _model(SECOND), _model({"text": ""}))
    ask = read("gemini-3-pro", _body(USER, *chunks, _user(ANSWER, NEWS)))
    assert len(ask.results) == 2


def test_a_response_may_hold_images() -> None:
    held = {
        "functionResponse": ANSWER["functionResponse"]
        | {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}
    }
    assert read("m", _body(USER, _model(SIGNED), _user(held))).images == ["image/png, 3 bytes"]


def test_a_missing_signature_matters_in_the_current_turn_of_gemini_3_only() -> None:
    unsigned = {"functionCall": SIGNED["functionCall"]}
    body = _body(USER, _model(unsigned), _user(ANSWER))
    with pytest.raises(Refusal, match="missing a thought_signature in functionCall parts"):
        read("gemini-3-pro", body)
    assert read("gemini-2.5-pro", body).rounds == 1
    assert (
        read("gemini-3-pro", body | {"contents": [*body["contents"], _model({"text": "x"}), USER]}).rounds
        == 0
    )
    for stand_in in ("skip_thought_signature_validator", "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="):
        skipped = unsigned | {"thoughtSignature": stand_in}
        assert read("gemini-3-pro", _body(USER, _model(skipped), _user(ANSWER))).rounds == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "contents is not specified"),
        (_body(messages=[]), 'Unknown name "messages": Cannot find field.'),
        (
            _body(generationConfig={"max_tokens": 1}),
            "Unknown name \"max_tokens\" at 'generation_config': Cannot find field.",
        ),
        (_body({"role": "user", "content": "x"}), "Unknown name \"content\" at 'contents[0]'"),
        (_body({"role": "assistant", "parts": [{"text": "x"}]}), "valid role: user, model"),
        (_body({"role": "user", "parts": []}), "must not be empty"),
        (_body(_user({"type": "text", "text": "x"})), "Unknown name \"type\" at 'contents[0].parts[0]'"),
        (
            _body(_user({"text": "x", "inlineData": {"mimeType": "a/b", "data": ""}})),
            "oneof field 'data' is already set",
        ),
        (_body(_user({})), "must have one initialized field"),
        (_body(_user({"inlineData": {"data": "AAAA"}})), "mime_type must be set"),
        (_body(_user({"functionResponse": {"name": "x", "response": "y"}})), "Value is not a struct"),
        (_body(_user({"functionResponse": {"response": {}}})), "Name cannot be empty"),
        (_body(generationConfig={"maxOutputTokens": 0}), "must be positive"),
        (_body(generationConfig={"stopSequences": list("abcdef")}), "at most 5 stop sequences"),
        (
            _body(generationConfig={"thinkingConfig": {"thinkingBudget": 1, "thinkingLevel": "LOW"}}),
            "only one of thinking budget and thinking level",
        ),
        (
            _body(generationConfig={"responseSchema": {"type": "OBJECT"}}),
            "only supported with application/json",
        ),
        (
            _body(generationConfig={"responseMimeType": "application/json", "responseSchema": {"$ref": "#"}}),
            "Unknown name \"$ref\" at 'generation_config.response_schema'",
        ),
        (
            _body(tools=_tools(parameters={"type": "object", "additionalProperties": False})),
            "Unknown name \"additionalProperties\" at 'tools[0].function_declarations[0].parameters'",
        ),
        (
            _body(tools=_tools(parameters={"type": "object", "required": ["x"], "properties": {}})),
            "required[0]: property is not defined",
        ),
        (
            _body(tools=_tools(input_schema={})),
            "Unknown name \"input_schema\" at 'tools[0].function_declarations[0]'",
        ),
        (_body(tools=[{"functionDeclarations": [{"name": "a b"}]}]), "Invalid function name"),
        (_body(tools=_tools() + _tools()), "Duplicate function declaration found: get_weather"),
        (
            _body(
                tools=_tools(),
                toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}},
            ),
            "is not declared: x",
        ),
        (
            _body(
                tools=_tools(),
                toolConfig={"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["x"]}},
            ),
            "mode is not ANY",
        ),
        (_body(USER, _model(SIGNED)), "function response turn comes immediately after a function call turn"),
        (
            _body(USER, _model(SIGNED), _model({"text": "x"})),
            "function response turn comes immediately after a function call turn",
        ),
        (_body(_model(SIGNED), _user(ANSWER)), "function call turn comes immediately after a user turn"),
        (_body(USER, _model(SIGNED, SECOND), _user(ANSWER)), "number of function response parts is equal"),
        (_body(USER, _user(ANSWER)), "number of function response parts is equal"),
        (_body(USER, _model(SIGNED), _user(NEWS)), "does not match any function call"),
        (
            _body(USER, _model(SIGNED | {"thoughtSignature": "abc"}), _user(ANSWER)),
            "Thought signature is not valid",
        ),
    ],
)
def test_what_google_refuses_is_refused(body: dict[str, Any], text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read("gemini-3-pro", body)
    assert text in refused.value.message


def test_counting_takes_contents_or_a_whole_request() -> None:
    assert read_count("m", {"contents": [USER]}).turns == 1
    assert read_count(
        "m",
        {
            "generateContentRequest": {
                "model": "models/m",
                "contents": [USER],
                "systemInstruction": {"parts": [{"text": "S"}]},
            }
        },
    ).system == ["S"]
    with pytest.raises(Refusal, match="contents is not specified"):
        read_count("m", {})
