from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import ProtocolError, Truncated
from apipod_proxy.dialect.gemini import ROW
from apipod_proxy.dialect.gemini_decoder import decode_unary
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
from tests.dialect.wire import decode, every_byte, ids, is_truncated

NO_ID = Opaque("gemini", {"id": None})
START = Start("r", "gemini-2.5-flash")


def chunk(
    *parts: Any, finish: Any = None, usage: Any = None, index: int = 0, **candidate: Any
) -> dict[str, Any]:
    value: dict[str, Any] = {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": index, **candidate}],
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r",
    }
    if finish is not None:
        value["candidates"][0]["finishReason"] = finish
    if usage is not None:
        value["usageMetadata"] = usage
    return value


def sse(*chunks: Any) -> bytes:
    return b"".join(
        b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\r\n\r\n" for value in chunks
    )


def array(*chunks: Any) -> bytes:
    return (
        b"["
        + b"\n,\r\n".join(json.dumps(value, indent=2, ensure_ascii=False).encode() for value in chunks)
        + b"\n]"
    )


USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 20, "thoughtsTokenCount": 7}
REPORT = UsageReport(Usage(10, None, None, 3, 7, Opaque("gemini", USAGE, "usageMetadata")))

STREAMS: dict[str, tuple[list[Any], list[Event]]] = {
    "text": (
        [chunk({"text": "hé"}), chunk({"text": "llo 😀"}, finish="STOP", usage=USAGE)],
        [START, TextDelta("hé"), TextDelta("llo 😀"), REPORT, Finish(StopReason.STOP, raw="STOP"), End()],
    ),
    "a last chunk without parts": (
        [chunk({"text": "x"}), {"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}]}],
        [START, TextDelta("x"), Finish(StopReason.LENGTH, raw="MAX_TOKENS"), End()],
    ),
    "a last chunk that only signs": (
        [chunk({"text": "x"}), chunk({"text": "", "thoughtSignature": "AQ=="}, finish="STOP")],
        [
            START,
            TextDelta("x"),
            TextDelta("", 0, 0, "AQ==", "gemini"),
            Finish(StopReason.STOP, raw="STOP"),
            End(),
        ],
    ),
    "thoughts, then text": (
        [
            chunk({"text": "hm", "thought": True}),
            chunk({"text": "m", "thought": True}),
            chunk({"text": ""}),
            chunk({"text": "x"}, finish="STOP"),
        ],
        [
            START,
            ThinkingDelta("hm"),
            ThinkingDelta("m"),
            TextDelta("x", 1),
            Finish(StopReason.STOP, raw="STOP"),
            End(),
        ],
    ),
    "a signed thought": (
        [
            chunk({"text": "hm", "thought": True, "thoughtSignature": "AQ=="}),
            chunk({"text": "m", "thought": True}, finish="STOP"),
        ],
        [
            START,
            ThinkingDelta("hm"),
            SignatureDelta("AQ==", "gemini"),
            ThinkingDelta("m", 1),
            Finish(StopReason.STOP, raw="STOP"),
            End(),
        ],
    ),
    "parallel calls of one function without ids": (
        [
            chunk(
                {"functionCall": {"name": "f", "args": {"n": 1}}, "thoughtSignature": "AQ=="},
                {"functionCall": {"name": "f", "args": {"n": 2}}},
                finish="STOP",
            )
        ],
        [
            START,
            ToolOpen("call_1", "f", 0, signature="AQ==", signed_by="gemini", extra=NO_ID),
            ToolArgs('{"n":1}', 0),
            ToolOpen("call_2", "f", 1, extra=NO_ID),
            ToolArgs('{"n":2}', 1),
            Finish(StopReason.TOOL_USE, raw="STOP"),
            End(),
        ],
    ),
    "a call with an id and without arguments": (
        [chunk({"functionCall": {"name": "f", "id": "x"}}), chunk({"text": "done"}, finish="STOP")],
        [
            START,
            ToolOpen("x", "f", 0, extra=Opaque("gemini", {})),
            ToolArgs("{}", 0),
            TextDelta("done", 1),
            Finish(StopReason.TOOL_USE, raw="STOP"),
            End(),
        ],
    ),
    "a finish reason on every chunk": (
        [chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, finish="STOP")],
        [START, TextDelta("a"), TextDelta("b"), Finish(StopReason.STOP, raw="STOP"), End()],
    ),
    "two candidates": (
        [
            chunk({"text": "a"}),
            chunk({"text": "b"}, index=1),
            chunk(finish="STOP"),
            chunk(finish="SAFETY", index=1),
        ],
        [
            START,
            TextDelta("a"),
            TextDelta("b", 0, 1),
            Finish(StopReason.STOP, 0, raw="STOP"),
            Finish(StopReason.CONTENT_FILTER, 1, raw="SAFETY"),
            End(),
        ],
    ),
    "a blocked prompt": (
        [
            {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": USAGE,
                "modelVersion": "gemini-2.5-flash",
                "responseId": "r",
            }
        ],
        [
            START,
            REPORT,
            Finish(
                StopReason.CONTENT_FILTER,
                raw="PROHIBITED_CONTENT",
                extra=Opaque("gemini", {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
            ),
            End(),
        ],
    ),
    "code that ran": (
        [
            chunk({"executableCode": {"code": "1"}}, {"codeExecutionResult": {"output": "1"}}),
            chunk({"text": "x"}, finish="STOP"),
        ],
        [
            START,
            OpaqueBlock(Opaque("gemini", {"executableCode": {"code": "1"}}, "executableCode"), 0),
            OpaqueBlock(Opaque("gemini", {"codeExecutionResult": {"output": "1"}}, "codeExecutionResult"), 1),
            TextDelta("x", 2),
            Finish(StopReason.STOP, raw="STOP"),
            End(),
        ],
    ),
    "a picture": (
        [
            chunk(
                {"inlineData": {"mimeType": "image/png", "data": "-_8"}, "thoughtSignature": "AQ=="},
                finish="STOP",
            )
        ],
        [
            START,
            MediaDelta(
                Media("image", "image/png", "+/8=", extra=Opaque("gemini", {"thoughtSignature": "AQ=="})), 0
            ),
            Finish(StopReason.STOP, raw="STOP"),
            End(),
        ],
    ),
    "arguments piece by piece": (
        [
            chunk({"functionCall": {"name": "f", "willContinue": True}}),
            chunk(
                {
                    "functionCall": {
                        "partialArgs": [{"jsonPath": "$.a.b[0].c", "stringValue": "x", "willContinue": True}],
                        "willContinue": True,
                    }
                }
            ),
            chunk(
                {
                    "functionCall": {
                        "partialArgs": [{"jsonPath": "$.a.b[0].c", "stringValue": "y"}],
                        "willContinue": True,
                    }
                }
            ),
            chunk(
                {
                    "functionCall": {
                        "partialArgs": [
                            {"jsonPath": "$.a['d e']", "numberValue": 2.0},
                            {"jsonPath": "$.f", "boolValue": True},
                            {"jsonPath": "$.g", "nullValue": "NULL_VALUE"},
                        ],
                        "willContinue": True,
                    }
                }
            ),
            chunk({"functionCall": {}}),
            chunk({"functionCall": {"name": "g", "willContinue": True}}),
            chunk({"functionCall": {"name": "h"}}, finish="STOP"),
        ],
        [
            START,
            ToolOpen("call_1", "f", 0, extra=NO_ID),
            ToolArgs('{"a":{"b":[{"c":"xy"}],"d e":2},"f":true,"g":null}', 0),
            ToolOpen("call_2", "g", 1, extra=NO_ID),
            ToolArgs("{}", 1),
            ToolOpen("call_3", "h", 2, extra=NO_ID),
            ToolArgs("{}", 2),
            Finish(StopReason.TOOL_USE, raw="STOP"),
            End(),
        ],
    ),
    "an error in the stream": (
        [chunk({"text": "a"}), {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}],
        [START, TextDelta("a"), Failure("busy", "overloaded", 503)],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("frame", [sse, array])
def test_reads_a_stream_whole_byte_by_byte_and_with_a_tail(name: str, frame: Any) -> None:
    chunks, expected = STREAMS[name]
    data = frame(*chunks)
    assert decode(ROW, data) == expected
    assert decode(ROW, data, every_byte(data)) == expected
    if frame is sse:
        assert decode(ROW, data + b": tail\r\n") == expected
        assert decode(ROW, data.replace(b"\r\n", b"\n").rstrip()) == expected
        assert decode(ROW, data.replace(b"data: ", b"data:") + b"data: [DONE]\n\n") == expected


@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 900), max_size=6), as_array=st.booleans())
def test_any_split_gives_the_same_events(name: str, cuts: list[int], as_array: bool) -> None:
    chunks, expected = STREAMS[name]
    assert decode(ROW, (array if as_array else sse)(*chunks), cuts) == expected


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (chunks, _) in STREAMS.items()
        if len(chunks) > 1 and name not in ("a finish reason on every chunk", "an error in the stream")
    ],
)
def test_a_stream_that_is_cut_off_is_no_end(name: str) -> None:
    chunks, _ = STREAMS[name]
    for kept in range(len(chunks)):
        assert is_truncated(ROW, sse(*chunks[:kept]))
    assert is_truncated(ROW, array(*chunks)[:-20])


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(STREAMS)),
    st.sampled_from(sorted(STREAMS)),
    st.integers(0, 900),
    st.integers(0, 900),
    st.binary(max_size=4),
)
def test_cuts_and_splices_raise_nothing_but_protocol_errors(
    first: str, second: str, cut: int, seam: int, noise: bytes
) -> None:
    data = sse(*STREAMS[first][0])[:cut] + noise + sse(*STREAMS[second][0])[seam:]
    try:
        decode(ROW, data)
    except ProtocolError:
        pass  # the only thing that may come out of a broken stream


def test_frames_that_are_no_json_are_skipped_and_counted() -> None:
    data = sse(chunk({"text": "a"})) + b"data: {broken\n\ndata: 3\n\n" + sse(chunk(finish="STOP"))
    assert [event for event in decode(ROW, data) if isinstance(event, Unknown)] == [
        Unknown(b"{broken"),
        Unknown(b"3"),
    ]


def test_events_that_lost_their_blank_lines_are_still_events() -> None:
    chunks, expected = STREAMS["text"]
    assert decode(ROW, sse(*chunks).replace(b"\r\n\r\n", b"\n")) == expected


def test_usage_is_reported_when_it_changes() -> None:
    data = sse(
        chunk({"text": "a"}, usage={"promptTokenCount": 1}),
        chunk({"text": "b"}, usage={"promptTokenCount": 1}),
        chunk(finish="STOP", usage=USAGE),
    )
    assert sum(isinstance(event, UsageReport) for event in decode(ROW, data)) == 2


@pytest.mark.parametrize(
    ("extra", "reason", "raw"),
    [({}, StopReason.OTHER, "LANGUAGE"), ({"createTime": "2026"}, StopReason.CONTENT_FILTER, "BLOCKLIST")],
)
def test_numbered_reasons_are_read_by_the_numbers_of_their_host(
    extra: dict[str, Any], reason: StopReason, raw: str
) -> None:
    events = decode(
        ROW,
        sse(
            {
                **chunk(
                    {"text": "a"},
                    finish=6,
                    usage={"promptTokenCount": 1, "promptTokensDetails": [{"modality": 1, "tokenCount": 1}]},
                ),
                **extra,
            }
        ),
    )
    assert [(event.reason, event.raw) for event in events if isinstance(event, Finish)] == [(reason, raw)]
    (usage,) = [event.usage for event in events if isinstance(event, UsageReport)]
    assert usage.extra is not None
    assert usage.extra.payload["promptTokensDetails"][0]["modality"] == "TEXT"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("RECITATION", StopReason.CONTENT_FILTER),
        ("IMAGE_SAFETY", StopReason.CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", StopReason.MALFORMED_CALL),
        ("UNEXPECTED_TOOL_CALL", StopReason.MALFORMED_CALL),
        ("TOO_MANY_TOOL_CALLS", StopReason.OTHER),
        ("SOMETHING_NEW", StopReason.OTHER),
    ],
)
def test_reasons_have_a_meaning(word: str, reason: StopReason) -> None:
    assert decode(ROW, sse(chunk(finish=word)))[-2] == Finish(reason, raw=word)


def test_a_call_of_a_tool_that_was_never_offered_is_a_call() -> None:
    events = decode(ROW, sse(chunk({"functionCall": {"name": "f"}}, finish="UNEXPECTED_TOOL_CALL")))
    assert events[-2] == Finish(StopReason.TOOL_USE, raw="UNEXPECTED_TOOL_CALL")


def test_grounding_becomes_annotations_by_characters() -> None:
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a", "title": "A"}},
            {"retrievedContext": {"text": "quote", "title": "B"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": 3, "endIndex": 6, "text": "abc"}, "groundingChunkIndices": [0, 1, 9]}
        ],
    }
    events = decode(ROW, sse(chunk({"text": "é abc"}), chunk(finish="STOP", groundingMetadata=grounding)))
    notes = [event for event in events if isinstance(event, Annotation)]
    assert [(note.url, note.title, note.quote, note.start, note.end) for note in notes] == [
        ("https://a", "A", None, 2, 5),
        (None, "B", "quote", 2, 5),
    ]
    finish = events[-2]
    assert isinstance(finish, Finish)
    assert finish.extra == Opaque("gemini", {"groundingMetadata": grounding})


def test_log_probabilities_take_the_form_of_chat() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5}],
        "topCandidates": [
            {"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "e", "logProbability": -1.5}]}
        ],
    }
    events = decode(ROW, sse(chunk({"text": "é"}, finish="STOP", logprobsResult=result)))
    (found,) = [event for event in events if isinstance(event, Logprobs)]
    first = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    assert found.payload == {
        "content": [{**first, "top_logprobs": [first, {"token": "e", "logprob": -1.5, "bytes": [101]}]}],
        "refusal": None,
    }


@pytest.mark.parametrize("path", ["$.a[999999999]", "$.a.b.c"])
def test_paths_of_arguments_that_lead_nowhere_break_the_protocol(path: str) -> None:
    first = {"jsonPath": "$.a.b", "stringValue": "x", "willContinue": True}
    pieces = [first, {"jsonPath": path, "stringValue": "y"}]
    with pytest.raises(ProtocolError, match="leads nowhere"):
        decode(ROW, sse(chunk({"functionCall": {"name": "f", "partialArgs": pieces}}, finish="STOP")))


# Whole answers


def test_a_whole_answer_gives_each_part_a_block_of_its_own() -> None:
    body = json.dumps(chunk({"text": "a"}, {"text": "b"}, finish="STOP", usage=USAGE)).encode()
    assert decode_unary(body, ids()) == [
        START,
        TextDelta("a"),
        TextDelta("b", 1),
        REPORT,
        Finish(StopReason.STOP, raw="STOP"),
        End(),
    ]


def test_all_chunks_of_a_stream_may_come_in_one_array() -> None:
    chunks, expected = STREAMS["a last chunk without parts"]
    assert decode_unary(array(*chunks), ids()) == expected


def test_speech_may_lack_its_finish_reason() -> None:
    body = json.dumps(chunk({"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}})).encode()
    assert decode_unary(body, ids())[-2:] == [Finish(StopReason.STOP), End()]


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"candidates": []}', b'{"candidates": [{"index": 0}]}'])
def test_an_answer_that_is_not_whole_is_truncated(body: bytes) -> None:
    with pytest.raises(Truncated):
        decode_unary(body, ids())


def test_an_answer_that_is_no_object_breaks_the_protocol() -> None:
    with pytest.raises(ProtocolError):
        decode_unary(b"[3]", ids())


def test_candidates_of_a_blocked_prompt_are_filtered() -> None:
    value = {**chunk({"text": "a"}), "promptFeedback": {"blockReason": "SAFETY"}}
    assert decode(ROW, sse(value))[-2] == Finish(StopReason.CONTENT_FILTER)


def test_pieces_of_calls_that_lead_nowhere_say_nothing() -> None:
    lost = chunk({"functionCall": {"willContinue": True}}, {"text": "", "thought": True})
    empty = {"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$", "stringValue": "x"}]}}
    events = decode(ROW, sse(lost, chunk(empty, finish="STOP")))
    assert [event.fragment for event in events if isinstance(event, ToolArgs)] == ["{}"]


def test_a_path_that_takes_a_list_for_an_object_breaks_the_protocol() -> None:
    pieces = [{"jsonPath": "$.a[0]", "stringValue": "x"}, {"jsonPath": "$.a.b", "stringValue": "y"}]
    with pytest.raises(ProtocolError, match="leads nowhere"):
        decode(ROW, sse(chunk({"functionCall": {"name": "f", "partialArgs": pieces}}, finish="STOP")))


def test_an_element_over_the_limit_is_counted() -> None:
    assert decode(ROW, sse(chunk({"text": "a"}, finish="STOP")) + b"data:\n\n")[2] == Unknown(b"")
