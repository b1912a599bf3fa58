from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim, Quirks
from apipod_proxy.dialect.openai_responses_requests import decode_request, encode_request
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
    ToolCall,
    ToolChoice,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

NAME = "openai_responses"
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def read(**fields: Any) -> Call:
    return decode_request(json.dumps({"model": "gpt-5", "input": "hi", **fields}).encode())


def write(call: Call, model: str = "gpt-5", **aim: Any) -> Any:
    return json.loads(encode_request(call, Aim(model, **aim)).body)


def dropped(call: Call, model: str = "gpt-5", **aim: Any) -> list[str]:
    return list(encode_request(call, Aim(model, **aim)).dropped)


def a_call(**fields: Any) -> Call:
    return Call("anthropic", "m", fields.pop("messages", [Message(Role.USER, [Text("hi")])]), **fields)


RICH: dict[str, Any] = {
    "model": "gpt-5",
    "instructions": "be brief",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "dev"}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "https://e.com/a.png", "detail": "low"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "x"},
    ],
    "tools": [
        {"type": "function", "name": "f", "description": "does", "parameters": SCHEMA, "strict": True},
        {
            "type": "custom",
            "name": "patch",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
        },
        {"type": "web_search", "external_web_access": True},
        {
            "type": "namespace",
            "name": "mcp",
            "description": "more",
            "tools": [
                {
                    "type": "function",
                    "name": "g",
                    "parameters": SCHEMA,
                    "strict": False,
                    "defer_loading": True,
                }
            ],
        },
    ],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "high", "summary": "auto", "context": "all_turns"},
    "text": {
        "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True, "description": "d"},
        "verbosity": "low",
    },
    "include": ["reasoning.encrypted_content"],
    "store": False,
    "stream": True,
    "previous_response_id": "resp_1",
    "truncation": "auto",
    "max_output_tokens": 100,
    "max_tool_calls": 3,
    "metadata": {"k": "v"},
    "service_tier": "flex",
    "prompt_cache_key": "key",
    "user": "someone",
    "top_logprobs": 2,
    "temperature": 0.5,
    "top_p": 0.9,
    "conversation": {"id": "conv_1"},
    "background": True,
    "client_metadata": {"a": "b"},
}


def test_a_rich_request_is_read_and_written_back() -> None:
    call = decode_request(json.dumps(RICH).encode())
    assert call.stream
    assert [tool.name for tool in call.tools] == ["f", "patch", "web_search", "mcp__g"]
    assert [tool.custom for tool in call.tools] == [False, True, False, False]
    assert call.tools[2].hosted == Opaque(NAME, RICH["tools"][2], "$.tools[2]")
    assert call.tool_choice == ToolChoice("tool", ["f"], parallel=False)
    assert call.reasoning == Reasoning(True, "high", show=True, summary="auto")
    assert call.output == OutputFormat("json_schema", SCHEMA, "n", "d", True)
    assert (call.verbosity, call.user, call.max_tokens, call.cache_key) == ("low", "someone", 100, "key")
    assert call.sampling == Sampling(0.5, 0.9, logprobs=True, top_logprobs=2)
    encoded = encode_request(call, Aim("gpt-5"))
    assert json.loads(encoded.body) == RICH
    assert encoded.dropped == ()


@pytest.mark.parametrize("field", ["background", "conversation", "prompt"])
def test_what_no_other_dialect_may_leave_out_stands_as_content(field: str) -> None:
    message = read(**{field: {"id": "x"} if field != "background" else True}).messages[0]
    assert isinstance(message.parts[0], Opaque)
    assert message.parts[0].what == f"$.{field}"
    assert read(background=False).messages == [Message(Role.USER, [Text("hi")])]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "$.model"),
    ({"model": 3}, "$.model"),
    ({"input": None}, "$.input"),
    ({"input": 3}, "$.input"),
    ({"instructions": []}, "$.instructions"),
    ({"tools": {}}, "$.tools"),
    ({"tools": [{}]}, "$.tools[0].type"),
    ({"tools": [{"type": "function"}]}, "$.tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "parameters": "x"}]}, "$.tools[0].parameters"),
    (
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]},
        "$.tools[0].tools[0].name",
    ),
    ({"tool_choice": "some"}, "$.tool_choice"),
    ({"tool_choice": {}}, "$.tool_choice.type"),
    ({"tool_choice": {"type": "allowed_tools"}}, "$.tool_choice.tools"),
    ({"reasoning": "high"}, "$.reasoning"),
    ({"text": {"format": {"type": "xml"}}}, "$.text.format.type"),
    ({"text": {"format": {"type": "json_schema"}}}, "$.text.format.schema"),
    ({"max_output_tokens": "x"}, "$.max_output_tokens"),
    ({"stream": "yes"}, "$.stream"),
    ({"metadata": []}, "$.metadata"),
    ({"temperature": "hot"}, "$.temperature"),
]


@pytest.mark.parametrize(("fields", "path"), WRONG)
def test_what_is_wrong_is_named_with_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    assert caught.value.path == path


def test_an_earlier_response_may_stand_for_the_input() -> None:
    call = decode_request(b'{"model": "m", "previous_response_id": "resp_1"}')
    assert (call.previous_response_id, call.messages) == ("resp_1", [])


TOOLS = [
    {"type": "function", "name": "f", "parameters": SCHEMA, "strict": False},
    {"type": "custom", "name": "patch"},
    {"type": "web_search"},
    {"type": "namespace", "name": "mcp", "tools": [{"type": "function", "name": "g", "parameters": SCHEMA}]},
]
CHOICES: list[tuple[Any, ToolChoice]] = [
    ("auto", ToolChoice("auto")),
    ("none", ToolChoice("none")),
    ("required", ToolChoice("required")),
    ({"type": "function", "name": "f"}, ToolChoice("tool", ["f"])),
    ({"type": "custom", "name": "patch"}, ToolChoice("tool", ["patch"])),
    ({"type": "web_search"}, ToolChoice("tool", ["web_search"])),
    ({"type": "function", "name": "g", "namespace": "mcp"}, ToolChoice("tool", ["mcp__g"])),
    (
        {
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}],
        },
        ToolChoice("allowed", ["f", "web_search"], required=True),
    ),
    (
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "patch"}]},
        ToolChoice("allowed", ["patch"]),
    ),
]


@pytest.mark.parametrize(("value", "choice"), CHOICES)
def test_choices_of_tools_survive_there_and_back(value: Any, choice: ToolChoice) -> None:
    call = read(tools=TOOLS, tool_choice=value)
    assert call.tool_choice == choice
    assert write(call)["tool_choice"] == value


def test_choices_in_the_form_of_chat_are_taken() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    call = read(tools=[tool], tool_choice={"type": "function", "function": {"name": "f"}})
    assert (call.tools, call.tool_choice) == ([Tool("f", None, SCHEMA)], ToolChoice("tool", ["f"]))


def test_parallel_calls_alone_leave_the_choice_to_the_model() -> None:
    assert read(parallel_tool_calls=True).tool_choice == ToolChoice("auto", parallel=True)
    assert read().tool_choice is None


def test_tools_among_the_items_are_offered_once() -> None:
    item = {
        "type": "additional_tools",
        "role": "developer",
        "tools": [TOOLS[0], {"type": "function", "name": "h"}],
    }
    call = read(input=[item, {"role": "user", "content": "hi"}], tools=TOOLS[:1])
    assert [tool.name for tool in call.tools] == ["f", "h"]


# Towards Responses


def test_a_conversation_of_another_dialect_crosses_whole_and_nothing_is_kept() -> None:
    call = a_call(
        messages=[
            Message(Role.SYSTEM, [Text("be brief"), Text("be kind")]),
            Message(Role.USER, [Text("hi")]),
            Message(
                Role.ASSISTANT,
                [Text("so"), ToolCall("toolu_1", "f", '{"a":1}'), ToolCall("toolu_2", "f", "")],
            ),
            Message(Role.USER, [ToolResult("toolu_1", [Text("one")]), ToolResult("toolu_2", [Text("two")])]),
            Message(Role.SYSTEM, [Text("later")]),
        ],
        tools=[
            Tool("f", "does", SCHEMA, cache={"type": "ephemeral"}),
            Tool("g"),
            Tool("code", hosted=Opaque("anthropic", {}, "tools[2]")),
        ],
        tool_choice=ToolChoice("tool", ["f"], parallel=False),
        output=OutputFormat("json_schema", SCHEMA),
        max_tokens=5,
    )
    body = write(call)
    assert body["store"] is False
    assert body["include"] == ["reasoning.encrypted_content"]
    assert [item.get("role", item["type"]) for item in body["input"]] == [
        "system",
        "user",
        "assistant",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "system",
    ]
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": "does", "parameters": SCHEMA, "strict": False},
        {
            "type": "function",
            "name": "g",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
    ]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ({"type": "function", "name": "f"}, False)
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "response", "schema": SCHEMA, "strict": False}
    }
    assert body["max_output_tokens"] == 16
    assert dropped(call) == ["cache_control", "tools[2]", "max_tokens"]
    back = decode_request(json.dumps(body).encode())
    assert [(m.role, [p for p in m.parts if isinstance(p, Text)]) for m in back.messages] == [
        (m.role, [p for p in m.parts if isinstance(p, Text)]) for m in call.messages
    ]


def test_a_forced_tool_that_cannot_be_offered_is_refused() -> None:
    hosted = Tool("web_search", hosted=Opaque("anthropic", {}, "tools[0]"))
    for choice in (ToolChoice("tool", ["web_search"]), ToolChoice("tool", ["gone"])):
        with pytest.raises(BadRequest, match="cannot be offered"):
            write(a_call(tools=[hosted], tool_choice=choice))


def test_knobs_that_responses_lacks_are_named() -> None:
    call = a_call(
        stop=["x"],
        choices=2,
        sampling=Sampling(top_k=1, seed=2, presence_penalty=0.1, frequency_penalty=0.1, logit_bias={"1": 1}),
        modalities=["text", "audio"],
        user="u" * 65,
        metadata={"a": 1},
        max_tokens=9000,
        safety=Opaque("gemini", [], "safetySettings"),
        extra=[Opaque("gemini", {"labels": {}}, "labels")],
    )
    assert dropped(call, max_output=8192) == [
        "max_tokens",
        "user",
        "metadata",
        "stop",
        "n",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "modalities",
        "safetySettings",
        "labels",
    ]
    assert dropped(a_call(choices=1, modalities=["text"])) == []


def test_sampling_that_the_model_refuses_is_left_out() -> None:
    sampling = Sampling(temperature=0.5, top_p=1.0, logprobs=True, top_logprobs=2)
    call = a_call(sampling=sampling, reasoning=Reasoning(True, "high"))
    names = ["temperature", "logprobs", "top_logprobs"]
    assert dropped(call, "gpt-5.4") == names
    assert write(call, "gpt-5.4").keys().isdisjoint(names)
    assert write(call, "gpt-5.4")["include"] == ["reasoning.encrypted_content"]
    assert write(call, "gpt-4.1")["temperature"] == 0.5
    quiet = a_call(sampling=sampling, reasoning=Reasoning(False))
    assert (write(quiet, "gpt-5.4")["temperature"], dropped(quiet, "gpt-5.4")) == (0.5, [])


def test_fields_that_a_provider_refuses_are_dropped() -> None:
    encoded = encode_request(
        read(service_tier="flex"), Aim("m", quirks=Quirks(drop=frozenset({"service_tier"})))
    )
    assert "service_tier" not in json.loads(encoded.body)
    assert encoded.dropped == ("service_tier",)


REASONING: list[tuple[Reasoning, Any]] = [
    (Reasoning(enabled=True, budget=10_000), {"effort": "medium", "summary": "auto"}),
    (Reasoning(enabled=True, adaptive=True), {"summary": "auto"}),
    (Reasoning(enabled=True, effort="max"), {"effort": "high", "summary": "auto"}),
    (Reasoning(effort="low", show=False), {"effort": "low"}),
    (Reasoning(enabled=False), None),
    (Reasoning(enabled=False, effort="none"), None),
    (Reasoning(enabled=True, budget=-1), {"summary": "auto"}),
    (Reasoning(summary="detailed"), {"summary": "detailed"}),
]


@pytest.mark.parametrize(("reasoning", "wire"), REASONING)
def test_reasoning_of_other_dialects_is_asked_for(reasoning: Reasoning, wire: Any) -> None:
    assert write(a_call(reasoning=reasoning)).get("reasoning") == wire


def test_efforts_are_those_that_the_model_knows() -> None:
    off, most = a_call(reasoning=Reasoning(enabled=False)), a_call(reasoning=Reasoning(effort="max"))
    assert write(off, "gpt-5.2")["reasoning"] == {"effort": "none"}
    assert dropped(off, "gpt-5.2") == []
    assert dropped(off, "gpt-5") == ["reasoning"]
    assert write(most, "gpt-5.2")["reasoning"] == {"effort": "xhigh"}
    assert write(read(reasoning={"effort": "xhigh"}), "gpt-5")["reasoning"] == {"effort": "xhigh"}
    assert dropped(a_call(reasoning=Reasoning(effort="ultra")), "gpt-5") == ["reasoning"]


def test_models_that_do_not_reason_are_not_asked_to() -> None:
    call = a_call(reasoning=Reasoning(enabled=True, effort="low"))
    body = write(call, "gpt-4o")
    assert "reasoning" not in body
    assert "include" not in body
    assert dropped(call, "gpt-4o") == ["reasoning"]


def test_log_probabilities_are_asked_for() -> None:
    assert read(include=["message.output_text.logprobs"]).sampling.logprobs
    body = write(a_call(sampling=Sampling(logprobs=True, top_logprobs=3)), "gpt-4o")
    assert (body["top_logprobs"], body["include"]) == (3, ["message.output_text.logprobs"])


def test_a_given_mode_overrules_the_body() -> None:
    assert not decode_request(json.dumps(RICH).encode(), stream=False).stream


def test_what_is_null_says_nothing() -> None:
    call = read(truncation=None, context_management=None, include=None, reasoning=None)
    assert call.extra == []


@pytest.mark.parametrize(
    ("include", "named"),
    [(["reasoning.encrypted_content"], []), (["web_search_call.action.sources"], ["include"])],
)
def test_what_is_told_anyway_is_no_loss_elsewhere(include: list[str], named: list[str]) -> None:
    call = read(include=include)
    assert [extra.what for extra in call.extra if extra.what] == named
    assert write(call)["include"] == include


@pytest.mark.parametrize(
    ("source", "reasoning"),
    [
        ({"effort": "low", "summary": "none"}, Reasoning(True, "low")),
        ({"effort": "none"}, Reasoning(False, "none")),
        ({"generate_summary": "concise"}, Reasoning(show=True, summary="concise")),
    ],
)
def test_reasoning_is_read(source: dict[str, Any], reasoning: Reasoning) -> None:
    assert read(reasoning=source).reasoning == reasoning


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_formats_without_a_schema_survive(kind: str) -> None:
    assert write(read(text={"format": {"type": kind}}))["text"] == {"format": {"type": kind}}
