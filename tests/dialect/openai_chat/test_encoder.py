from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from apipod_proxy.dialect.openai_chat import ROW
from apipod_proxy.dialect.openai_chat.encoder import Encoder
from apipod_proxy.dialect.openai_chat.messages import LEGACY
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
    Thinking,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Unknown,
    Usage,
    UsageReport,
)
from tests.dialect.event_strategies import answers, told
from tests.dialect.openai_chat.cases import CHUNKS_THAT_COME_BACK, brief
from tests.dialect.wire import INFO, decode, fold, openai_client, payloads, stream

STOP = Finish(StopReason.STOP)


def deltas(events: list[Event], call: Call | None = None) -> list[Any]:
    """The deltas of a stream without its first and last chunk."""
    return [
        item["choices"][0]["delta"]
        for item in payloads(stream(ROW, [Start("c"), *events, STOP, End()], call))[1:-1]
    ]


def test_who_asks_for_reasoning_as_openrouters_clients_do_gets_it_so() -> None:
    call = ROW.decode_request(
        b'{"model":"m","reasoning":{"effort":"low"},"messages":[{"role":"user","content":"x"}]}'
    )
    events: list[Event] = [
        ThinkingDelta("Let", 0),
        ThinkingDelta(" me", 0),
        SignatureDelta("s", "anthropic", 0),
        ThinkingDelta("Then", 1),
        SignatureDelta("d", "anthropic", 2, redacted=True),
    ]
    said = deltas(events, call)
    assert [delta.get("reasoning") for delta in said] == ["Let", " me", None, "Then", None]
    assert not any("reasoning_content" in delta for delta in said)
    details = [detail for delta in said for detail in delta["reasoning_details"]]
    assert [(detail["index"], detail.get("text")) for detail in details] == [
        (0, "Let"),
        (0, " me"),
        (0, ""),
        (1, "Then"),
        (2, None),
    ]
    # What comes back on the next turn is what was said, signatures and all.
    body = {"model": "m", "messages": [{"role": "assistant", "reasoning_details": details, "content": "x"}]}
    thoughts = [
        part
        for part in ROW.decode_request(orjson.dumps(body)).messages[0].parts
        if isinstance(part, Thinking)
    ]
    assert [(part.text, part.signature, part.signed_by) for part in thoughts] == [
        ("Let me", "s", "anthropic"),
        ("Then", None, None),
        ("", "d", "anthropic"),
    ]
    message = fold(ROW, [*events, STOP, End()], call)["choices"][0]["message"]
    assert message["reasoning"] == "Let meThen"
    assert [detail.get("text") for detail in message["reasoning_details"]] == ["Let me", None]


@settings(max_examples=60)
@given(events=answers())
def test_what_is_encoded_is_decoded_again(events: list[Event]) -> None:
    encoder = ROW.encoder(INFO._replace(include_usage=True))
    text = b"".join(encoder.send(event) for event in events)
    assert told(decode(ROW, text)) == told(events)


@pytest.mark.parametrize("text", CHUNKS_THAT_COME_BACK)
def test_a_stream_of_this_dialect_comes_out_as_it_came(text: bytes) -> None:
    events = decode(ROW, text)
    encoder = Encoder(INFO._replace(include_usage=True))
    assert brief(decode(ROW, b"".join(encoder.send(event) for event in events))) == brief(events)


def test_each_chunk_has_what_the_strictest_sdks_want() -> None:
    for item in payloads(stream(ROW, [Start(), TextDelta("a"), STOP, End()])):
        assert item["id"] == "chatcmpl-req_1"
        assert item["object"] == "chat.completion.chunk"
        assert item["created"] == 1_700_000_000
        assert item["model"] == "asked-model"
    first = payloads(stream(ROW, [TextDelta("a")]))[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_usage_comes_once_and_last_and_only_where_asked() -> None:
    usage = UsageReport(Usage(input=3, cache_read=2, output=4, reasoning=1))
    events: list[Event] = [Start("c", usage=Usage(input=9)), UsageReport(Usage(input=1)), usage, STOP, End()]
    assert all("usage" not in item for item in payloads(stream(ROW, events)))
    encoder = Encoder(INFO._replace(include_usage=True))
    *rest, last = payloads(b"".join(encoder.send(event) for event in events))
    assert all(item["usage"] is None and item["choices"] for item in rest)
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 5,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def test_unknown_usage_is_not_reported_as_zero() -> None:
    encoder = Encoder(INFO._replace(include_usage=True))
    events: list[Event] = [Start("c"), TextDelta("a"), STOP, End()]
    out = b"".join(encoder.send(event) for event in events)
    assert all(item["usage"] is None for item in payloads(out))
    assert out.endswith(b"data: [DONE]\n\n")


def test_a_signature_travels_with_the_text_that_it_signs() -> None:
    found = deltas(
        [
            ThinkingDelta("Hm", 0),
            ThinkingDelta("m", 0),
            SignatureDelta("s", "anthropic", 0),
            TextDelta("a", 1),
        ]
    )
    detail = {
        "type": "reasoning.text",
        "text": "Hmm",
        "signature": "s",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    assert found == [
        {"reasoning_content": "Hm"},
        {"reasoning_content": "m"},
        {"reasoning_details": [detail]},
        {"content": "a"},
    ]
    hidden = deltas([SignatureDelta("s", "unheard-of", 0, redacted=True)])[0]["reasoning_details"][0]
    assert hidden == {"type": "reasoning.encrypted", "data": "s", "format": "unknown", "index": 0}


def test_calls_are_numbered_among_calls_and_never_without_arguments() -> None:
    found = deltas(
        [
            TextDelta("x", 0),
            ToolOpen("t1", "f", 1, signature="g", signed_by="gemini"),
            ToolOpen("t2", "g", 2),
            ToolArgs("{}", 2),
            ToolArgs("", 2),
            ToolArgs("{}", 9),
        ]
    )
    signature = {"google": {"thought_signature": "g"}}
    assert found[1]["tool_calls"][0] == {
        "index": 0,
        "id": "t1",
        "type": "function",
        "function": {"name": "f", "arguments": ""},
        "extra_content": signature,
    }
    assert found[2]["tool_calls"][0]["index"] == 1
    assert found[3]["tool_calls"] == [{"index": 1, "function": {"arguments": "{}"}}]
    assert found[4]["tool_calls"] == [{"index": 0, "function": {"arguments": "{}"}}]
    assert len(found) == 5


def test_custom_and_older_calls_keep_their_form() -> None:
    custom = deltas([ToolOpen("t", "f", 0, custom=True), ToolArgs("x", 0)])
    assert custom[0]["tool_calls"][0]["custom"] == {"name": "f", "input": ""}
    assert custom[1]["tool_calls"] == [{"index": 0, "custom": {"input": "x"}}]
    older = stream(
        ROW, [ToolOpen("t", "f", 0, extra=LEGACY), ToolArgs("{}", 0), Finish(StopReason.TOOL_USE), End()]
    )
    found = payloads(older)
    assert found[1]["choices"][0]["delta"] == {"function_call": {"name": "f", "arguments": ""}}
    assert found[2]["choices"][0]["delta"] == {"function_call": {"arguments": "{}"}}
    assert found[3]["choices"][0]["finish_reason"] == "function_call"


def test_everything_else_has_its_place() -> None:
    note = {
        "type": "url_citation",
        "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 2, "content": "q"},
    }
    image = Media("image", "image/png", data="QQ==")
    assert deltas(
        [
            RefusalDelta("no", 0),
            TextDelta("", 1, signature="h", signed_by="gemini"),
            Annotation(Opaque("anthropic", {}), 1, url="u", title="t", quote="q", end=2),
            Annotation(Opaque("openai_chat", {"own": 1}), 1),
            MediaDelta(image, 2),
            MediaDelta(Media("audio", data="QQ=="), 3),
            MediaDelta(Media("audio", extra=Opaque("openai_chat", {"audio": {"id": "a"}})), 3),
        ]
    ) == [
        {"refusal": "no"},
        {"extra_content": {"google": {"thought_signature": "h"}}},
        {"annotations": [note]},
        {"annotations": [{"own": 1}]},
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}]},
        {"audio": {"data": "QQ=="}},
        {"audio": {"id": "a"}},
    ]
    assert payloads(stream(ROW, [Logprobs({"content": []})]))[1]["choices"][0]["logprobs"] == {"content": []}


def test_what_cannot_be_said_is_named() -> None:
    encoder = Encoder(INFO)
    events: list[Event] = [
        TextDelta("", signature="s", signed_by="other"),
        ToolOpen("t", "f", 1, signature="s", signed_by="other"),
        Annotation(Opaque("anthropic", {}), 0),
        MediaDelta(Media("video"), 2),
        OpaqueBlock(Opaque("anthropic", {}, "server_tool_use"), 3),
    ]
    for event in events:
        encoder.send(event)
    assert encoder.dropped == ["thinking.signature", "citations", "video", "server_tool_use"]
    assert encoder.send(Unknown(b"")) == b""
    assert encoder.send(Heartbeat()) == b""


def test_each_choice_begins_and_ends_once() -> None:
    events: list[Event] = [
        Start("c"),
        TextDelta("a"),
        TextDelta("b", choice=1),
        ThinkingDelta("", choice=1),
        STOP,
        STOP,
        End(),
    ]
    items = [item["choices"][0] for item in payloads(stream(ROW, events))]
    assert [(item["index"], item["finish_reason"]) for item in items] == [
        (0, None),
        (0, None),
        (1, None),
        (1, None),
        (0, "stop"),
        (1, "stop"),
    ]
    assert items[2]["delta"]["role"] == "assistant"


def test_a_failure_is_an_error_frame() -> None:
    assert payloads(stream(ROW, [Failure("busy", "overloaded", 529)])) == [
        {"error": {"message": "busy", "type": "overloaded_error", "param": None, "code": None}}
    ]


def test_the_sdk_gathers_the_answer_with_its_own_helper() -> None:
    events: list[Event] = [
        Start("c"),
        ThinkingDelta("Hmm", 0),
        SignatureDelta("s", "anthropic", 0),
        TextDelta("Hel", 1),
        TextDelta("lo", 1),
        ToolOpen("t1", "f", 2),
        ToolArgs('{"a":', 2),
        ToolOpen("t2", "g", 3),
        ToolArgs("1}", 2),
        UsageReport(Usage(input=1, output=2)),
        Finish(StopReason.TOOL_USE),
        End(),
    ]
    encoder = Encoder(INFO._replace(include_usage=True))
    client = openai_client(b"".join(encoder.send(event) for event in events))
    with client.chat.completions.stream(model="m", messages=[]) as answer:
        got = answer.get_final_completion()
    message = got.choices[0].message
    calls = [call.function for call in message.tool_calls or []]
    assert message.content == "Hello"
    assert [(call.name, call.arguments) for call in calls] == [("f", '{"a":1}'), ("g", "{}")]
    assert got.choices[0].finish_reason == "tool_calls"
    assert got.usage is not None
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (1, 2)
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "Hmm"
