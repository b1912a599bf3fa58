from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim, Quirks
from apipod_proxy.dialect.openai_chat import ROW
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

MESSAGES = [{"role": "user", "content": "hi"}]
FUNCTION = {
    "type": "function",
    "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
}
PLAIN = Aim("m")
CUSTOM = {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}}


def decode(**members: Any) -> Call:
    return ROW.decode_request(json.dumps({"model": "m", "messages": MESSAGES} | members).encode())


def encode(call: Call, aim: Aim = PLAIN) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = ROW.encode_request(call, aim)
    return json.loads(encoded.body), tuple(encoded.dropped)


def foreign(**fields: Any) -> Call:
    return Call("anthropic", "m", [Message(Role.USER, [Text("hi")])], **fields)


KEPT: list[dict[str, Any]] = [
    {"max_completion_tokens": 7, "stop": ["a", "b"], "n": 2},
    {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "seed": 1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
    },
    {"logit_bias": {"5": 1}, "logprobs": True, "top_logprobs": 3},
    {"tools": [FUNCTION, CUSTOM], "tool_choice": "required", "parallel_tool_calls": False},
    {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"tools": [CUSTOM], "tool_choice": {"type": "custom", "custom": {"name": "c"}}},
    {
        "tools": [FUNCTION, CUSTOM],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [
                    {"type": "function", "function": {"name": "f"}},
                    {"type": "custom", "custom": {"name": "c"}},
                ],
            },
        },
    },
    {"tools": [{"type": "web_search", "x": 1}], "tool_choice": {"type": "web_search"}},
    {"functions": [FUNCTION["function"]], "function_call": {"name": "f"}},
    {"functions": [FUNCTION["function"]], "function_call": "auto"},
    {"tools": [FUNCTION | {"eager": True}]},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
        }
    },
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "text"}},
    {
        "reasoning_effort": "xhigh",
        "verbosity": "low",
        "modalities": ["text", "audio"],
        "audio": {"voice": "x"},
    },
    {"user": "bob", "metadata": {"a": "b"}, "service_tier": "flex", "prompt_cache_key": "k", "store": True},
    {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
    {"prediction": {"type": "content"}, "web_search_options": {}},
]


@pytest.mark.parametrize("members", KEPT)
def test_what_is_read_is_written_again(members: dict[str, Any]) -> None:
    assert encode(decode(**members)) == ({"model": "m", "messages": MESSAGES} | members, ())


def test_cache_marks_of_tools_are_kept_where_they_are_known() -> None:
    marked = FUNCTION | {"cache_control": {"type": "ephemeral"}}
    assert encode(decode(tools=[marked]), Aim("m", quirks=Quirks(cache_control=True)))[0]["tools"] == [marked]
    assert encode(decode(tools=[marked]))[1] == ("cache_control",)


def test_other_spellings_mean_the_same() -> None:
    assert decode(max_tokens=5).max_tokens == 5
    assert decode(max_tokens=5, max_completion_tokens=6).max_tokens == 6
    assert decode(max_tokens=-1).max_tokens is None
    assert decode(stop="x").stop == ["x"]
    assert decode(random_seed=3).sampling.seed == 3
    assert decode(safety_identifier="s", user="u").user == "s"
    assert decode(tool_choice="any").tool_choice == ToolChoice("required")
    assert decode(tool_choice={"name": "f"}).tool_choice == ToolChoice("tool", ["f"])
    assert decode(tool_choice={"type": "function", "name": "f"}).tool_choice == ToolChoice("tool", ["f"])
    assert decode(parallel_tool_calls=True).tool_choice == ToolChoice("auto", parallel=True)
    assert decode(response_format={"type": "json_object", "schema": {"a": 1}}).output == OutputFormat(
        "json_schema", {"a": 1}
    )
    assert decode(response_format={"type": "json_schema", "schema": {"name": "n"}}).output == OutputFormat(
        "json_schema", None, "n"
    )
    assert decode(stream_options={"include_usage": True}).include_usage
    assert decode(usage={"include": True}).include_usage
    assert not decode(usage={"include": "yes"}).include_usage
    assert not decode(usage=True).include_usage


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"reasoning_effort": "low"}, Reasoning(True, "low")),
        ({"reasoning_effort": "none"}, Reasoning(False, "none")),
        ({"reasoning_effort": "default"}, Reasoning(True)),
        ({"reasoning": {"effort": "high", "exclude": True}}, Reasoning(True, "high", show=False)),
        ({"reasoning": {"max_tokens": 2000}}, Reasoning(True, budget=2000)),
        ({"reasoning": {"enabled": False}}, Reasoning(False)),
        ({"thinking": {"type": "disabled"}}, Reasoning(False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, Reasoning(True, budget=9)),
        ({"thinking": {"type": "auto"}}, Reasoning(True, adaptive=True)),
        ({"thinking": {"type": "odd"}, "reasoning": {}}, None),
    ],
)
def test_every_way_to_ask_for_reasoning_is_read(members: dict[str, Any], expected: Reasoning | None) -> None:
    assert decode(**members).reasoning == expected


@pytest.mark.parametrize(
    ("reasoning", "quirks", "model", "members", "dropped"),
    [
        (Reasoning(True, budget=2000), Quirks(), "gpt-5", {"reasoning_effort": "low"}, ()),
        (Reasoning(True, "max"), Quirks(), "gpt-5", {"reasoning_effort": "high"}, ()),
        (Reasoning(True, "high"), Quirks(), "gpt-4o", {}, ("reasoning",)),
        (Reasoning(False), Quirks(), "gpt-4o", {}, ()),
        (Reasoning(False), Quirks(), "gpt-5", {}, ("reasoning",)),
        (Reasoning(True, adaptive=True), Quirks(), "gpt-5", {}, ()),
        (Reasoning(True, budget=-1), Quirks(), "gpt-5", {}, ("reasoning",)),
        (
            Reasoning(True, budget=2000, show=False),
            Quirks(reasoning_details=True),
            "x",
            {"reasoning": {"max_tokens": 2000, "exclude": True}},
            (),
        ),
        (Reasoning(True, "low"), Quirks(reasoning_details=True), "x", {"reasoning": {"effort": "low"}}, ()),
        (Reasoning(False), Quirks(reasoning_details=True), "x", {"reasoning": {"enabled": False}}, ()),
        (
            Reasoning(True, adaptive=True),
            Quirks(reasoning_details=True),
            "x",
            {"reasoning": {"enabled": True}},
            (),
        ),
    ],
)
def test_reasoning_is_asked_for_in_the_words_of_the_target(
    reasoning: Reasoning, quirks: Quirks, model: str, members: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, named = encode(foreign(reasoning=reasoning), Aim(model, quirks=quirks))
    assert {name: body[name] for name in ("reasoning", "reasoning_effort") if name in body} == members
    assert named == dropped


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"model": None}, "$.model"),
        ({"model": 5}, "$.model"),
        ({"messages": None}, "$.messages"),
        ({"messages": {}}, "$.messages"),
        ({"stream": "yes"}, "$.stream"),
        ({"stream_options": []}, "$.stream_options"),
        ({"max_tokens": "5"}, "$.max_tokens"),
        ({"temperature": "hot"}, "$.temperature"),
        ({"stop": [5]}, "$.stop[0]"),
        ({"stop": 5}, "$.stop"),
        ({"n": 1.5}, "$.n"),
        ({"logit_bias": []}, "$.logit_bias"),
        ({"tools": {}}, "$.tools"),
        ({"tools": [5]}, "$.tools[0]"),
        ({"tools": [{"type": "function"}]}, "$.tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "$.tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]},
            "$.tools[0].function.parameters",
        ),
        ({"functions": [{}]}, "$.functions[0].name"),
        ({"tool_choice": "maybe"}, "$.tool_choice"),
        ({"tool_choice": 5}, "$.tool_choice"),
        ({"tool_choice": {"type": "function"}}, "$.tool_choice.function"),
        ({"tool_choice": {"type": "function", "function": {}}}, "$.tool_choice.function.name"),
        ({"tool_choice": {"type": "allowed_tools"}}, "$.tool_choice.allowed_tools"),
        ({"tool_choice": {}}, "$.tool_choice.name"),
        ({"response_format": {}}, "$.response_format.type"),
        ({"response_format": {"type": "xml"}}, "$.response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "$.response_format.json_schema"),
        ({"reasoning_effort": "huge"}, "$.reasoning_effort"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(members: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(**members)
    assert caught.value.path == path


def test_limits_are_clamped_and_named() -> None:
    body, dropped = encode(
        foreign(max_tokens=9000, stop=list("abcde")), Aim("m", 4096, Quirks(max_tokens_field="max_tokens"))
    )
    assert (body["max_tokens"], body["stop"], dropped) == (4096, list("abcd"), ("max_tokens", "stop"))


def test_usage_is_asked_for_where_it_is_known() -> None:
    assert encode(foreign(stream=True))[0]["stream_options"] == {"include_usage": True}
    assert (
        "stream_options" not in encode(foreign(stream=True), Aim("m", quirks=Quirks(stream_usage=False)))[0]
    )


def test_knobs_that_the_target_lacks_are_named() -> None:
    call = foreign(
        sampling=Sampling(top_k=5, temperature=1),
        user="x" * 65,
        metadata={"a": 1},
        store=True,
        safety=Opaque("gemini", [], "safetySettings"),
        extra=[Opaque("anthropic", {"context_management": {}}, "context_management")],
    )
    body, dropped = encode(call, Aim("m", quirks=Quirks(drop=frozenset({"temperature"}))))
    assert dropped == ("top_k", "user", "metadata", "safetySettings", "context_management", "temperature")
    assert set(body) == {"model", "messages"}
    assert (
        encode(foreign(sampling=Sampling(top_k=5)), Aim("m", quirks=Quirks(extra={"top_k": True})))[0][
            "top_k"
        ]
        == 5
    )


def test_tools_of_other_providers_are_left_out_only_where_others_remain() -> None:
    search = Tool("web_search", hosted=Opaque("anthropic", {}, "$.tools[0]"))
    body, dropped = encode(foreign(tools=[search, Tool("f")]))
    assert ([tool["function"]["name"] for tool in body["tools"]], dropped) == (["f"], ("tools[0]",))
    for call in (
        foreign(tools=[search]),
        foreign(tools=[Tool("f"), search], tool_choice=ToolChoice("tool", ["web_search"])),
    ):
        with pytest.raises(BadRequest) as caught:
            encode(call)
        assert caught.value.path == "$.tools[0]"


def test_allowed_tools_of_other_dialects_are_the_only_ones_offered() -> None:
    tools = [Tool("f"), Tool("g")]
    body, _ = encode(foreign(tools=tools, tool_choice=ToolChoice("allowed", ["g"], required=True)))
    assert [tool["function"]["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == "required"
    body, _ = encode(foreign(tools=tools, tool_choice=ToolChoice("allowed", ["g"])))
    assert body["tool_choice"] == "auto"


def test_custom_tools_become_functions_where_they_are_not_known() -> None:
    tool = Tool(
        "c", "d", custom=True, format={"type": "grammar", "definition": "start: /a/", "syntax": "lark"}
    )
    inner = encode(foreign(tools=[tool]))[0]["tools"][0]["function"]
    assert inner["parameters"]["required"] == ["input"]
    assert "start: /a/" in inner["description"]
    assert (
        encode(foreign(tools=[tool]), Aim("m", quirks=Quirks(custom_tools=True)))[0]["tools"][0]["type"]
        == "custom"
    )


def test_earlier_responses_are_kept_elsewhere() -> None:
    with pytest.raises(BadRequest) as caught:
        encode(foreign(previous_response_id="resp_1"))
    assert caught.value.path == "$.previous_response_id"


def test_a_schema_without_a_name_gets_one() -> None:
    body, _ = encode(foreign(output=OutputFormat("json_schema", {"type": "object"})))
    assert body["response_format"]["json_schema"] == {"name": "response", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("model", "fixed"), [("gpt-5.2", True), ("o3", True), ("gpt-4o", False), ("openai/gpt-5.2", False)]
)
def test_sampling_that_a_model_refuses_is_left_out_for_clients_of_other_dialects(
    model: str, fixed: bool
) -> None:
    sampling = Sampling(temperature=0.2, top_p=0.95, presence_penalty=0.1, logprobs=False)
    body, dropped = encode(foreign(sampling=sampling, stop=["a"]), Aim(model))
    names = {"temperature", "top_p", "presence_penalty", "stop"}
    assert set(dropped) == (names if fixed else set())
    assert names & body.keys() == (set() if fixed else names)
    assert encode(foreign(sampling=Sampling(temperature=1)), Aim(model))[0]["temperature"] == 1
    assert encode(decode(temperature=0.2), Aim(model))[0]["temperature"] == 0.2


@pytest.mark.parametrize(
    ("model", "effort"),
    [("gpt-5.4", "none"), ("gpt-6", "none"), ("gpt-5.1", "high"), ("gpt-5-mini", "high"), ("o3", "high")],
)
def test_a_model_that_thinks_only_without_tools_gets_its_tools(model: str, effort: str) -> None:
    tools = [Tool("f", parameters={"type": "object"})]
    call = foreign(tools=tools, reasoning=Reasoning(True, "high"))
    body, dropped = encode(call, Aim(model))
    assert body["reasoning_effort"] == effort
    assert dropped == (("reasoning",) if effort == "none" else ())
    quiet, dropped = encode(foreign(tools=tools), Aim(model))
    assert (quiet.get("reasoning_effort"), dropped) == ("none" if effort == "none" else None, ())
    assert encode(foreign(reasoning=Reasoning(True, "high")), Aim(model))[0]["reasoning_effort"] == "high"
    kept, _ = encode(decode(tools=[FUNCTION], reasoning_effort="high"), Aim(model))
    assert kept["reasoning_effort"] == "high"


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("tool", "read"),
    [
        ({"name": "f", "description": "d", "input_schema": SCHEMA}, Tool("f", "d", SCHEMA)),
        ({"type": "custom", "name": "f", "input_schema": SCHEMA}, Tool("f", None, SCHEMA)),
        (
            {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True},
            Tool("f", None, SCHEMA, strict=True),
        ),
        (
            {"type": "custom", "name": "f", "format": {"type": "text"}},
            Tool("f", custom=True, format={"type": "text"}),
        ),
    ],
)
def test_tools_that_are_their_own_definition_are_read(tool: dict[str, Any], read: Tool) -> None:
    assert decode(tools=[tool]).tools == [read]


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "tool", "name": "f"}, ToolChoice("tool", ["f"])),
    ],
)
def test_choices_that_come_with_such_tools_are_read(choice: dict[str, Any], read: ToolChoice) -> None:
    assert decode(tools=[{"name": "f", "input_schema": SCHEMA}], tool_choice=choice).tool_choice == read
