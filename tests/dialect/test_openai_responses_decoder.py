from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import ProtocolError, Truncated
from apipod_proxy.dialect.openai_responses import ROW
from apipod_proxy.dialect.openai_responses_decoder import decode_unary
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Failure,
    Finish,
    Heartbeat,
    Logprobs,
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
from tests.dialect.wire import decode, every_byte, ids, is_truncated

NAME = "openai_responses"
HEAD = {"id": "resp_1", "object": "response", "created_at": 5, "status": "in_progress", "model": "gpt-5"}
START = Start("resp_1", "gpt-5", 5, extra=Opaque(NAME, HEAD))
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 17,
}
REPORT = UsageReport(Usage(6, 4, None, 2, 5, Opaque(NAME, USAGE, "usage")))


def own(**payload: Any) -> Opaque:
    return Opaque(NAME, payload)


def created() -> dict[str, Any]:
    return {"type": "response.created", "response": {**HEAD, "output": []}}


def completed(*output: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {
        "type": f"response.{status}",
        "response": {**HEAD, "status": status, "output": list(output), "usage": USAGE, **more},
    }


def finish(reason: StopReason = StopReason.STOP, raw: str = "completed", **more: Any) -> list[Event]:
    status = {"completed": "completed"}.get(raw, "incomplete")
    return [Finish(reason, raw=raw, extra=own(**{**HEAD, "status": status, **more})), REPORT, End()]


def added(item: Any, index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: Any, index: int = 0) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def delta(kind: str, text: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "type": f"response.{kind}.delta",
        "output_index": index,
        "content_index": 0,
        "delta": text,
        **more,
    }


def text_item(text: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
        **more,
    }


CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
ABOUT = own(id="msg_1", content_index=0)


def sse(*events: dict[str, Any], named: bool = True) -> bytes:
    frames = []
    for number, event in enumerate(events):
        head = f"event: {event['type']}\n" if named else ""
        frames.append(
            f"{head}data: {json.dumps({'sequence_number': number, **event}, ensure_ascii=False)}\n\n"
        )
    return "".join(frames).encode()


STREAMS: dict[str, tuple[list[dict[str, Any]], list[Event]]] = {
    "text": (
        [
            created(),
            {"type": "response.in_progress", "response": {**HEAD, "output": []}},
            added(MESSAGE),
            {"type": "response.content_part.added", "output_index": 0, "part": {}},
            delta("output_text", "hé", obfuscation="xyz"),
            {"type": "keepalive", "sequence_number": 3},
            delta("output_text", "llo 😀", logprobs=[]),
            {"type": "response.output_text.done", "text": "héllo 😀"},
            done(text_item("héllo 😀")),
            completed(text_item("héllo 😀")),
        ],
        [START, Heartbeat(), TextDelta("hé", extra=ABOUT), Heartbeat(), TextDelta("llo 😀"), *finish()],
    ),
    "no events but the last": (
        [completed(text_item("hi"))],
        [
            START._replace(extra=own(**{**HEAD, "status": "completed"})),
            TextDelta("hi", extra=ABOUT),
            *finish(),
        ],
    ),
    "no deltas": (
        [created(), done(text_item("hi", phase="final_answer")), completed()],
        [START, TextDelta("hi", extra=own(id="msg_1", phase="final_answer", content_index=0)), *finish()],
    ),
    "a lost piece": (
        [created(), added(MESSAGE), delta("output_text", "he"), done(text_item("hello")), completed()],
        [START, TextDelta("he", extra=ABOUT), TextDelta("llo"), *finish()],
    ),
    "a call": (
        [
            created(),
            added({**CALL, "arguments": ""}),
            delta("function_call_arguments", '{"a"'),
            delta("function_call_arguments", ":1}"),
            {"type": "response.function_call_arguments.done", "arguments": '{"a":1}'},
            done(CALL),
            completed(CALL),
        ],
        [
            START,
            ToolOpen("c1", "f", 0, extra=own(id="fc_1")),
            ToolArgs('{"a"', 0),
            ToolArgs(":1}", 0),
            *finish(StopReason.TOOL_USE),
        ],
    ),
    "a call whole at once, then again in pieces": (
        [created(), added(CALL), delta("function_call_arguments", '{"a":1}'), done(CALL), completed(CALL)],
        [
            START,
            ToolOpen("c1", "f", 0, extra=own(id="fc_1")),
            ToolArgs('{"a":1}', 0),
            *finish(StopReason.TOOL_USE),
        ],
    ),
    "a call that was never added": (
        [created(), delta("function_call_arguments", '{"a"'), done(CALL), completed()],
        [
            START,
            ToolOpen("c1", "f", 0, extra=own(id="fc_1")),
            ToolArgs('{"a":1}', 0),
            *finish(StopReason.TOOL_USE),
        ],
    ),
    "calls side by side": (
        [
            created(),
            added({**CALL, "arguments": ""}, 0),
            added({**CALL, "arguments": "", "call_id": "c2", "id": "fc_2"}, 1),
            delta("function_call_arguments", '{"b":2}', 1),
            delta("function_call_arguments", '{"a":1}', 0),
            completed(CALL, {**CALL, "call_id": "c2", "id": "fc_2", "arguments": '{"b":2}'}),
        ],
        [
            START,
            ToolOpen("c1", "f", 0, extra=own(id="fc_1")),
            ToolOpen("c2", "f", 1, extra=own(id="fc_2")),
            ToolArgs('{"b":2}', 1),
            ToolArgs('{"a":1}', 0),
            *finish(StopReason.TOOL_USE),
        ],
    ),
    "a custom tool in a namespace": (
        [
            created(),
            added(
                {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "namespace": "ns", "input": ""}
            ),
            delta("custom_tool_call_input", "*** "),
            done(
                {
                    "type": "custom_tool_call",
                    "call_id": "c1",
                    "name": "patch",
                    "namespace": "ns",
                    "input": "*** text",
                }
            ),
            completed(),
        ],
        [
            START,
            ToolOpen("c1", "ns__patch", 0, custom=True, extra=own(namespace="ns", name="patch")),
            ToolArgs("*** ", 0),
            ToolArgs("text", 0),
            *finish(StopReason.TOOL_USE),
        ],
    ),
    "a summary in two parts, sealed": (
        [
            created(),
            added({"type": "reasoning", "id": "rs_1", "summary": []}),
            {"type": "response.reasoning_summary_part.added", "output_index": 0},
            delta("reasoning_summary_text", "one", summary_index=0),
            delta("reasoning_summary_text", "two", summary_index=1),
            done(
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [
                        {"type": "summary_text", "text": "one"},
                        {"type": "summary_text", "text": "two!"},
                    ],
                    "encrypted_content": "gAAA",
                }
            ),
            completed(),
        ],
        [
            START,
            ThinkingDelta("one", extra=own(id="rs_1", part="summary")),
            ThinkingDelta("\n\n", extra=own(**{"break": True, "part": "summary"})),
            ThinkingDelta("two"),
            ThinkingDelta("!"),
            SignatureDelta("gAAA", NAME, extra=own(id="rs_1")),
            *finish(),
        ],
    ),
    "the reasoning itself": (
        [
            created(),
            added({"type": "reasoning", "id": "rs_1", "summary": [], "status": "in_progress"}),
            delta("reasoning_text", "hm"),
            done(
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "hm"}],
                    "status": "completed",
                }
            ),
            completed(),
        ],
        [START, ThinkingDelta("hm", extra=own(id="rs_1", status="in_progress", part="content")), *finish()],
    ),
    "sealed reasoning without text": (
        [
            created(),
            done({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}),
            completed(),
        ],
        [START, SignatureDelta("gAAA", NAME, redacted=True, extra=own(id="rs_1")), *finish()],
    ),
    "reasoning of which nothing is said": (
        [created(), done({"type": "reasoning", "id": "rs_1", "summary": []}), completed()],
        [
            START,
            OpaqueBlock(Opaque(NAME, {"type": "reasoning", "id": "rs_1", "summary": []}, "reasoning"), 0),
            *finish(),
        ],
    ),
    "a refusal": (
        [
            created(),
            added(MESSAGE),
            delta("refusal", "no"),
            done({**MESSAGE, "content": [{"type": "refusal", "refusal": "no way"}]}),
            completed(),
        ],
        [START, RefusalDelta("no", extra=ABOUT), RefusalDelta(" way"), *finish()],
    ),
    "parts counted on from item to item": (
        [
            created(),
            delta("reasoning_text", "hm"),
            done({"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "hm!"}]}),
            added(MESSAGE, 1),
            delta("output_text", "one", 1, content_index=3),
            done(
                text_item("one")
                | {"content": [{"text": "one"}, {"text": "two"}, {"type": "refusal", "refusal": "no"}]},
                1,
            ),
            completed(),
        ],
        [
            START,
            ThinkingDelta("hm", extra=own(part="content")),
            ThinkingDelta("!"),
            TextDelta("one", 1, extra=ABOUT),
            TextDelta("two", 2, extra=own(id="msg_1", content_index=1)),
            RefusalDelta("no", 3, extra=own(id="msg_1", content_index=2)),
            *finish(),
        ],
    ),
    "a search by the provider": (
        [
            created(),
            added({"type": "web_search_call", "id": "ws_1"}),
            {"type": "response.web_search_call.searching", "output_index": 0},
            done({"type": "web_search_call", "id": "ws_1", "status": "completed"}),
            completed(),
        ],
        [
            START,
            Heartbeat(),
            Heartbeat(),
            OpaqueBlock(
                Opaque(
                    NAME, {"type": "web_search_call", "id": "ws_1", "status": "completed"}, "web_search_call"
                ),
                0,
            ),
            *finish(),
        ],
    ),
    "places that differ at the end": (
        [
            created(),
            added(MESSAGE, 2),
            delta("output_text", "a", 2),
            done(text_item("a"), 2),
            completed(text_item("a")),
        ],
        [START, TextDelta("a", extra=ABOUT), *finish()],
    ),
    "cut at the limit": (
        [
            created(),
            added(MESSAGE),
            delta("output_text", "a"),
            completed(
                text_item("a"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
            ),
        ],
        [
            START,
            TextDelta("a", extra=ABOUT),
            *finish(
                StopReason.LENGTH, "max_output_tokens", incomplete_details={"reason": "max_output_tokens"}
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_reads_a_stream_whole_byte_by_byte_and_with_a_tail(name: str) -> None:
    events, expected = STREAMS[name]
    data = sse(*events)
    assert decode(ROW, data) == expected
    assert decode(ROW, data, every_byte(data)) == expected
    assert (
        decode(ROW, b": OPENROUTER PROCESSING\n\n" + sse(*events, named=False) + b"data: [DONE]\n\n: tail")
        == expected
    )
    assert decode(ROW, data.replace(b"\n", b"\r\n").replace(b"data: ", b"data:").rstrip()) == expected
    assert decode(ROW, data + sse(created(), completed(text_item("more")))) == expected


@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 2500), max_size=6))
def test_any_split_gives_the_same_events(name: str, cuts: list[int]) -> None:
    events, expected = STREAMS[name]
    assert decode(ROW, sse(*events), cuts) == expected


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_off_is_no_end(name: str) -> None:
    events, _ = STREAMS[name]
    for kept in range(len(events)):
        assert is_truncated(ROW, sse(*events[:kept]))


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(STREAMS)),
    st.sampled_from(sorted(STREAMS)),
    st.integers(0, 2500),
    st.integers(0, 2500),
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


FAILURES: dict[str, tuple[list[dict[str, Any]], Failure]] = {
    "an error event, then a failed response": (
        [
            created(),
            {"type": "error", "error": {"type": "tokens", "code": "rate_limit_exceeded", "message": "slow"}},
            completed(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"}),
        ],
        Failure("slow", "rate_limit", 429, "rate_limit_exceeded"),
    ),
    "an error event of the old form": (
        [created(), {"type": "error", "code": "server_error", "message": "broke", "param": None}],
        Failure("broke", "upstream", 500, "server_error"),
    ),
    "a failed response alone": (
        [created(), completed(status="failed", error={"code": "server_error", "message": "broke"})],
        Failure("broke", "upstream", 500, "server_error"),
    ),
    "an error without a type": ([{"type": "", "error": {"message": "odd"}}], Failure("odd", "upstream")),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_said_once_and_end_the_stream(name: str) -> None:
    events, expected = FAILURES[name]
    found = decode(ROW, sse(*events) + sse(delta("output_text", "late")))
    assert [event for event in found if isinstance(event, (Failure, End, TextDelta))] == [expected]


def test_frames_that_are_no_json_or_unknown_are_skipped_and_counted() -> None:
    data = sse(created()) + b"data: {broken\n\ndata: 3\n\n" + sse({"type": "other.thing"}, completed())
    assert [event.raw[:10] for event in decode(ROW, data) if isinstance(event, Unknown)] == [
        b"{broken",
        b"3",
        b'{"sequence',
    ]


def test_citations_are_said_once() -> None:
    note = {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 1, "end_index": 4}
    item = {
        **MESSAGE,
        "content": [
            {
                "type": "output_text",
                "text": "abc",
                "annotations": [note, {"type": "file_citation", "filename": "f.txt"}],
            }
        ],
    }
    events = decode(
        ROW,
        sse(
            created(),
            delta("output_text", "abc"),
            {
                "type": "response.output_text.annotation.added",
                "output_index": 0,
                "content_index": 0,
                "annotation": note,
            },
            done(item),
            completed(),
        ),
    )
    assert [event for event in events if isinstance(event, Annotation)] == [
        Annotation(Opaque(NAME, note, "annotations"), 0, 0, "https://a", "A", None, 1, 4),
        Annotation(Opaque(NAME, item["content"][0]["annotations"][1], "annotations"), 0, 0, None, "f.txt"),  # type: ignore[index]
    ]


def test_log_probabilities_are_said_once() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    item = {**MESSAGE, "content": [{"type": "output_text", "text": "a", "logprobs": [token]}]}
    for stream in ([delta("output_text", "a", logprobs=[token]), done(item)], [done(item)]):
        events = decode(ROW, sse(created(), *stream, completed()))
        assert [event.payload["content"] for event in events if isinstance(event, Logprobs)] == [[token]]


def test_calls_without_any_id_get_one() -> None:
    events = decode(
        ROW, sse(created(), done({"type": "function_call", "name": "f", "arguments": "{}"}), completed())
    )
    assert next(event.id for event in events if isinstance(event, ToolOpen)) == "call_1"


# Whole responses


@pytest.mark.parametrize(
    "name", [name for name, (events, _) in STREAMS.items() if events[-1]["response"]["output"]]
)
def test_a_whole_response_tells_what_its_stream_tells(name: str) -> None:
    events, expected = STREAMS[name]
    found = decode_unary(json.dumps(events[-1]["response"]).encode(), ids())
    kinds = (ToolOpen, UsageReport, Finish, End)
    assert [event for event in found if isinstance(event, kinds)] == [
        event for event in expected if isinstance(event, kinds)
    ]
    assert _text(found) == _text(expected)


def _text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize(
    ("status", "reason"), [("queued", StopReason.OTHER), ("incomplete", StopReason.OTHER)]
)
def test_a_response_that_is_not_finished_says_so(status: str, reason: StopReason) -> None:
    found = decode_unary(json.dumps({**HEAD, "status": status, "output": []}).encode(), ids())
    assert [(event.reason, event.raw) for event in found if isinstance(event, Finish)] == [(reason, status)]


def test_an_error_in_place_of_a_response_is_a_failure() -> None:
    assert decode_unary(b'{"error": {"message": "no", "type": "server_error"}}', ids()) == [
        Failure("no", "upstream", 500)
    ]
    failed = json.dumps(
        {
            **HEAD,
            "status": "failed",
            "error": {"code": "server_error", "message": "no"},
            "output": [],
            "usage": USAGE,
        }
    ).encode()
    assert decode_unary(failed, ids())[1:] == [REPORT, Failure("no", "upstream", 500, "server_error")]


@pytest.mark.parametrize("body", [b"", b"{"])
def test_a_cut_response_is_truncated(body: bytes) -> None:
    with pytest.raises(Truncated):
        decode_unary(body, ids())


@pytest.mark.parametrize("body", [b"[]", b"{}"])
def test_what_is_no_response_breaks_the_protocol(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_unary(body, ids())


def test_items_and_citations_of_another_type_say_nothing() -> None:
    events = [
        created(),
        added("x"),
        delta("output_text", "a"),
        {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": "x"},
        completed(),
    ]
    assert decode(ROW, sse(*events)) == [START, TextDelta("a", extra=own(content_index=0)), *finish()]


def test_an_empty_message_stays_an_item() -> None:
    item = text_item("")
    assert decode(ROW, sse(created(), done(item), completed()))[1] == OpaqueBlock(
        Opaque(NAME, item, "message"), 0
    )
