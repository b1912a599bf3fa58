from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest

from apipod_proxy.dialect.gemini import ROW
from apipod_proxy.dialect.gemini_encoder import error_object, to_gemini
from apipod_proxy.dialect.gemini_names import SKIP_VALIDATION
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
from tests.dialect.wire import INFO, fold, google_reads, google_streams, payloads, stream

STOP: list[Event] = [Finish(StopReason.STOP), End()]


def candidate(value: Any, index: int = 0) -> Any:
    return value["candidates"][index]


def parts(value: Any) -> Any:
    """The parts, without the stand-in for a signature that calls of other providers get."""
    found = candidate(value)["content"]["parts"]
    return [{key: item for key, item in part.items() if item != SKIP_VALIDATION} for part in found]


def test_each_piece_goes_out_at_once_as_one_event() -> None:
    encoder = ROW.encoder(INFO)
    assert encoder.send(Start("msg_1", "claude", usage=Usage(input=7))) == b""
    sent = encoder.send(TextDelta("hi"))
    assert sent.startswith(b"data: {")
    assert sent.endswith(b"}\r\n\r\n")
    assert json.loads(sent[6:]) == {
        "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 0, "totalTokenCount": 7},
        "modelVersion": "asked-model",
        "responseId": "msg_1",
    }


def test_plain_pieces_are_written_as_all_chunks_are() -> None:
    encoder = ROW.encoder(INFO)
    own = Opaque("gemini", {"createTime": "now"})
    for start in (Start("msg_1", "claude"), Start("msg_2", "claude", extra=own)):
        encoder.send(start)
        for kind, more in ((TextDelta, {}), (ThinkingDelta, {"thought": True})):
            for choice in (0, 3):
                encoder.send(TextDelta("first", choice=choice))
                for text in ("hi", 'a "quoted"\n', "déjà 😀"):
                    sent = encoder.send(kind(text, choice=choice))
                    part = {"text": text, **more}
                    whole = {
                        "candidates": [{"content": {"parts": [part], "role": "model"}, "index": choice}],
                        "modelVersion": "asked-model",
                        **(own.payload if start.extra else {}),
                        "responseId": start.id,
                    }
                    assert sent == b"data: " + orjson.dumps(whole) + b"\r\n\r\n"


def test_the_finish_goes_out_last_with_the_usage() -> None:
    encoder = ROW.encoder(INFO)
    assert encoder.send(TextDelta("hi"))
    assert encoder.send(Finish(StopReason.LENGTH)) == b""
    assert encoder.send(UsageReport(Usage(5, 2, 1, 3, 4))) == b""
    (last,) = payloads(encoder.send(End()))
    assert last == {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 3,
            "cachedContentTokenCount": 2,
            "thoughtsTokenCount": 4,
            "totalTokenCount": 15,
        },
        "modelVersion": "asked-model",
        "responseId": "req_1",
    }


def test_interleaved_fragments_of_calls_become_whole_calls() -> None:
    events: list[Event] = [
        ToolOpen("a", "f", 0),
        ToolOpen("b", "g", 1),
        ToolArgs('{"x"', 0),
        ToolArgs('{"y":2', 1),
        ToolArgs(":1}", 0),
        ToolArgs("}", 1),
        Finish(StopReason.TOOL_USE),
        End(),
    ]
    (chunk,) = payloads(stream(ROW, events))
    assert parts(chunk) == [
        {"functionCall": {"name": "f", "args": {"x": 1}, "id": "a"}},
        {"functionCall": {"name": "g", "args": {"y": 2}, "id": "b"}},
    ]
    assert candidate(chunk)["finishReason"] == "STOP"
    assert parts(fold(ROW, events)) == parts(chunk)


def test_a_call_goes_out_when_something_else_begins() -> None:
    chunks = payloads(stream(ROW, [ToolOpen("a", "f", 0), ToolArgs("{}", 0), TextDelta("x", 1), *STOP]))
    assert parts(chunks[0]) == [{"functionCall": {"name": "f", "args": {}, "id": "a"}}, {"text": "x"}]


def test_what_comes_between_the_fragments_of_calls_stands_behind_them() -> None:
    events: list[Event] = [
        ToolOpen("t1", "f", 0),
        ToolArgs('{"a"', 0),
        TextDelta("b", 1),
        ThinkingDelta("c", 2),
        ToolArgs(":1}", 0),
    ]
    whole = [
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "t1"}},
        {"text": "b"},
        {"text": "c", "thought": True},
    ]
    encoder = ROW.encoder(INFO)
    assert b"".join(encoder.send(event) for event in events[:-1]) == b""
    assert parts(payloads(encoder.send(events[-1]))[0]) == whole
    assert parts(fold(ROW, [*events, *STOP])) == whole


def test_a_call_that_is_never_complete_comes_before_what_waited_for_it() -> None:
    events: list[Event] = [ToolOpen("t1", "f", 0), TextDelta("b", 1), RefusalDelta("c", 2), *STOP]
    whole = [{"functionCall": {"name": "f", "args": {}, "id": "t1"}}, {"text": "bc"}]
    assert parts(payloads(stream(ROW, events))[-1]) == whole
    assert parts(fold(ROW, events)) == whole


def test_calls_that_came_from_gemini_without_an_id_stay_without() -> None:
    opened = ToolOpen(
        "call_1", "f", 0, signature="AQ==", signed_by="gemini", extra=Opaque("gemini", {"id": None})
    )
    answer = fold(ROW, [opened, *STOP])
    assert parts(answer) == [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "AQ=="}]


def test_the_first_call_of_another_provider_gets_a_stand_in_for_a_signature() -> None:
    events: list[Event] = [
        ToolOpen("a", "f", 0),
        ToolOpen("b", "f", 1),
        TextDelta("x", 2),
        ToolOpen("c", "f", 3),
        *STOP,
    ]
    found = candidate(fold(ROW, events))["content"]["parts"]
    assert [part.get("thoughtSignature") for part in found] == [SKIP_VALIDATION, None, None, None]
    own = ToolOpen("a", "f", 0, extra=Opaque("gemini", {}))
    assert "thoughtSignature" not in candidate(fold(ROW, [own, *STOP]))["content"]["parts"][0]


def test_a_custom_call_has_its_text_as_input() -> None:
    answer = fold(ROW, [ToolOpen("a", "f", 0, custom=True), ToolArgs("some text", 0), *STOP])
    assert parts(answer)[0]["functionCall"]["args"] == {"input": "some text"}


def test_signatures_of_others_are_labelled_in_base64() -> None:
    events: list[Event] = [
        ThinkingDelta("hm"),
        SignatureDelta("sig", "anthropic"),
        SignatureDelta("data", "anthropic", 1, redacted=True),
        ToolOpen("a", "f", 2, signature="s", signed_by="other"),
        *STOP,
    ]
    found = parts(fold(ROW, events))
    sealed = [base64.b64decode(part["thoughtSignature"]) for part in found]
    assert sealed == [b"@anthropic:sig", b"@anthropic/redacted:data", b"@other/call:s"]
    assert found[0] | {"thoughtSignature": ""} == {"text": "hm", "thought": True, "thoughtSignature": ""}
    assert google_reads(json.dumps(fold(ROW, events)).encode()).candidates


def test_pieces_of_a_block_are_joined_and_blocks_stay_apart() -> None:
    events: list[Event] = [
        ThinkingDelta("a"),
        ThinkingDelta("b"),
        TextDelta("c", 1),
        TextDelta("d", 1),
        TextDelta("", 1, 0, "AQ==", "gemini"),
        TextDelta("e", 2),
        TextDelta("f", 3),
        RefusalDelta("no", 4),
        *STOP,
    ]
    assert parts(fold(ROW, events)) == [
        {"text": "ab", "thought": True},
        {"text": "cd"},
        {"text": "", "thoughtSignature": "AQ=="},
        {"text": "e"},
        {"text": "f"},
        {"text": "no"},
    ]


def test_pictures_and_files_go_out_whole() -> None:
    picture = MediaDelta(
        Media("image", "image/png", "AAAA", extra=Opaque("gemini", {"thoughtSignature": "AQ=="})), 0
    )
    file = MediaDelta(Media("image", "image/png", url="https://e.com/a.png"), 1)
    assert parts(fold(ROW, [picture, file, *STOP])) == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, "thoughtSignature": "AQ=="},
        {"fileData": {"fileUri": "https://e.com/a.png", "mimeType": "image/png"}},
    ]


def test_what_only_gemini_knows_comes_out_again_and_what_only_others_know_is_counted() -> None:
    encoder = ROW.encoder(INFO)
    own = OpaqueBlock(Opaque("gemini", {"executableCode": {"code": "1"}}, "executableCode"), 0)
    foreign = OpaqueBlock(Opaque("anthropic", {"type": "server_tool_use"}, "server_tool_use"), 1)
    answer = json.loads(encoder.fold([own, foreign, *STOP]))
    assert parts(answer) == [{"executableCode": {"code": "1"}}]
    assert encoder.dropped == ["server_tool_use"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish(StopReason.STOP, raw="end_turn"), "STOP"),
        (Finish(StopReason.STOP_SEQUENCE), "STOP"),
        (Finish(StopReason.TOOL_USE, raw="STOP"), "STOP"),
        (Finish(StopReason.CONTENT_FILTER), "SAFETY"),
        (Finish(StopReason.CONTENT_FILTER, raw="RECITATION"), "RECITATION"),
        (Finish(StopReason.REFUSAL, raw="refusal"), "PROHIBITED_CONTENT"),
        (Finish(StopReason.MALFORMED_CALL), "MALFORMED_FUNCTION_CALL"),
        (Finish(StopReason.OTHER, raw="whatever"), "OTHER"),
    ],
)
def test_reasons_get_their_word(finish: Finish, word: str) -> None:
    assert candidate(fold(ROW, [TextDelta("x"), finish, End()]))["finishReason"] == word


def test_a_blocked_prompt_has_no_candidate() -> None:
    feedback = {"blockReason": "SAFETY"}
    finish = Finish(
        StopReason.CONTENT_FILTER, raw="SAFETY", extra=Opaque("gemini", {"promptFeedback": feedback})
    )
    answer = fold(ROW, [Start(), finish, End()])
    assert answer["promptFeedback"] == feedback
    assert "candidates" not in answer


def test_several_choices_are_several_candidates() -> None:
    events: list[Event] = [
        TextDelta("a"),
        TextDelta("b", 0, 1),
        Finish(StopReason.STOP, 1),
        Finish(StopReason.LENGTH, 0),
        End(),
    ]
    answer = fold(ROW, events)
    assert [
        (c["index"], c["content"]["parts"][0]["text"], c["finishReason"]) for c in answer["candidates"]
    ] == [
        (0, "a", "MAX_TOKENS"),
        (1, "b", "STOP"),
    ]


def test_citations_of_others_become_grounding_by_bytes() -> None:
    events: list[Event] = [
        TextDelta("é abc"),
        Annotation(Opaque("other", {}), 0, 0, "https://a", "A", None, 2, 5),
        Annotation(Opaque("other", {}), 0, 0, "https://a", "A", None, 0, 1),
        *STOP,
    ]
    assert candidate(fold(ROW, events))["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 3, "endIndex": 6, "text": "abc"}, "groundingChunkIndices": [0]},
            {"segment": {"endIndex": 2, "text": "é"}, "groundingChunkIndices": [0]},
        ],
    }


def test_grounding_of_gemini_comes_out_as_it_was() -> None:
    grounding = {"webSearchQueries": ["x"]}
    finish = Finish(StopReason.STOP, raw="STOP", extra=Opaque("gemini", {"groundingMetadata": grounding}))
    events: list[Event] = [TextDelta("a"), Annotation(Opaque("gemini", {}), 0, 0, "https://a"), finish, End()]
    assert candidate(fold(ROW, events))["groundingMetadata"] == grounding


def test_citations_without_a_place_are_sources_alone() -> None:
    events: list[Event] = [TextDelta("a"), Annotation(Opaque("other", {}), 0, 0, "https://a"), *STOP]
    assert candidate(fold(ROW, events))["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://a"}}]
    }


def test_log_probabilities_take_the_form_of_gemini() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}
    assert candidate(fold(ROW, [TextDelta("a"), Logprobs({"content": [token]}), *STOP]))[
        "logprobsResult"
    ] == {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.0}]}],
    }


def test_usage_of_gemini_comes_out_as_it_was() -> None:
    wire = {"promptTokenCount": 3, "trafficType": "ON_DEMAND"}
    assert to_gemini(Usage(3, extra=Opaque("gemini", wire))) == wire


# Failures


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure("busy", "overloaded", 529), {"code": 529, "message": "busy", "status": "UNAVAILABLE"}),
        (
            Failure("no", "rate_limit", 429, "RESOURCE_EXHAUSTED"),
            {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"},
        ),
        (Failure("odd", "unheard_of"), {"code": 500, "message": "odd", "status": "INTERNAL"}),
    ],
)
def test_failures_are_said_in_googles_words(failure: Failure, error: Any) -> None:
    assert error_object(failure) == {"error": error}
    assert payloads(stream(ROW, [TextDelta("a"), failure]))[-1] == {"error": error}
    assert fold(ROW, [TextDelta("a"), failure]) == {"error": error}


# The SDK


def test_the_sdk_reads_a_stream_and_its_fold_alike() -> None:
    events: list[Event] = [
        Start("r", usage=Usage(input=4)),
        ThinkingDelta("hm "),
        ThinkingDelta("yes"),
        SignatureDelta("sig", "anthropic"),
        TextDelta("hello ", 1),
        TextDelta("there", 1),
        ToolOpen("a", "f", 2),
        ToolArgs('{"n": 1}', 2),
        ToolOpen("b", "f", 3),
        ToolArgs('{"n": 2}', 3),
        Finish(StopReason.TOOL_USE),
        UsageReport(Usage(output=5, reasoning=2)),
        End(),
    ]
    chunks = google_streams(stream(ROW, events))
    whole = google_reads(json.dumps(fold(ROW, events)).encode())
    streamed = [
        part
        for chunk in chunks
        for c in chunk.candidates or []
        if c.content
        for part in c.content.parts or []
    ]
    assert whole.candidates
    assert whole.candidates[0].content
    folded = whole.candidates[0].content.parts or []
    for found in (streamed, folded):
        assert "".join(part.text or "" for part in found if not part.thought) == "hello there"
        assert "".join(part.text or "" for part in found if part.thought) == "hm yes"
        assert [(p.function_call.id, p.function_call.args) for p in found if p.function_call] == [
            ("a", {"n": 1}),
            ("b", {"n": 2}),
        ]
        signatures = [part.thought_signature for part in found if part.thought and part.thought_signature]
        assert signatures == [b"@anthropic:sig"]
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert whole.usage_metadata
    assert whole.usage_metadata.total_token_count == 11


def test_what_gemini_says_of_the_whole_answer_stays() -> None:
    start = Start("r", extra=Opaque("gemini", {"createTime": "2026"}))
    events: list[Event] = [start, ThinkingDelta(""), TextDelta("a"), *STOP]
    assert fold(ROW, events)["createTime"] == "2026"
    assert all(chunk["createTime"] == "2026" for chunk in payloads(stream(ROW, events)))
