from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given, settings

from apipod_proxy.dialect import ProtocolError
from apipod_proxy.dialect.anthropic import ROW
from apipod_proxy.dialect.anthropic.encoder import Encoder
from apipod_proxy.dialect.vocabulary import (
    Annotation,
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
    ToolArgs,
    ToolOpen,
    Unknown,
    Usage,
    UsageReport,
)
from tests.dialect.anthropic.cases import STREAMS, stream, text
from tests.dialect.event_strategies import answers, told
from tests.dialect.openai_chat.cases import brief
from tests.dialect.wire import INFO, decode, fold, ids, payloads
from tests.dialect.wire import stream as written

STOP = Finish(StopReason.STOP)


def frames(*events: Event) -> list[tuple[Any, ...]]:
    """The frames of a stream in short."""
    out: list[tuple[Any, ...]] = []
    for item in payloads(written(ROW, events)):
        kind = item["type"].removeprefix("content_block_")
        if kind == "start":
            block = item["content_block"]
            out.append((kind, item["index"], block["type"]))
        elif kind == "delta":
            out.append(
                (kind, item["index"], *[value for name, value in item["delta"].items() if name != "type"])
            )
        elif kind == "stop":
            out.append((kind, item["index"]))
        else:
            out.append((kind,))
    return out


def sdk(body: bytes) -> anthropic.types.Message:
    """What the official SDK gathers from a stream."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": "text/event-stream"})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = anthropic.Anthropic(api_key="k", base_url="http://127.0.0.1:9", http_client=http, max_retries=0)
    with client.messages.stream(
        model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}]
    ) as reply:
        return reply.get_final_message()


@settings(max_examples=60)
@given(events=answers())
def test_what_is_encoded_is_decoded_again(events: list[Event]) -> None:
    said = told(decode(ROW, written(ROW, events)))
    expected = told(events)
    assert counted(said) == counted(expected)


def counted(answer: dict[str, Any]) -> dict[str, Any]:
    """Output counts include thinking here, and a filter is a refusal."""
    usage = dict(answer["usage"])
    usage["output"] += usage.pop("reasoning")
    reason = StopReason.REFUSAL if answer["reason"] is StopReason.CONTENT_FILTER else answer["reason"]
    return answer | {"usage": usage, "reason": reason}


@settings(max_examples=60)
@given(events=answers())
def test_a_whole_answer_tells_what_the_stream_told(events: list[Event]) -> None:
    whole = told(ROW.decode_unary(ROW.encoder(INFO).fold(events), ids()))
    assert counted(whole) == counted(told(events))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_this_dialect_comes_out_as_it_came(name: str) -> None:
    events = decode(ROW, STREAMS[name][0])
    again = decode(ROW, written(ROW, events))
    # The last usage is filled in from the first one.
    assert [item for item in brief(again) if item[0] != "usage"] == [
        item for item in brief(events) if item[0] != "usage"
    ]
    folded = ROW.decode_unary(ROW.encoder(INFO).fold(events), ids())
    kept = [item for item in brief(folded) if item[0] not in ("usage", "annotation")]
    assert kept == [item for item in brief(events) if item[0] not in ("usage", "annotation")]


@pytest.mark.parametrize("name", STREAMS)
def test_the_sdk_reads_the_same_from_it(name: str) -> None:
    data = STREAMS[name][0]
    assert sdk(written(ROW, decode(ROW, data))) == sdk(data)


def test_blocks_start_and_stop_in_order_and_one_at_a_time() -> None:
    assert frames(
        ThinkingDelta("a", 0), TextDelta("b", 1), TextDelta("c", 1), TextDelta("d", 2), STOP, End()
    ) == [
        ("message_start",),
        ("start", 0, "thinking"),
        ("delta", 0, "a"),
        ("stop", 0),
        ("start", 1, "text"),
        ("delta", 1, "b"),
        ("delta", 1, "c"),
        ("stop", 1),
        ("start", 2, "text"),
        ("delta", 2, "d"),
        ("stop", 2),
        ("message_delta",),
        ("message_stop",),
    ]


def test_a_call_that_comes_in_between_waits_for_its_turn() -> None:
    events: list[Event] = [
        ToolOpen("t1", "f", 0),
        ToolArgs('{"a"', 0),
        ToolOpen("t2", "g", 1),
        ToolArgs('{"b"', 1),
        ToolArgs(":1}", 0),
        ToolArgs(":2}", 1),
        ToolOpen("t3", "h", 2),
        ToolArgs("{}", 2),
        ToolArgs("x", 9),
        ToolArgs("", 2),
    ]
    assert frames(*events, STOP, End())[1:-2] == [
        ("start", 0, "tool_use"),
        ("delta", 0, '{"a"'),
        ("delta", 0, ":1}"),
        ("stop", 0),
        ("start", 1, "tool_use"),
        ("delta", 1, '{"b"'),
        ("delta", 1, ":2}"),
        ("stop", 1),
        ("start", 2, "tool_use"),
        ("delta", 2, "{}"),
        ("stop", 2),
    ]


def test_what_comes_between_the_fragments_of_calls_stands_behind_them() -> None:
    events: list[Event] = [
        ToolOpen("t1", "f", 0),
        ToolArgs('{"a"', 0),
        TextDelta("b", 1),
        ToolOpen("t2", "g", 2),
        ThinkingDelta("c", 3),
        ToolArgs(":1}", 0),
        ToolArgs('{"d":', 2),
        TextDelta("e", 4),
        ToolArgs("2}", 2),
        TextDelta("f", 4),
    ]
    found = frames(*events, STOP, End())[1:-2]
    assert found == [
        ("start", 0, "tool_use"),
        ("delta", 0, '{"a"'),
        ("delta", 0, ":1}"),
        ("stop", 0),
        ("start", 1, "tool_use"),
        ("delta", 1, '{"d":'),
        ("delta", 1, "2}"),
        ("stop", 1),
        ("start", 2, "text"),
        ("delta", 2, "b"),
        ("stop", 2),
        ("start", 3, "thinking"),
        ("delta", 3, "c"),
        ("stop", 3),
        ("start", 4, "text"),
        ("delta", 4, "e"),
        ("delta", 4, "f"),
        ("stop", 4),
    ]


def test_text_behind_a_call_that_is_complete_goes_out_at_once() -> None:
    encoder = ROW.encoder(INFO)
    for event in (ToolOpen("t1", "f", 0), ToolArgs("{}", 0)):
        encoder.send(event)
    assert b'"text":"a"' in encoder.send(TextDelta("a", 1))


def test_calls_whose_arguments_never_come_get_their_turn_at_the_end() -> None:
    found = frames(
        ToolOpen("t1", "f", 0), ToolOpen("t2", "g", 1), ToolArgs("{}", 1), TextDelta("a", 2), End()
    )
    assert found[1:-2] == [
        ("start", 0, "tool_use"),
        ("stop", 0),
        ("start", 1, "tool_use"),
        ("delta", 1, "{}"),
        ("stop", 1),
        ("start", 2, "text"),
        ("delta", 2, "a"),
        ("stop", 2),
    ]


def test_the_first_call_streams_while_it_comes() -> None:
    encoder = Encoder(INFO)
    encoder.send(Start("m"))
    assert b"tool_use" in encoder.send(ToolOpen("t1", "f", 0))
    assert b'"partial_json":"{"' in encoder.send(ToolArgs("{", 0))
    assert b"}" in encoder.send(ToolArgs('"}"', 0))
    assert encoder.send(ToolOpen("t2", "g", 1)) == b""
    # The brace stood in a string: the first call is not complete yet.
    assert b'"index":0' in encoder.send(ToolArgs(":1}", 0))


def test_usage_stands_in_the_first_and_the_last_event() -> None:
    items = payloads(
        written(ROW, [TextDelta("a"), Finish(StopReason.STOP), UsageReport(Usage(5, 2, 1, 7, 3)), End()])
    )
    zero = {
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }
    assert items[0]["message"]["usage"] == zero
    assert items[-2]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 2,
        "output_tokens": 10,
    }
    assert items[0]["message"]["id"] == "msg_req_1"


def test_the_reason_is_what_happened() -> None:
    def reason(*events: Event) -> Any:
        return fold(ROW, [*events, End()])["stop_reason"]

    assert reason(TextDelta("a"), STOP) == "end_turn"
    assert reason(ToolOpen("t", "f", 0), STOP) == "tool_use"
    assert reason(ToolOpen("t", "f", 0), Finish(StopReason.LENGTH)) == "max_tokens"
    assert reason(RefusalDelta("no"), STOP) == "refusal"
    assert reason(Finish(StopReason.CONTENT_FILTER)) == "refusal"
    assert reason() == "end_turn"
    assert fold(ROW, [Finish(StopReason.STOP_SEQUENCE, stop_sequence="#"), STOP])["stop_sequence"] == "#"


def test_signatures_of_others_are_labelled() -> None:
    found = frames(
        ThinkingDelta("a", 0),
        SignatureDelta("s", "anthropic", 0),
        SignatureDelta("t", "openai_responses", 1),
        SignatureDelta("u", "gemini", 1),
        SignatureDelta("d", "openai_chat", 2, redacted=True),
        End(),
    )
    assert [item[2] for item in found if item[0] == "delta"] == ["a", "s", "@openai_responses:t", "@gemini:u"]
    redacted = payloads(written(ROW, [SignatureDelta("d", "openai_chat", 2, redacted=True)]))
    assert redacted[1]["content_block"] == {"type": "redacted_thinking", "data": "@openai_chat:d"}


def test_the_signature_of_a_call_stands_on_the_thinking_before_it() -> None:
    signed = ToolOpen("t", "f", 1, signature="g", signed_by="gemini")
    after_thinking = frames(ThinkingDelta("a", 0), signed, End())[1:-2]
    assert after_thinking == [
        ("start", 0, "thinking"),
        ("delta", 0, "a"),
        ("delta", 0, "@gemini/call:g"),
        ("stop", 0),
        ("start", 1, "tool_use"),
        ("stop", 1),
    ]
    alone = frames(TextDelta("a", 0), signed, End())[1:-2]
    assert alone[3:6] == [("start", 1, "thinking"), ("delta", 1, "@gemini/call:g"), ("stop", 1)]


def test_free_text_becomes_the_object_that_a_function_would_get() -> None:
    events: list[Event] = [
        ToolOpen("call:1", "f", 0, custom=True),
        ToolArgs("free ", 0),
        ToolArgs("text", 0),
        End(),
    ]
    assert fold(ROW, events)["content"] == [
        {"type": "tool_use", "id": "call:1", "name": "f", "input": {"input": "free text"}}
    ]
    assert frames(*events)[2] == ("delta", 0, '{"input":"free text"}')


def test_citations_with_an_address_become_those_of_a_search() -> None:
    note = Annotation(Opaque("openai_chat", {}), 0, url="u", title="t", quote="q")
    cite = {
        "type": "web_search_result_location",
        "url": "u",
        "title": "t",
        "cited_text": "q",
        "encrypted_index": "",
    }
    body = fold(ROW, [TextDelta("a"), note, End()])
    assert body["content"] == [{"type": "text", "text": "a", "citations": [cite]}]
    assert payloads(written(ROW, [note]))[1]["content_block"] == {"type": "text", "text": "", "citations": []}


def test_blocks_of_this_dialect_come_out_as_they_came() -> None:
    server = {"type": "server_tool_use", "id": "s", "name": "n", "input": {"q": 1}}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    events: list[Event] = [
        OpaqueBlock(Opaque("anthropic", server, "server_tool_use"), 0),
        OpaqueBlock(Opaque("anthropic", result, "web_search_tool_result"), 1),
        OpaqueBlock(Opaque("anthropic", {"type": "mcp_tool_use", "input": {}}, "mcp_tool_use"), 2),
        End(),
    ]
    assert fold(ROW, events)["content"][:2] == [server, result]
    assert ("delta", 0, '{"q":1}') in frames(*events)


def test_what_cannot_be_said_is_named() -> None:
    encoder = Encoder(INFO)
    events: list[Event] = [
        TextDelta("a", 0),
        TextDelta("", 0, signature="s", signed_by="gemini"),
        TextDelta("", 9, signature="s", signed_by="gemini"),
        TextDelta("b", 0, choice=1),
        ThinkingDelta("", 5),
        ToolOpen("t", "f", 1),
        ToolArgs("{}", 1),
        Annotation(Opaque("x", {}), 0),
        MediaDelta(Media("image"), 2),
        Logprobs({}),
        OpaqueBlock(Opaque("gemini", {}, "executableCode"), 3),
        Unknown(b""),
    ]
    for event in events:
        encoder.send(event)
    assert encoder.dropped == ["thinking.signature", "n", "citations", "image", "logprobs", "executableCode"]


def test_pings_and_failures_have_their_frames() -> None:
    encoder = Encoder(INFO)
    assert encoder.send(Heartbeat()) == b""
    encoder.send(Start("m"))
    assert encoder.send(Heartbeat()) == ROW.ping
    assert encoder.send(Start("again")) == b""
    frame = encoder.send(Failure("busy", "overloaded", 529))
    assert frame.startswith(b"event: error\n")
    assert json.loads(frame.partition(b"data: ")[2])["error"] == {
        "type": "overloaded_error",
        "message": "busy",
    }
    with pytest.raises(ProtocolError, match="busy"):
        Encoder(INFO).fold([Failure("busy", "overloaded")])


def test_arguments_that_are_no_object_are_kept_under_a_name() -> None:
    def arguments(value: str) -> Any:
        return fold(ROW, [ToolOpen("t", "f", 0), ToolArgs(value, 0)])["content"][0]["input"]

    assert arguments('{"a":1}') == {"a": 1}
    assert arguments('{"a"') == {"arguments": '{"a"'}
    assert arguments("[1]") == {"arguments": [1]}


def test_a_summary_of_the_conversation_comes_in_its_delta() -> None:
    block = {"type": "compaction", "content": "so far"}
    events: list[Event] = [OpaqueBlock(Opaque("anthropic", block, "compaction"), 0), End()]
    begun, delta = payloads(written(ROW, events))[1:3]
    assert begun["content_block"] == {"type": "compaction", "content": None}
    assert delta["delta"] == {"type": "compaction_delta", "content": "so far"}
    assert fold(ROW, events)["content"] == [block]


def test_arguments_that_are_null_are_an_empty_object() -> None:
    events: list[Event] = [ToolOpen("t", "f", 0), ToolArgs("null", 0)]
    assert fold(ROW, events)["content"][0]["input"] == {}
    assert "input_json_delta" not in written(ROW, [*events, End()]).decode()


def test_context_management_stands_beside_the_delta() -> None:
    finish = Finish(
        StopReason.STOP, extra=Opaque("anthropic", {"context_management": {"x": 1}, "container": {"id": "c"}})
    )
    last = payloads(written(ROW, [finish, End()]))[-2]
    assert (last["context_management"], last["delta"]["container"]) == ({"x": 1}, {"id": "c"})
    assert fold(ROW, [finish, End()])["context_management"] == {"x": 1}
    assert stream(text(0, "a"))
