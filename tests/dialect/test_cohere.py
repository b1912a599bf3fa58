from __future__ import annotations

from typing import Any

import orjson
import pytest

from apipod_proxy.dialect import AnswerInfo, ProtocolError, Truncated
from apipod_proxy.dialect.cohere import ROW, Decoder, decode_unary
from apipod_proxy.dialect.table import DIALECTS, SPOKEN
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Failure,
    Finish,
    Start,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Unknown,
    UsageReport,
)

USAGE = {
    "billed_units": {"input_tokens": 8, "output_tokens": 5},
    "tokens": {"input_tokens": 900, "output_tokens": 7},
}
CITATION = {
    "start": 0,
    "end": 2,
    "text": "It",
    "sources": [
        {"type": "document", "id": "doc-0", "document": {"id": "doc-0", "title": "Map", "text": "It is so."}}
    ],
    "content_index": 1,
}


def frame(kind: str, index: int | None = None, **message: Any) -> bytes:
    event: dict[str, Any] = {"type": kind, "delta": {"message": message}}
    if index is not None:
        event["index"] = index
    return f"event: {kind}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"


def end(**delta: Any) -> bytes:
    return b"event: message-end\ndata: " + orjson.dumps({"type": "message-end", "delta": delta}) + b"\n\n"


START = b'event: message-start\ndata: {"id":"c-1","type":"message-start","delta":{"message":{"role":"assistant"}}}\n\n'
STREAM = b"".join(
    (
        START,
        frame("tool-plan-delta", tool_plan="I look "),
        frame("tool-plan-delta", tool_plan="it up."),
        frame("content-start", 0, content={"type": "thinking", "thinking": ""}),
        frame("content-delta", 0, content={"thinking": "Hm."}),
        b'event: content-end\ndata: {"type":"content-end","index":0}\n\n',
        frame("content-start", 1, content={"type": "text", "text": ""}),
        frame("content-delta", 1, content={"text": "It is é."}),
        frame("citation-start", 0, citations=CITATION),
        b'event: citation-end\ndata: {"type":"citation-end","index":0}\n\n',
        frame(
            "tool-call-start",
            0,
            tool_calls={"id": "t-1", "type": "function", "function": {"name": "find", "arguments": ""}},
        ),
        frame("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"q":'}}),
        frame("tool-call-delta", 0, tool_calls={"function": {"arguments": "1}"}}),
        end(finish_reason="TOOL_CALL", usage=USAGE),
        b"data: [DONE]\n\n",
    )
)


def ids(prefix: str) -> str:
    return f"{prefix}made"


def events_of(data: bytes, size: int = 1 << 20) -> list[Event]:
    decoder = Decoder(ids)
    events: list[Event] = []
    for place in range(0, len(data), size):
        events += decoder.feed(data[place : place + size])
    return events + decoder.eof()


def test_a_stream_becomes_events_whatever_its_split() -> None:
    events = events_of(STREAM)
    assert events == events_of(STREAM, 1) == events_of(STREAM.replace(b"\n", b"\r\n"), 7)
    assert events[:2] == [Start("c-1"), TextDelta("I look ", 0)]
    assert ThinkingDelta("Hm.", 1) in events
    assert TextDelta("It is é.", 2) in events
    assert [e for e in events if isinstance(e, ToolOpen | ToolArgs)] == [
        ToolOpen("t-1", "find", 3),
        ToolArgs('{"q":', 3),
        ToolArgs("1}", 3),
    ]
    assert events[-2:] == [Finish(StopReason.TOOL_USE, raw="TOOL_CALL"), End()]


def test_what_is_billed_is_what_counts() -> None:
    (report,) = [event for event in events_of(STREAM) if isinstance(event, UsageReport)]
    assert (report.usage.input, report.usage.output) == (8, 5)
    counted = {"tokens": {"input_tokens": 900, "output_tokens": 7}, "cached_tokens": 800}
    events = events_of(START + end(finish_reason="COMPLETE", usage=counted))
    (report,) = [event for event in events if isinstance(event, UsageReport)]
    assert (report.usage.input, report.usage.cache_read, report.usage.output) == (100, 800, 7)


def test_citations_point_at_their_text() -> None:
    (note,) = [event for event in events_of(STREAM) if isinstance(event, Annotation)]
    assert (note.block, note.start, note.end, note.title, note.quote) == (2, 0, 2, "Map", "It is so.")


def test_a_whole_answer_gives_the_same_as_its_stream() -> None:
    answer = {
        "id": "c-1",
        "finish_reason": "TOOL_CALL",
        "message": {
            "role": "assistant",
            "tool_plan": "I look it up.",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "It is é."}],
            "citations": [CITATION],
            "tool_calls": [
                {"id": "t-1", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}
            ],
        },
        "usage": USAGE,
    }
    whole = decode_unary(orjson.dumps(answer), ids)
    for row in DIALECTS.values():
        info = AnswerInfo("m", "r-1", 1, True)
        folded = orjson.loads(row.encoder(info).fold(whole))
        assert b"It is \xc3\xa9." in orjson.dumps(folded)
        assert b"find" in orjson.dumps(folded)
        encoder = row.encoder(info)
        assert b"find" in b"".join(encoder.send(event) for event in events_of(STREAM))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", StopReason.STOP),
        ("STOP_SEQUENCE", StopReason.STOP_SEQUENCE),
        ("MAX_TOKENS", StopReason.LENGTH),
        ("ERROR_TOXIC", StopReason.CONTENT_FILTER),
        ("SOMETHING_NEW", StopReason.OTHER),
    ],
)
def test_reasons_to_stop_are_told_in_neutral_words(word: str, reason: StopReason) -> None:
    assert events_of(START + end(finish_reason=word))[-2:] == [Finish(reason, raw=word), End()]


def test_a_failure_within_a_stream_is_no_end() -> None:
    events = events_of(START + end(finish_reason="ERROR", error="invalid tool generation", usage={}))
    assert events[-1] == Failure("invalid tool generation", "upstream", 500)
    assert isinstance(events_of(START + end(finish_reason="TIMEOUT"))[-1], Failure)


def test_a_stream_that_is_cut_raises() -> None:
    for place in range(len(START), STREAM.index(b"event: message-end"), 40):
        with pytest.raises(Truncated):
            events_of(STREAM[:place])


def test_what_is_not_known_is_skipped_and_counted() -> None:
    odd = b"data: {oops\n\n" + b'data: {"type": "new-thing"}\n\n' + frame("brand-new", 0, content={})
    events = events_of(START + odd + end(finish_reason="COMPLETE"))
    assert len([event for event in events if isinstance(event, Unknown)]) == 3


def test_bodies_that_are_no_answer_are_told_apart() -> None:
    assert isinstance(decode_unary(b'{"id": "x", "message": "model not found"}', ids)[0], Failure)
    for body in (b"{}", b"[]", b'{"message": {}}'):
        with pytest.raises(ProtocolError):
            decode_unary(body, ids)
    with pytest.raises(Truncated):
        decode_unary(b'{"message"', ids)


def test_only_providers_speak_it() -> None:
    assert ROW.name not in DIALECTS
    assert SPOKEN[ROW.name] is ROW
