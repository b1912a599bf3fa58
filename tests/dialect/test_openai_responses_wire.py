from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.dialect.openai_responses_wire import (
    Call,
    Message,
    Reasoning,
    error_code,
    response_object,
    to_responses,
)
from apipod_proxy.dialect.vocabulary import Call as Request
from apipod_proxy.dialect.vocabulary import (
    Failure,
    Opaque,
    OutputFormat,
    Sampling,
    Tool,
    ToolChoice,
    Usage,
)
from apipod_proxy.dialect.vocabulary import (
    Reasoning as Wanted,
)
from tests.dialect.wire import INFO


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (None, "auto"),
        (ToolChoice("none"), "none"),
        (ToolChoice("tool", ["f"]), {"type": "function", "name": "f"}),
        (ToolChoice("tool", ["c"]), {"type": "custom", "name": "c"}),
        (ToolChoice("tool", ["gone"]), "auto"),
        (
            ToolChoice("allowed", ["f", "gone"], required=True),
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
        ),
    ],
)
def test_a_choice_of_tools_is_told_as_it_was_made(choice: ToolChoice | None, told: Any) -> None:
    tools = [Tool("f"), Tool("c", custom=True)]
    request = Request("openai_responses", "m", [], tools=tools, tool_choice=choice)
    response = response_object({}, INFO._replace(call=request), "completed", [])
    assert response["tool_choice"] == told


def test_a_response_tells_what_the_request_asked() -> None:
    request = Request(
        "openai_responses",
        "m",
        [],
        max_tokens=9,
        tool_choice=ToolChoice("required", parallel=False),
        reasoning=Wanted(effort="low", summary="auto"),
        output=OutputFormat("json_schema", {"type": "object"}, "n", strict=True),
        sampling=Sampling(temperature=0.5, top_p=0.9),
        metadata={"a": "b"},
        user="u",
        store=True,
    )
    response = response_object({"id": "resp_1"}, INFO._replace(call=request), "completed", [])
    assert list(response)[:4] == ["id", "object", "created_at", "status"]
    told = {
        key: response[key]
        for key in (
            "max_output_tokens",
            "tool_choice",
            "parallel_tool_calls",
            "reasoning",
            "temperature",
            "top_p",
            "metadata",
            "user",
            "store",
            "text",
        )
    }
    assert told == {
        "max_output_tokens": 9,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.5,
        "top_p": 0.9,
        "metadata": {"a": "b"},
        "user": "u",
        "store": True,
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
        },
    }


def test_a_response_without_a_request_has_the_defaults() -> None:
    response = response_object({"id": "resp_1", "created_at": 3}, INFO, "in_progress", [])
    assert (response["tool_choice"], response["text"], response["metadata"]) == (
        "auto",
        {"format": {"type": "text"}},
        {},
    )


@pytest.mark.parametrize(
    ("usage", "wire"),
    [
        (Usage(1, None, None, 2, None), (1, 0, 2, 0, 3)),
        (Usage(1, 2, 3, 4, 5), (6, 2, 9, 5, 15)),
    ],
)
def test_usage_is_told_in_overlapping_classes(usage: Usage, wire: tuple[int, ...]) -> None:
    said = to_responses(usage)
    details = said["input_tokens_details"]["cached_tokens"], said["output_tokens_details"]["reasoning_tokens"]
    assert (said["input_tokens"], details[0], said["output_tokens"], details[1], said["total_tokens"]) == wire


def test_usage_of_the_provider_comes_out_as_it_was() -> None:
    wire = {"input_tokens": 1, "cost_in_usd_ticks": 5}
    assert to_responses(Usage(1, extra=Opaque("openai_responses", wire))) == wire


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure("", "rate_limit"), "rate_limit_exceeded"),
        (Failure("", "upstream"), "server_error"),
        (Failure("", "invalid_request", code="context_length_exceeded"), "context_length_exceeded"),
    ],
)
def test_failures_have_a_code(failure: Failure, code: str) -> None:
    assert error_code(failure) == code


@pytest.mark.parametrize("item", [Message(0, "msg", {}), Reasoning(0, "rs", 0)])
def test_items_without_a_part_close_silently(item: Any) -> None:
    assert item.closing() == []
    assert item.whole("completed")["id"] in ("msg", "rs")


def test_a_call_tells_its_arguments_even_if_none_came() -> None:
    call = Call(0, "fc", "c", "f", False, {"caller": "x"})
    assert [kind for kind, _ in call.closing()] == [
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ]
    assert call.whole("completed") == {
        "id": "fc",
        "type": "function_call",
        "status": "completed",
        "call_id": "c",
        "name": "f",
        "caller": "x",
        "arguments": "{}",
    }
    custom = Call(0, "ctc", "c", "f", True, {})
    assert [fields.get("input") for _, fields in custom.closing()] == [""]


def test_a_message_grows_part_by_part() -> None:
    message = Message(1, "msg", {"id": "x", "phase": "commentary"})
    assert message.begun()["content"] == []
    assert message.begin("output_text", 4) == {
        "type": "output_text",
        "text": "",
        "annotations": [],
        "logprobs": [],
    }
    message.pieces += ["a", "b"]
    assert message.place() == {"item_id": "msg", "output_index": 1, "content_index": 0}
    assert [kind for kind, _ in message.closing()] == [
        "response.output_text.done",
        "response.content_part.done",
    ]
    assert message.begin("refusal", 5) == {"type": "refusal", "refusal": ""}
    message.pieces.append("no")
    assert message.closing()[0] == ("response.refusal.done", {**message.place(), "refusal": "no"})
    whole = message.whole("completed")
    assert (whole["id"], whole["phase"]) == ("msg", "commentary")
    assert [part.get("text", part.get("refusal")) for part in whole["content"]] == ["ab", "no"]


def test_reasoning_grows_by_summaries_or_by_itself() -> None:
    reasoning = Reasoning(0, "rs", 0)
    assert reasoning.begun() == {"id": "rs", "type": "reasoning", "summary": []}
    for part, kinds in (
        ("summary", ["response.reasoning_summary_text.done", "response.reasoning_summary_part.done"]),
        ("content", ["response.reasoning_text.done"]),
    ):
        reasoning.begin(part)
        reasoning.pieces.append(part)
        assert [kind for kind, _ in reasoning.closing()] == kinds
    reasoning.kept = {"id": "x", "part": "summary", "status": "in_progress"}
    assert reasoning.whole("completed") == {
        "id": "rs",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "summary"}],
        "status": "completed",
        "content": [{"type": "reasoning_text", "text": "content"}],
    }
