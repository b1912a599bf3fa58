from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from apipod_proxy.dialect.openai_responses import ROW
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    Call,
    End,
    Event,
    Failure,
    Finish,
    Heartbeat,
    Logprobs,
    Media,
    MediaDelta,
    Opaque,
    OpaqueBlock,
    RefusalDelta,
    SignatureDelta,
    Start,
    StopReason,
    TextDelta,
    ThinkingDelta,
    Tool,
    ToolArgs,
    ToolOpen,
    Unknown,
    Usage,
    UsageReport,
)
from tests.dialect.wire import INFO, fold, openai_client, payloads, stream

NAME = "openai_responses"
STOP: list[Event] = [Finish(StopReason.STOP), End()]
USED = UsageReport(Usage(5, 2, 1, 3, 4))


def a_call(*tools: Tool) -> Call:
    return Call(NAME, "asked-model", [], tools=list(tools))


def kinds(data: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in payloads(data)]


def items(events: list[Event], call: Call | None = None) -> list[Any]:
    """The output of the whole response, after holding the stream to say the same."""
    whole = fold(ROW, events, call)
    sent = payloads(stream(ROW, events, call))
    assert sent[-1]["response"] == whole
    assert [event["item"] for event in sent if event["type"] == "response.output_item.done"] == whole[
        "output"
    ]
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    output: list[Any] = whole["output"]
    return output


def test_text_goes_out_as_the_whole_sequence_of_events() -> None:
    data = stream(ROW, [Start("msg_1", "claude", 99), TextDelta("he"), TextDelta("llo"), USED, *STOP])
    assert kinds(data) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    sent = payloads(data)
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    first, last = sent[0]["response"], sent[-1]["response"]
    assert (first["id"], first["object"], first["created_at"], first["model"]) == (
        "resp_req_1",
        "response",
        99,
        "asked-model",
    )
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert last["output"] == [sent[-2]["item"]]
    assert last["output"][0] == {
        "id": "msg_req_1_0",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}],
    }
    assert last["usage"] == {
        "input_tokens": 8,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 15,
    }
    assert data.startswith(b"event: response.created\ndata: {")


def test_each_piece_goes_out_at_once() -> None:
    encoder = ROW.encoder(INFO)
    assert kinds(encoder.send(TextDelta("a"))) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
    ]
    assert kinds(encoder.send(TextDelta("b"))) == ["output_text.delta"]
    assert encoder.send(TextDelta("")) == b""
    assert encoder.send(Heartbeat()) == b""
    assert encoder.send(Unknown(b"x")) == b""
    assert encoder.send(Finish(StopReason.STOP)) == b""


def test_an_empty_answer_is_complete() -> None:
    assert kinds(stream(ROW, STOP)) == ["created", "in_progress", "completed"]
    assert fold(ROW, STOP)["usage"] is None
    assert fold(ROW, [TextDelta("x")])["status"] == "completed"


def test_interleaved_calls_are_items_of_their_own() -> None:
    events: list[Event] = [
        TextDelta("so"),
        ToolOpen("a", "f", 1),
        ToolArgs('{"x"', 1),
        ToolOpen("b", "g", 2),
        ToolArgs('{"y":2}', 2),
        ToolArgs(":1}", 1),
        ToolOpen("c", "h", 3),
        Finish(StopReason.TOOL_USE),
        End(),
    ]
    found = items(events)
    assert [(item.get("call_id"), item.get("arguments")) for item in found] == [
        (None, None),
        ("a", '{"x":1}'),
        ("b", '{"y":2}'),
        ("c", "{}"),
    ]
    assert [item["id"] for item in found] == ["msg_req_1_0", "fc_req_1_1", "fc_req_1_2", "fc_req_1_3"]
    sent = payloads(stream(ROW, events))
    deltas: dict[int, str] = {}
    for event in sent:
        if event["type"] == "response.function_call_arguments.delta":
            deltas[event["output_index"]] = deltas.get(event["output_index"], "") + event["delta"]
    assert deltas == {1: '{"x":1}', 2: '{"y":2}', 3: "{}"}
    assert [
        event["arguments"] for event in sent if event["type"] == "response.function_call_arguments.done"
    ] == ['{"x":1}', '{"y":2}', "{}"]


def test_a_call_is_done_before_the_next_one_begins() -> None:
    events: list[Event] = [
        ToolOpen("a", "f", 1),
        ToolArgs('{"x":', 1),
        ToolArgs("1}", 1),
        ToolOpen("b", "patch", 2),
        ToolArgs('{"input":"hi"}', 2),
        ToolOpen("c", "raw", 3, custom=True),
        ToolArgs("{}", 3),
        ToolOpen("d", "f", 4),
        ToolArgs("{}", 4),
        *STOP,
    ]
    call = a_call(Tool("f"), Tool("patch", custom=True), Tool("raw", custom=True))
    assert [item["call_id"] for item in items(events, call)] == ["a", "b", "c", "d"]
    sent = payloads(stream(ROW, events, call))
    ends = [
        (event["type"].rpartition(".")[2], event["output_index"])
        for event in sent
        if event["type"].startswith("response.output_item.")
    ]
    assert ends[:4] == [("added", 0), ("done", 0), ("added", 1), ("done", 1)]
    # Free text has no end of its own.
    assert ends[4:] == [("added", 2), ("added", 3), ("done", 2), ("done", 3)]


def test_a_custom_tool_that_crossed_as_a_function_comes_back_as_custom() -> None:
    events: list[Event] = [
        ToolOpen("a", "patch", 0),
        ToolArgs('{"inp', 0),
        ToolArgs('ut":"*** é\\n"}', 0),
        *STOP,
    ]
    call = a_call(Tool("patch", custom=True))
    assert items(events, call) == [
        {
            "id": "ctc_req_1_0",
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "a",
            "name": "patch",
            "input": "*** é\n",
        }
    ]
    sent = payloads(stream(ROW, events, call))
    assert [event["delta"] for event in sent if event["type"] == "response.custom_tool_call_input.delta"] == [
        "*** é\n"
    ]
    assert [event["input"] for event in sent if event["type"] == "response.custom_tool_call_input.done"] == [
        "*** é\n"
    ]


def test_a_custom_tool_of_the_provider_is_streamed() -> None:
    events: list[Event] = [
        ToolOpen("a", "patch", 0, custom=True),
        ToolArgs("*** ", 0),
        ToolArgs("x", 0),
        *STOP,
    ]
    assert items(events)[0]["input"] == "*** x"
    assert kinds(stream(ROW, events)).count("custom_tool_call_input.delta") == 2


def test_a_function_of_a_namespace_comes_back_in_it() -> None:
    tool = Tool("mcp__f", extra=Opaque(NAME, {"namespace": "mcp", "name": "f"}))
    (item,) = items([ToolOpen("a", "mcp__f", 0), ToolArgs("{}", 0), *STOP], a_call(tool))
    assert (item["name"], item["namespace"]) == ("f", "mcp")


def test_thinking_is_a_summary_sealed_with_its_signature() -> None:
    events: list[Event] = [
        ThinkingDelta("h"),
        ThinkingDelta("m"),
        SignatureDelta("sig", "anthropic"),
        SignatureDelta("data", "anthropic", 1, redacted=True),
        TextDelta("so", 2),
        *STOP,
    ]
    assert [item | {"id": ""} for item in items(events)[:2]] == [
        {
            "id": "",
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "@anthropic:sig",
        },
        {"id": "", "type": "reasoning", "summary": [], "encrypted_content": "@anthropic/redacted:data"},
    ]
    assert kinds(stream(ROW, events))[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]


def test_signatures_of_texts_and_calls_stand_beside_them() -> None:
    events: list[Event] = [
        TextDelta("hi"),
        TextDelta("", 0, 0, "AQ==", "gemini"),
        ToolOpen("a", "f", 1, signature="BQ==", signed_by="gemini"),
        ToolOpen("b", "f", 2),
        *STOP,
    ]
    assert [(item["type"], item.get("encrypted_content")) for item in items(events)] == [
        ("message", None),
        ("reasoning", "@gemini/text:AQ=="),
        ("reasoning", "@gemini/call:BQ=="),
        ("function_call", None),
        ("function_call", None),
    ]


def test_own_reasoning_keeps_its_parts_and_its_seal() -> None:
    def own(**payload: Any) -> Opaque:
        return Opaque(NAME, payload)

    events: list[Event] = [
        ThinkingDelta("one", extra=own(id="rs_1", part="summary")),
        ThinkingDelta("\n\n", extra=own(**{"break": True, "part": "summary"})),
        ThinkingDelta("two"),
        SignatureDelta("gAAA", NAME, extra=own(id="rs_1", status="completed")),
        ThinkingDelta("raw", 1, extra=own(id="rs_2", part="content")),
        ThinkingDelta(" more", 1),
        TextDelta("a", 2, extra=own(id="msg_1", phase="commentary", content_index=0)),
        TextDelta("b", 3, extra=own(id="msg_1", content_index=1)),
        TextDelta("c", 4, extra=own(id="msg_2", phase="final_answer", content_index=0)),
        *STOP,
    ]
    found = items(events)
    assert found[0] == {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
        "status": "completed",
        "encrypted_content": "gAAA",
    }
    assert found[1] == {
        "id": "rs_2",
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "raw more"}],
    }
    assert [
        (item["id"], item.get("phase"), [part["text"] for part in item["content"]]) for item in found[2:]
    ] == [
        ("msg_1", "commentary", ["a", "b"]),
        ("msg_2", "final_answer", ["c"]),
    ]
    assert "reasoning_text.delta" in kinds(stream(ROW, events))


def test_what_says_nothing_is_not_sent() -> None:
    events: list[Event] = [ThinkingDelta(""), ToolArgs("{}", 9), *STOP]
    assert kinds(stream(ROW, events)) == ["created", "in_progress", "completed"]


def test_refusals_are_parts_of_the_message() -> None:
    (item,) = items([TextDelta("hm"), RefusalDelta("n", 1), RefusalDelta("o", 1), RefusalDelta("", 1), *STOP])
    assert item["content"][1] == {"type": "refusal", "refusal": "no"}


def test_a_refusal_keeps_the_name_of_its_item() -> None:
    (item,) = items([RefusalDelta("no", extra=Opaque(NAME, {"id": "msg_1", "content_index": 0})), *STOP])
    assert item["id"] == "msg_1"


def test_citations_of_others_are_links_into_the_text() -> None:
    encoder = ROW.encoder(INFO)
    own = {"type": "file_citation", "file_id": "x"}
    events: list[Event] = [
        TextDelta("abcdef"),
        Annotation(Opaque("gemini", {}), 0, 0, "https://a", "A", None, 1, 3),
        Annotation(Opaque("gemini", {}), 0, 0, "https://b"),
        Annotation(Opaque(NAME, own), 0),
        Annotation(Opaque("anthropic", {"type": "char_location"}), 0),
        *STOP,
    ]
    answer = json.loads(encoder.fold(events))
    assert answer["output"][0]["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 1, "end_index": 3},
        {"type": "url_citation", "url": "https://b", "title": "", "start_index": 0, "end_index": 6},
        own,
    ]
    assert encoder.dropped == ["citations"]  # type: ignore[attr-defined]
    assert kinds(stream(ROW, events)).count("output_text.annotation.added") == 3


def test_log_probabilities_stand_in_their_part() -> None:
    first, second = {"token": "a", "logprob": -1}, {"token": "b", "logprob": -2}
    events: list[Event] = [
        Logprobs({"content": [first]}),
        TextDelta("a"),
        TextDelta("b"),
        Logprobs({"content": [second]}),
        *STOP,
    ]
    assert items(events)[0]["content"][0]["logprobs"] == [first, second]


def test_items_of_the_provider_come_out_as_they_were_and_those_of_others_are_counted() -> None:
    search = {"type": "web_search_call", "id": "ws_1"}
    encoder = ROW.encoder(INFO)
    events: list[Event] = [
        OpaqueBlock(Opaque(NAME, search, "web_search_call"), 0),
        OpaqueBlock(Opaque("anthropic", {}, "server_tool_use"), 1),
        MediaDelta(Media("image", "image/webp", "AAAA"), 2),
        MediaDelta(Media("audio", "audio/wav", "AAAA"), 3),
        TextDelta("other choice", 0, 1),
        *STOP,
    ]
    answer = json.loads(encoder.fold(events))
    assert answer["output"] == [
        search,
        {
            "id": "ig_req_1_1",
            "type": "image_generation_call",
            "status": "completed",
            "result": "AAAA",
            "output_format": "webp",
        },
    ]
    assert encoder.dropped == ["server_tool_use", "audio", "n"]  # type: ignore[attr-defined]


ENDS: list[tuple[Finish, str, Any]] = [
    (Finish(StopReason.STOP), "completed", None),
    (Finish(StopReason.TOOL_USE), "completed", None),
    (Finish(StopReason.PAUSE), "completed", None),
    (Finish(StopReason.LENGTH), "incomplete", {"reason": "max_output_tokens"}),
    (Finish(StopReason.CONTEXT_WINDOW), "incomplete", {"reason": "max_output_tokens"}),
    (Finish(StopReason.CONTENT_FILTER), "incomplete", {"reason": "content_filter"}),
    (Finish(StopReason.REFUSAL), "incomplete", {"reason": "content_filter"}),
    (Finish(StopReason.MALFORMED_CALL), "failed", None),
    (Finish(StopReason.OTHER, raw="cancelled"), "cancelled", None),
    (Finish(StopReason.OTHER, raw="incomplete"), "incomplete", None),
]


@pytest.mark.parametrize(("finish", "status", "details"), ENDS)
def test_reasons_become_a_status(finish: Finish, status: str, details: Any) -> None:
    data = stream(ROW, [TextDelta("x"), finish, End()])
    last = payloads(data)[-1]
    assert (last["response"]["status"], last["response"]["incomplete_details"]) == (status, details)
    assert last["type"] == f"response.{status if status != 'cancelled' else 'completed'}"
    assert (last["response"]["error"] is not None) == (status == "failed")


def test_what_was_cut_short_is_incomplete() -> None:
    found = items(
        [TextDelta("a"), ToolOpen("a", "f", 1), ToolArgs('{"x', 1), Finish(StopReason.LENGTH), End()]
    )
    assert [item["status"] for item in found] == ["completed", "incomplete"]


def test_a_response_of_the_provider_keeps_what_it_says_of_itself() -> None:
    head = {
        "id": "resp_9",
        "object": "response",
        "created_at": 7,
        "model": "gpt-5",
        "status": "in_progress",
        "service_tier": "flex",
    }
    tail = {**head, "status": "completed", "service_tier": "default", "completed_at": 9}
    events: list[Event] = [
        Start("resp_9", "gpt-5", 7, extra=Opaque(NAME, head)),
        TextDelta("x"),
        Finish(StopReason.STOP, raw="completed", extra=Opaque(NAME, tail)),
        End(),
    ]
    answer = fold(ROW, events)
    assert (answer["id"], answer["model"], answer["service_tier"], answer["completed_at"]) == (
        "resp_9",
        "asked-model",
        "default",
        9,
    )


# Failures


def test_a_failure_is_an_error_event_and_a_failed_response() -> None:
    events: list[Event] = [Start(usage=Usage(input=3)), TextDelta("x"), Failure("slow", "rate_limit", 429)]
    data = stream(ROW, events)
    assert kinds(data)[-2:] == ["error", "failed"]
    error, failed = payloads(data)[-2:]
    assert (error["code"], error["message"], error["error"]["message"]) == (
        "rate_limit_exceeded",
        "slow",
        "slow",
    )
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow"}
    assert failed["response"]["usage"]["input_tokens"] == 3
    whole = fold(ROW, events)
    assert (whole["status"], whole["error"]["code"]) == ("failed", "rate_limit_exceeded")


# The SDK


def test_the_sdks_strict_helper_takes_the_stream() -> None:
    events: list[Event] = [
        Start("x", "y", usage=Usage(input=4)),
        ThinkingDelta("hm"),
        SignatureDelta("sig", "anthropic"),
        TextDelta("hello ", 1),
        TextDelta("there", 1),
        RefusalDelta("but", 2),
        ToolOpen("a", "f", 3),
        ToolArgs('{"n": 1}', 3),
        ToolOpen("b", "patch", 4),
        ToolArgs('{"input": "text"}', 4),
        Finish(StopReason.TOOL_USE),
        UsageReport(Usage(output=5, reasoning=2)),
        End(),
    ]
    call = a_call(Tool("f"), Tool("patch", custom=True))
    with openai_client(stream(ROW, events, call)).responses.stream(model="m", input="x") as helper:
        seen = [event.type for event in helper]
        response = helper.get_final_response()
    assert seen[-1] == "response.completed"
    assert response.output_text == "hello there"
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
    ]
    assert response.usage
    assert (response.usage.input_tokens, response.usage.output_tokens) == (4, 7)
    whole = openai_client(json.dumps(fold(ROW, events, call)).encode(), "application/json").responses.create(
        model="m", input="x"
    )
    assert [item.type for item in whole.output] == [item.type for item in response.output]
    assert whole.output_text == response.output_text


def test_the_sdk_raises_on_a_failure() -> None:

    data = stream(ROW, [TextDelta("x"), Failure("slow", "rate_limit", 429)])
    with pytest.raises(openai.APIError, match="slow"):
        list(openai_client(data).responses.create(model="m", input="x", stream=True))
