from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim, Quirks, json_schema
from apipod_proxy.dialect.gemini_requests import (
    BUDGETS,
    decode_request,
    encode_request,
    thinking_config,
)
from apipod_proxy.dialect.openai_chat import ROW as CHAT
from apipod_proxy.dialect.vocabulary import (
    Call,
    Media,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
GEMINI_SCHEMA = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
HI = [{"role": "user", "parts": [{"text": "hi"}]}]


def read(**fields: Any) -> Call:
    return decode_request(
        json.dumps({"contents": HI, **fields}).encode(), model="gemini-2.5-flash", stream=False
    )


def write(call: Call, model: str = "gemini-2.5-flash", **aim: Any) -> Any:
    return json.loads(encode_request(call, Aim(model, **aim)).body)


def dropped(call: Call, model: str = "gemini-2.5-flash", **aim: Any) -> list[str]:
    return list(encode_request(call, Aim(model, **aim)).dropped)


def a_call(**fields: Any) -> Call:
    return Call("openai_chat", "m", fields.pop("messages", [Message(Role.USER, [Text("hi")])]), **fields)


def snake(value: Any) -> Any:
    """The same request as some SDKs spell it."""
    kept = {"properties", "args", "response", "labels"}
    if isinstance(value, dict):
        return {
            "".join(f"_{c.lower()}" if c.isupper() else c for c in key): item if key in kept else snake(item)
            for key, item in value.items()
        }
    return [snake(item) for item in value] if isinstance(value, list) else value


RICH: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "be brief"}, {"text": "be kind"}]},
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "see"}, {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}],
        },
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {
                    "functionCall": {"id": "a", "name": "f", "args": {"some_arg": 1}},
                    "thoughtSignature": "AQ==",
                },
                {"functionCall": {"id": "b", "name": "f", "args": {"some_arg": 2}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "f", "response": {"output": "x"}}},
                {"functionResponse": {"id": "b", "name": "f", "response": {"error": "y"}}},
            ],
        },
    ],
    "tools": [
        {"googleSearch": {"timeRangeFilter": {"startTime": "x"}}},
        {
            "functionDeclarations": [
                {"name": "f", "description": "does", "parameters": GEMINI_SCHEMA, "behavior": "BLOCKING"}
            ]
        },
        {"codeExecution": {}},
        {"urlContext": {}},
    ],
    "toolConfig": {
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
        "retrievalConfig": {"languageCode": "de"},
    },
    "generationConfig": {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "maxOutputTokens": 100,
        "stopSequences": ["END"],
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseSchema": GEMINI_SCHEMA,
        "responseModalities": ["TEXT", "IMAGE"],
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
        "speechConfig": {"languageCode": "de-DE"},
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
    },
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    "cachedContent": "cachedContents/x",
    "labels": {"some_label": "y"},
    "serviceTier": "flex",
}


@pytest.mark.parametrize("source", [RICH, snake(RICH)], ids=["camel", "snake"])
def test_a_rich_request_is_read_and_written_back(source: dict[str, Any]) -> None:
    call = decode_request(json.dumps(source).encode(), model="gemini-2.5-flash", stream=True)
    assert call.stream
    assert call.messages == [
        Message(Role.SYSTEM, [Text("be brief"), Text("be kind")]),
        Message(Role.USER, [Opaque("gemini", {"cachedContent": "cachedContents/x"}, "$.cachedContent")]),
        *call.messages[2:],
    ]
    assert [tool.name for tool in call.tools] == ["googleSearch", "f", "codeExecution", "urlContext"]
    assert call.tools[1].parameters == SCHEMA
    assert call.tool_choice == ToolChoice("tool", ["f"])
    assert call.sampling == Sampling(0.5, 0.9, 40, 7, 0.1, 0.2, None, True, 3)
    assert (call.max_tokens, call.stop, call.choices, call.modalities) == (100, ["END"], 2, ["text", "image"])
    assert call.output == OutputFormat("json_schema", SCHEMA)
    assert call.reasoning == Reasoning(True, None, 1024, show=True)
    encoded = encode_request(call, Aim("gemini-2.5-flash"))
    assert json.loads(encoded.body) == RICH
    assert encoded.dropped == ()


def test_the_model_may_stand_in_the_body() -> None:
    assert decode_request(json.dumps({"model": "models/m", "contents": HI}).encode()).model == "m"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"contents": None}, "$.contents"),
    ({"contents": []}, "$.contents"),
    ({"systemInstruction": 3}, "$.systemInstruction"),
    ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "$.systemInstruction.parts[0].text"),
    ({"tools": 3}, "$.tools"),
    ({"tools": [3]}, "$.tools[0]"),
    ({"tools": [{"functionDeclarations": [{}]}]}, "$.tools[0].functionDeclarations[0].name"),
    ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "$.toolConfig.functionCallingConfig.mode"),
    ({"generationConfig": []}, "$.generationConfig"),
    ({"generationConfig": {"temperature": "hot"}}, "$.generationConfig.temperature"),
    ({"generationConfig": {"stop_sequences": [1]}}, "$.generationConfig.stopSequences[0]"),
    ({"generationConfig": {"topK": 1, "top_k": 1}}, "$.generationConfig.topK"),
    (
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": "x"}}},
        "$.generationConfig.thinkingConfig.thinkingBudget",
    ),
    ({"safetySettings": {}}, "$.safetySettings"),
    ({"cachedContent": 1}, "$.cachedContent"),
]


@pytest.mark.parametrize(("fields", "path"), WRONG)
def test_what_is_wrong_is_named_with_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "given",
    [
        "be brief",
        ["be brief"],
        {"parts": [{"text": "be brief"}]},
        {"text": "be brief"},
        {"role": "user", "parts": "be brief"},
    ],
)
def test_instructions_come_in_many_forms(given: Any) -> None:
    assert read(system_instruction=given).messages[0] == Message(Role.SYSTEM, [Text("be brief")])


@pytest.mark.parametrize("given", ["", None, {"parts": []}])
def test_empty_instructions_are_none(given: Any) -> None:
    assert read(systemInstruction=given).messages[0].role is Role.USER


CHOICES: list[tuple[Any, ToolChoice | None]] = [
    ({"mode": "AUTO"}, ToolChoice("auto")),
    ({"mode": "auto"}, ToolChoice("auto")),
    ({"mode": "NONE"}, ToolChoice("none")),
    ({"mode": "ANY"}, ToolChoice("required")),
    ({"mode": "ANY", "allowedFunctionNames": ["f"]}, ToolChoice("tool", ["f"])),
    ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, ToolChoice("allowed", ["f", "g"], required=True)),
    ({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]}, ToolChoice("allowed", ["f", "g"])),
    ({"mode": "VALIDATED"}, ToolChoice("auto")),
]


@pytest.mark.parametrize(("config", "choice"), CHOICES)
def test_choices_of_tools_survive_there_and_back(config: Any, choice: ToolChoice | None) -> None:
    call = read(
        tools=[{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
        toolConfig={"functionCallingConfig": config},
    )
    assert call.tool_choice == choice
    written = write(call)["toolConfig"]["functionCallingConfig"]
    assert written == {**config, "mode": config["mode"].upper()}


def test_a_config_of_retrieval_alone_is_no_choice() -> None:
    call = read(toolConfig={"retrievalConfig": {"languageCode": "de"}})
    assert call.tool_choice is None
    assert write(call)["toolConfig"] == {"retrievalConfig": {"languageCode": "de"}}


def test_schemas_as_json_schema_stay_so_for_gemini_and_are_plain_for_others() -> None:
    raw = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    declared = {"name": "f", "parameters_json_schema": raw, "response_json_schema": {"type": "string"}}
    config = {"responseMimeType": "application/json", "response_json_schema": raw}
    call = read(tools=[{"functionDeclarations": [declared]}], generationConfig=config)
    assert call.tools[0].parameters == raw
    assert call.output == OutputFormat("json_schema", raw)
    body = write(call)
    assert body["tools"][0]["functionDeclarations"] == [
        {"name": "f", "responseJsonSchema": {"type": "string"}, "parametersJsonSchema": raw}
    ]
    assert body["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": raw}


def test_a_choice_of_words_is_kept_for_gemini() -> None:
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}
    call = read(generationConfig=config)
    assert call.output is None
    assert write(call)["generationConfig"] == config


# Towards Gemini


def test_tools_of_other_dialects_are_declared_with_rewritten_schemas() -> None:
    tools = [
        Tool(
            "f",
            "does",
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"const": "x"}}},
            strict=True,
        ),
        Tool("empty", None, {"type": "object", "properties": {}}, cache={"type": "ephemeral"}),
        Tool("none"),
        Tool(
            "patch",
            "Patches.",
            custom=True,
            format={"type": "grammar", "syntax": "lark", "definition": "start: X"},
        ),
        Tool("web_search", hosted=Opaque("anthropic", {"type": "web_search_20250305"}, "tools[4]")),
    ]
    call = a_call(tools=tools, tool_choice=ToolChoice("auto", parallel=False))
    declared = write(call)["tools"][0]["functionDeclarations"]
    assert declared[:3] == [
        {
            "name": "f",
            "description": "does",
            "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "enum": ["x"]}}},
        },
        {"name": "empty", "parameters": {"type": "OBJECT", "properties": {}}},
        {"name": "none"},
    ]
    assert declared[3]["parameters"]["required"] == ["input"]
    assert "start: X" in declared[3]["description"]
    assert dropped(call) == ["strict", "cache_control", "tools[4]", "parallel_tool_calls"]


def test_providers_that_take_json_schema_get_it() -> None:
    call = a_call(tools=[Tool("f", None, SCHEMA)], output=OutputFormat("json_schema", SCHEMA, "n", "about"))
    body = write(call, quirks=Quirks(extra={"json_schema": True}))
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == SCHEMA
    assert body["generationConfig"]["responseJsonSchema"] == {**SCHEMA, "description": "about"}


def test_endless_schemas_are_refused() -> None:
    definitions = {
        f"A{n}": {"properties": {"l": {"$ref": f"#/$defs/A{n + 1}"}, "r": {"$ref": f"#/$defs/A{n + 1}"}}}
        for n in range(40)
    }
    call = a_call(tools=[Tool("f", None, {"$ref": "#/$defs/A0", "$defs": definitions})])
    with pytest.raises(BadRequest) as caught:
        write(call)
    assert caught.value.path == "$.tools[0].parameters"


def test_a_forced_tool_that_cannot_be_offered_is_refused() -> None:
    hosted = Tool("web_search", hosted=Opaque("anthropic", {}, "tools[0]"))
    with pytest.raises(BadRequest, match="'web_search' cannot be offered"):
        write(a_call(tools=[hosted], tool_choice=ToolChoice("tool", ["web_search"])))


def test_a_choice_among_tools_that_cannot_be_offered_does_not_allow_the_others() -> None:
    tools = [Tool("f"), Tool("web_search", hosted=Opaque("openai_responses", {}, "tools[1]"))]
    with pytest.raises(BadRequest) as caught:
        write(a_call(tools=tools, tool_choice=ToolChoice("allowed", ["web_search"])))
    assert caught.value.path == "$.tool_choice"
    body = write(a_call(tools=tools, tool_choice=ToolChoice("allowed", ["web_search", "f"])))
    assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["f"]


def test_a_choice_without_tools_says_nothing() -> None:
    assert "toolConfig" not in write(a_call(tool_choice=ToolChoice("required")))


def test_output_formats_become_types_and_schemas() -> None:
    assert "generationConfig" not in write(a_call(output=OutputFormat("text")))
    assert write(a_call(output=OutputFormat("json_object")))["generationConfig"] == {
        "responseMimeType": "application/json"
    }
    body = write(a_call(output=OutputFormat("json_schema", SCHEMA, "n")))
    assert body["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseSchema": GEMINI_SCHEMA,
    }


def test_knobs_that_gemini_lacks_are_named() -> None:
    call = a_call(
        max_tokens=9000,
        sampling=Sampling(logit_bias={"1": 2}),
        verbosity="low",
        user="u",
        metadata={"a": "b"},
        store=True,
        cache_key="k",
        safety=Opaque("other", {}, "guard"),
        extra=[Opaque("openai_chat", {"prediction": {}}, "prediction")],
    )
    named = [
        "max_tokens",
        "logit_bias",
        "verbosity",
        "user",
        "metadata",
        "store",
        "prompt_cache_key",
        "guard",
        "prediction",
    ]
    assert dropped(call, max_output=8192) == named
    assert write(call, max_output=8192)["generationConfig"]["maxOutputTokens"] == 8192
    assert dropped(a_call(store=False)) == []


@pytest.mark.parametrize(
    ("tier", "written", "named"),
    [("flex", "flex", []), ("auto", None, []), ("scale", None, ["service_tier"])],
)
def test_tiers_cross_where_both_have_them(tier: str, written: str | None, named: list[str]) -> None:
    call = a_call(service_tier=tier)
    assert write(call).get("serviceTier") == written
    assert dropped(call) == named


def test_fields_that_a_provider_refuses_are_dropped() -> None:
    call = read(labels={"a": "b"})
    aim: dict[str, Any] = {"quirks": Quirks(drop=frozenset({"labels"}))}
    assert "labels" not in write(call, **aim)
    assert dropped(call, **aim) == ["labels"]


@pytest.mark.parametrize(
    "call", [a_call(messages=[Message(Role.ASSISTANT, [])]), a_call(previous_response_id="resp_1")]
)
def test_calls_without_a_conversation_are_refused(call: Call) -> None:
    with pytest.raises(BadRequest):
        write(call)


def test_cached_content_is_for_gemini_alone() -> None:
    message = read(cachedContent="cachedContents/x").messages[0]
    assert isinstance(message.parts[0], Opaque)
    assert message.parts[0].what == "$.cachedContent"


THINKING: list[tuple[str, Reasoning, dict[str, Any] | None]] = [
    (
        "gemini-2.5-flash",
        Reasoning(enabled=True, budget=2000),
        {"thinkingBudget": 2000, "includeThoughts": True},
    ),
    ("gemini-2.5-flash", Reasoning(enabled=False), {"thinkingBudget": 0}),
    ("gemini-2.5-pro", Reasoning(effort="none"), {"thinkingBudget": 128}),
    (
        "gemini-2.5-flash",
        Reasoning(effort="medium"),
        {"thinkingBudget": BUDGETS["medium"], "includeThoughts": True},
    ),
    (
        "gemini-2.5-flash",
        Reasoning(enabled=True, adaptive=True),
        {"thinkingBudget": -1, "includeThoughts": True},
    ),
    ("gemini-2.5-flash", Reasoning(show=False), {"includeThoughts": False}),
    ("gemini-3-flash-preview", Reasoning(effort="xhigh"), {"thinkingLevel": "high", "includeThoughts": True}),
    ("gemini-3-flash-preview", Reasoning(enabled=False), {"thinkingLevel": "minimal"}),
    (
        "gemini-3-pro-preview",
        Reasoning(effort="minimal", show=True),
        {"thinkingLevel": "low", "includeThoughts": True},
    ),
    ("gemini-3-pro-preview", Reasoning(enabled=True, adaptive=True), {"includeThoughts": True}),
    ("gemini-flash-latest", Reasoning(effort="low"), {"thinkingBudget": 1024, "includeThoughts": True}),
    ("gemini-2.0-flash", Reasoning(effort="low"), None),
    ("gemini-2.0-flash", Reasoning(enabled=False), {}),
    ("gemini-2.5-flash", Reasoning(), {}),
]


@pytest.mark.parametrize(("model", "reasoning", "config"), THINKING)
def test_reasoning_is_said_as_the_model_knows_it(
    model: str, reasoning: Reasoning, config: dict[str, Any] | None
) -> None:
    assert thinking_config(reasoning, model) == config
    call = a_call(reasoning=reasoning)
    assert dropped(call, model) == (["reasoning"] if config is None else [])
    assert write(call, model).get("generationConfig", {}).get("thinkingConfig") == (config or None)


LEVELS: list[tuple[dict[str, Any], Reasoning]] = [
    ({"thinkingBudget": 0}, Reasoning(False, None, 0, show=False)),
    ({"thinking_budget": -1}, Reasoning(True, None, -1, adaptive=True, show=False)),
    ({"thinkingLevel": "HIGH", "include_thoughts": True}, Reasoning(True, "high", show=True)),
    ({"includeThoughts": False}, Reasoning(show=False)),
    ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, Reasoning(show=False)),
]


@pytest.mark.parametrize(("config", "reasoning"), LEVELS)
def test_thinking_configs_are_read(config: dict[str, Any], reasoning: Reasoning) -> None:
    assert read(generationConfig={"thinkingConfig": config}).reasoning == reasoning


def test_what_is_null_says_nothing() -> None:
    declared = {"name": "f", "response": None, "parameters": None}
    call = read(
        tools=[{"codeExecution": None, "functionDeclarations": [declared]}, {"functionDeclarations": None}],
        generationConfig={"speechConfig": None, "thinkingConfig": None},
        toolConfig={"retrievalConfig": None},
        labels=None,
    )
    assert call.tools == [Tool("f", parameters=json_schema.from_gemini(None))]
    assert (call.extra, call.reasoning) == ([], None)


def test_a_schema_in_either_member_is_no_loss_elsewhere() -> None:
    config = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    call = read(generationConfig=config)
    assert list(CHAT.encode_request(call, Aim("gpt-5")).dropped) == []
    assert write(call)["generationConfig"] == config


def test_an_empty_ask_is_asked() -> None:
    empty = [{"role": "user", "parts": [{"text": ""}]}]
    call = read(contents=empty, systemInstruction={"parts": [{"text": "be brief"}]})
    assert call.messages[-1] == Message(Role.USER, [Text("")])
    body = write(call)
    assert (body["contents"], body["systemInstruction"]) == (empty, {"parts": [{"text": "be brief"}]})


def test_a_call_at_the_beginning_stands_behind_an_empty_turn() -> None:
    turns = [
        Message(Role.ASSISTANT, [Text("so"), ToolCall("a", "f", "{}")]),
        Message(Role.USER, [ToolResult("a", [Text("x")])]),
    ]
    contents = write(a_call(messages=turns))["contents"]
    assert [turn["role"] for turn in contents] == ["user", "model", "user"]
    assert contents[0]["parts"] == [{"text": ""}]


def test_a_conversation_of_another_dialect_crosses_whole() -> None:
    call = a_call(
        messages=[
            Message(Role.SYSTEM, [Text("be brief")]),
            Message(Role.USER, [Text("see"), Media("image", "image/png", "iVBO")]),
            Message(
                Role.ASSISTANT, [ToolCall("toolu_1", "f", '{"a":1}'), ToolCall("toolu_2", "f", '{"a":2}')]
            ),
            Message(
                Role.USER,
                [ToolResult("toolu_2", [Text("two")]), ToolResult("toolu_1", [Text("one")], is_error=True)],
            ),
        ],
        tools=[Tool("f", "does", SCHEMA)],
        tool_choice=ToolChoice("required"),
        max_tokens=10,
        stop=["x"],
        sampling=Sampling(temperature=0.0),
        choices=2,
    )
    back = decode_request(encode_request(call, Aim("gemini-2.5-flash")).body, model="m", stream=False)
    for name in ("tools", "tool_choice", "max_tokens", "stop", "sampling", "choices"):
        assert getattr(back, name) == getattr(call, name), name
    assert back.messages == [
        *call.messages[:3],
        Message(
            Role.USER,
            [
                ToolResult("toolu_2", [Text("two")], "f"),
                ToolResult("toolu_1", [Text("one")], "f", is_error=True),
            ],
        ),
    ]


def test_a_single_tool_needs_no_list() -> None:
    assert [tool.name for tool in read(tools={"functionDeclarations": [{"name": "f"}]}).tools] == ["f"]
