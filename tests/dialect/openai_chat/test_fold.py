from __future__ import annotations

import pytest
from hypothesis import given, settings

from apipod_proxy.dialect import ProtocolError
from apipod_proxy.dialect.openai_chat import ROW
from apipod_proxy.dialect.openai_chat.encoder import Encoder
from apipod_proxy.dialect.openai_chat.messages import LEGACY
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Failure,
    Finish,
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
    Usage,
    UsageReport,
)
from tests.dialect.event_strategies import answers, told
from tests.dialect.openai_chat.cases import CHUNKS_THAT_COME_BACK, brief
from tests.dialect.wire import INFO, decode, fold, ids


@settings(max_examples=60)
@given(events=answers())
def test_a_whole_answer_tells_what_the_stream_told(events: list[Event]) -> None:
    said = told(ROW.decode_unary(ROW.encoder(INFO).fold(events), ids()))
    whole = told(events)
    # One message has one text: blocks of one kind stand together, and the order of kinds is the dialect's.
    assert said["usage"] == whole["usage"]
    assert said["reason"] == whole["reason"]
    for kind in (TextDelta, ThinkingDelta):
        assert joined(said, kind) == joined(whole, kind)
    assert calls(said) == calls(whole)


def joined(answer: dict[str, object], kind: type) -> str:
    said = answer["said"]
    assert isinstance(said, list)
    return "".join(item[1] for item in said if item[0] is kind)


def calls(answer: dict[str, object]) -> list[object]:
    said = answer["said"]
    assert isinstance(said, list)
    return [item for item in said if isinstance(item[0], str)]


@pytest.mark.parametrize("text", CHUNKS_THAT_COME_BACK)
def test_an_answer_of_this_dialect_is_folded_and_read_again(text: bytes) -> None:
    events = decode(ROW, text)
    again = ROW.decode_unary(ROW.encoder(INFO).fold(events), ids())
    assert sorted(map(str, brief(again))) == sorted(map(str, brief(_gathered(events))))


def _gathered(events: list[Event]) -> list[Event]:
    """Fragments of calls in their final order."""
    first: list[Event] = [event for event in events if not isinstance(event, ToolArgs)]
    blocks = sorted({event.block for event in events if isinstance(event, ToolArgs)})
    for block in blocks:
        text = "".join(
            event.fragment for event in events if isinstance(event, ToolArgs) and event.block == block
        )
        first.append(ToolArgs(text, block))
    return first


def test_every_kind_of_event_has_its_member() -> None:
    events: list[Event] = [
        Start("c", "up", 7, Usage(input=1), Opaque("openai_chat", {"system_fingerprint": "fp"})),
        ThinkingDelta("Hmm", 0),
        SignatureDelta("s", "anthropic", 0),
        TextDelta("Hel", 1),
        TextDelta("lo", 1, signature="h", signed_by="gemini"),
        Annotation(Opaque("x", {}), 1, url="u"),
        ToolOpen("t", "f", 2),
        ToolOpen("v", "g", 3, custom=True),
        MediaDelta(Media("image", url="http://x"), 4),
        MediaDelta(Media("image", url="http://y"), 5),
        MediaDelta(Media("audio", data="QQ=="), 6),
        Logprobs({"content": [1]}),
        Logprobs({"content": [2], "refusal": None}),
        UsageReport(Usage(output=2)),
        Finish(StopReason.TOOL_USE, extra=Opaque("openai_chat", {"native_finish_reason": "x"})),
        End(),
    ]
    body = fold(ROW, events)
    choice = body["choices"][0]
    message = choice["message"]
    assert (body["id"], body["created"], body["model"], body["system_fingerprint"]) == (
        "c",
        7,
        "asked-model",
        "fp",
    )
    assert (message["content"], message["refusal"], message["reasoning_content"]) == ("Hello", None, "Hmm")
    assert message["reasoning_details"][0]["text"] == "Hmm"
    assert message["extra_content"] == {"google": {"thought_signature": "h"}}
    assert message["annotations"][0]["url_citation"]["url"] == "u"
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert message["tool_calls"][1]["custom"] == {"name": "g", "input": ""}
    assert [image["image_url"]["url"] for image in message["images"]] == ["http://x", "http://y"]
    assert message["audio"] == {"data": "QQ=="}
    assert choice["logprobs"] == {"content": [1, 2], "refusal": None}
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("tool_calls", "x")
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_content_is_null_beside_calls_and_refusals_only() -> None:
    def content(*events: Event) -> object:
        return fold(ROW, [*events, End()])["choices"][0]["message"]["content"]

    assert content(Finish(StopReason.STOP)) == ""
    assert content(ToolOpen("t", "f", 0)) is None
    assert content(RefusalDelta("no")) is None
    older = fold(ROW, [ToolOpen("t", "f", 0, extra=LEGACY), Finish(StopReason.TOOL_USE)])["choices"][0]
    assert older["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert older["finish_reason"] == "function_call"


def test_choices_stand_in_order_and_unknown_usage_is_absent() -> None:
    body = fold(ROW, [TextDelta("b", choice=1), TextDelta("a"), End()])
    assert [choice["message"]["content"] for choice in body["choices"]] == ["a", "b"]
    assert "usage" not in body


def test_what_cannot_be_said_is_named() -> None:
    encoder = Encoder(INFO)
    encoder.fold(
        [
            TextDelta("", signature="s", signed_by="x"),
            Annotation(Opaque("x", {}), 0),
            MediaDelta(Media("video"), 1),
            OpaqueBlock(Opaque("x", {}, "thing"), 2),
        ]
    )
    assert encoder.dropped == ["thinking.signature", "citations", "video", "thing"]


def test_a_failure_is_no_answer() -> None:
    with pytest.raises(ProtocolError, match="busy"):
        Encoder(INFO).fold([Failure("busy", "overloaded")])
