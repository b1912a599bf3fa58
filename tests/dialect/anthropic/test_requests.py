from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim, Quirks
from apipod_proxy.dialect.anthropic import ROW
from apipod_proxy.dialect.vocabulary import (
    Call,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
)
from apipod_proxy.errors import BadRequest

BASE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
}
TOOL = {
    "name": "f",
    "description": "d",
    "input_schema": {"type": "object"},
    "strict": True,
    "cache_control": {"type": "ephemeral"},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def decode(**members: Any) -> Call:
    return ROW.decode_request(json.dumps(BASE | members).encode())


def encode(
    call: Call, name: str = "m", most: int | None = None, **aim: Any
) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = ROW.encode_request(call, Aim(name, most, **aim))
    return json.loads(encoded.body), tuple(encoded.dropped)


def foreign(**fields: Any) -> Call:
    return Call("openai_chat", "m", [Message(Role.USER, [Text("hi")])], **fields)


@pytest.mark.parametrize(
    "members",
    [
        {"stream": True, "stop_sequences": ["a"], "temperature": 0.5, "top_p": 0.9, "top_k": 5},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
        {"tools": [TOOL | {"defer_loading": True, "type": "custom"}], "tool_choice": {"type": "any"}},
        {
            "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
            "tool_choice": {"type": "auto"},
        },
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {
            "thinking": {"type": "enabled", "budget_tokens": 5},
            "metadata": {"user_id": "u", "x": "y"},
            "service_tier": "standard_only",
        },
        {
            "thinking": {"type": "adaptive", "display": "omitted"},
            "output_config": {"effort": "xhigh", "task_budget": 5},
        },
        {"thinking": {"type": "disabled"}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "low"}},
        {
            "context_management": {"edits": []},
            "container": "c",
            "mcp_servers": [{}],
            "cache_control": {"type": "ephemeral"},
        },
    ],
)
def test_what_is_read_is_written_again(members: dict[str, Any]) -> None:
    assert encode(decode(**members)) == (BASE | members, ())


def test_other_spellings_mean_the_same() -> None:
    assert decode(output_format={"type": "json_schema", "schema": SCHEMA}).output == OutputFormat(
        "json_schema", SCHEMA, strict=True
    )
    assert decode(service_tier="auto").service_tier == "auto"
    assert decode().include_usage
    assert decode(max_tokens=None).max_tokens is None


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"model": None}, "$.model"),
        ({"messages": None}, "$.messages"),
        ({"system": 5}, "$.system"),
        ({"max_tokens": "9"}, "$.max_tokens"),
        ({"stop_sequences": "a"}, "$.stop_sequences"),
        ({"tools": [5]}, "$.tools[0]"),
        ({"tools": [{}]}, "$.tools[0].name"),
        ({"tools": [{"name": "f"}]}, "$.tools[0].input_schema"),
        ({"tool_choice": "auto"}, "$.tool_choice"),
        ({"tool_choice": {"type": "some"}}, "$.tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "$.tool_choice.name"),
        ({"output_config": {"format": {"type": "xml"}}}, "$.output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "$.output_config.format.schema"),
        ({"metadata": {"user_id": 5}}, "$.metadata.user_id"),
        ({"thinking": 5}, "$.thinking"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(members: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**members)
    assert caught.value.path == path


def test_the_limit_that_the_api_demands_is_always_there() -> None:
    assert encode(foreign())[0]["max_tokens"] == 4096
    assert encode(foreign(), most=100)[0]["max_tokens"] == 100
    body, dropped = encode(foreign(max_tokens=500), most=100)
    assert (body["max_tokens"], dropped) == (100, ("max_tokens",))


@pytest.mark.parametrize(
    ("sampling", "model", "members", "dropped"),
    [
        (Sampling(temperature=0.5), "m", {"temperature": 0.5}, ()),
        (Sampling(temperature=1.7), "m", {"temperature": 1.0}, ("temperature",)),
        (Sampling(temperature=0.5, top_p=0.9), "m", {"temperature": 0.5}, ("top_p",)),
        (Sampling(top_p=0.9, top_k=4), "m", {"top_p": 0.9, "top_k": 4}, ()),
        (Sampling(temperature=0.5, top_k=3), "claude-opus-4-7", {}, ("temperature", "top_k")),
        (
            Sampling(seed=1, presence_penalty=0.1, frequency_penalty=0.0, logprobs=False, logit_bias={}),
            "m",
            {},
            ("seed", "presence_penalty", "frequency_penalty", "logit_bias"),
        ),
    ],
)
def test_sampling_is_fitted_to_what_the_api_takes(
    sampling: Sampling, model: str, members: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, named = encode(foreign(sampling=sampling), model)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == members
    assert named == dropped


def test_thinking_fixes_the_sampling() -> None:
    call = foreign(sampling=Sampling(temperature=0.5, top_p=0.97), reasoning=Reasoning(True, "low"))
    body, dropped = encode(call, most=9000)
    assert ("temperature" in body, body["top_p"], dropped) == (False, 0.97, ("temperature",))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice("auto"), {"type": "auto"}),
        (ToolChoice("required", parallel=False), {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("none", parallel=False), {"type": "none"}),
        (ToolChoice("tool", ["g"]), {"type": "tool", "name": "g"}),
        (ToolChoice("allowed", ["g"], required=True), {"type": "any"}),
        (ToolChoice("allowed", ["g"], parallel=True), {"type": "auto", "disable_parallel_tool_use": False}),
    ],
)
def test_every_choice_of_tools_has_its_form(choice: ToolChoice, expected: Any) -> None:
    body, _ = encode(foreign(tools=[Tool("f"), Tool("g")], tool_choice=choice))
    assert body["tool_choice"] == expected
    assert [tool["name"] for tool in body["tools"]] == (["g"] if choice.mode == "allowed" else ["f", "g"])


def test_tools_have_a_schema_of_an_object() -> None:
    tools = [Tool("f"), Tool("g", parameters={"properties": {}}, strict=True), Tool("c", "d", custom=True)]
    body, dropped = encode(foreign(tools=tools))
    assert body["tools"][0] == {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    assert body["tools"][1]["input_schema"] == {"type": "object", "properties": {}}
    assert body["tools"][2]["input_schema"]["required"] == ["input"]
    assert dropped == ("strict",)


def test_tools_of_other_providers_are_left_out_only_where_others_remain() -> None:
    search = Tool("web_search", hosted=Opaque("openai_chat", {}, "$.tools[1]"))
    assert encode(foreign(tools=[Tool("f"), search]))[1] == ("tools[1]",)
    for call in (
        foreign(tools=[search]),
        foreign(tools=[Tool("f"), search], tool_choice=ToolChoice("tool", ["web_search"])),
    ):
        with pytest.raises(BadRequest) as caught:
            encode(call)
        assert caught.value.path == "$.tools[1]"


def test_structured_output_is_strict_or_named() -> None:
    body, _ = encode(foreign(output=OutputFormat("json_schema", SCHEMA)))
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": SCHEMA | {"additionalProperties": False},
    }
    assert encode(foreign(output=OutputFormat("json_object")))[1] == ("response_format",)
    assert encode(foreign(output=OutputFormat("text")))[1] == ()


def test_knobs_that_the_api_lacks_are_named() -> None:
    call = foreign(
        stop=[" ", "x"],
        user="bob",
        metadata={"a": 1},
        verbosity="low",
        cache_key="k",
        store=True,
        service_tier="flex",
        safety=Opaque("gemini", [], "safetySettings"),
        extra=[Opaque("openai_chat", {"prediction": {}}, "prediction")],
    )
    body, dropped = encode(call, quirks=Quirks(drop=frozenset({"metadata"})))
    assert body["stop_sequences"] == ["x"]
    assert "metadata" not in body
    assert dropped == (
        "stop",
        "service_tier",
        "metadata",
        "verbosity",
        "prompt_cache_key",
        "store",
        "safetySettings",
        "prediction",
    )
    assert "stop_sequences" not in encode(foreign(stop=["\n"]))[0]
    assert encode(foreign(user="bob"))[0]["metadata"] == {"user_id": "bob"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"choices": 2}, "$.n"),
        ({"modalities": ["text", "audio"]}, "$.modalities"),
        ({"previous_response_id": "r"}, "$.previous_response_id"),
    ],
)
def test_what_is_more_than_a_knob_is_refused(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        encode(foreign(**fields))
    assert caught.value.path == path


def test_the_path_is_that_of_the_clients_dialect() -> None:
    for fields, path in (
        ({"choices": 2}, "$.generationConfig.candidateCount"),
        ({"modalities": ["image"]}, "$.generationConfig.responseModalities"),
    ):
        with pytest.raises(BadRequest) as caught:
            encode(Call("gemini", "m", [Message(Role.USER, [Text("hi")])], **fields))
        assert caught.value.path == path
