from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import ProtocolError, Truncated
from apipod_proxy.dialect.anthropic import ROW
from apipod_proxy.dialect.vocabulary import Failure, Finish, Opaque, OpaqueBlock, Start, Unknown
from tests.dialect.anthropic.cases import MESSAGE, STREAMS, delta, end, named, start, stop, stream, text, tool
from tests.dialect.openai_chat.cases import brief
from tests.dialect.wire import decode, every_byte, ids

START = ("start", "msg_1", "asked-model")
COUNTED = ("usage", None, None, None, 9, None)
END = ("end",)


def reason_of(name: str) -> str:
    return "tool_use" if "tool" in name and "server" not in name else "stop"


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_read_whole_byte_by_byte_and_with_a_tail(name: str) -> None:
    data, expected = STREAMS[name]
    assert brief(decode(ROW, data)) == [START, *expected, COUNTED, ("finish", reason_of(name), 0), END]
    assert decode(ROW, data, every_byte(data)) == decode(ROW, data)
    crlf = data.replace(b"\n", b"\r\n")
    assert decode(ROW, crlf, every_byte(crlf)) == decode(ROW, data)
    assert decode(ROW, data.replace(b"data: ", b"data:").replace(b"event: ", b"event:")) == decode(ROW, data)
    assert decode(ROW, data.rstrip(b"\n")) == decode(ROW, data)
    assert decode(ROW, data + b"data: [DONE]\n\n: tail") == decode(ROW, data)
    nameless = b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"event:"))
    assert decode(ROW, nameless) == decode(ROW, data)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_off_never_ends_well(name: str) -> None:
    data = STREAMS[name][0].rstrip(b"\n ")
    for size in range(len(data)):
        with pytest.raises(Truncated):
            decode(ROW, data[:size])


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(STREAMS)),
    other=st.sampled_from(sorted(STREAMS)),
    cuts=st.lists(st.integers(0, 1500), max_size=8),
    junk=st.binary(max_size=20),
)
def test_cuts_and_splices_raise_nothing_but_the_protocol_error(
    name: str, other: str, cuts: list[int], junk: bytes
) -> None:
    data = STREAMS[name][0]
    assert decode(ROW, data, cuts) == decode(ROW, data)
    at = cuts[0] if cuts else 0
    try:
        decode(ROW, data[:at] + junk + STREAMS[other][0][at:], cuts)
    except ProtocolError:
        pass  # which is what a broken stream may do


def test_usage_of_the_start_and_of_the_end_are_told() -> None:
    events = decode(ROW, stream(text(0, "a")))
    assert isinstance(events[0], Start)
    assert events[0].usage is not None
    assert events[0].usage[:5] == (10, 3, None, 1, None)


def test_reasons_are_what_happened() -> None:
    def reason(data: bytes) -> Any:
        return next(event for event in decode(ROW, data) if isinstance(event, Finish))

    assert reason(stream(tool(0, "t", "f"), reason="end_turn")).reason == "tool_use"
    assert reason(stream(tool(0, "t", "f"), reason="max_tokens")).reason == "length"
    assert reason(stream(text(0, "a"), reason="from_the_future")).reason == "other"
    assert (
        reason(named("message_start", message=MESSAGE) + end("stop_sequence", "###")).stop_sequence == "###"
    )
    assert reason(named("message_start", message=MESSAGE) + named("message_stop")).reason == "stop"
    assert reason(named("message_start", message=MESSAGE) + end(None)).raw is None


def test_fields_that_only_this_dialect_knows_are_kept() -> None:
    closing = {"stop_reason": "end_turn", "container": {"id": "c"}}
    data = (
        named("message_start", message=MESSAGE | {"container": {"id": "c"}})
        + named("message_delta", delta=closing, context_management={"x": 1})
        + named("message_stop")
    )
    events = decode(ROW, data)
    assert isinstance(events[0], Start)
    assert events[0].extra == Opaque("anthropic", {"container": {"id": "c"}})
    finish = next(event for event in events if isinstance(event, Finish))
    assert finish.extra == Opaque("anthropic", {"container": {"id": "c"}, "context_management": {"x": 1}})
    caller = stream(
        start(0, type="tool_use", id="t", name="f", input={"a": 1}, caller={"type": "direct"}) + stop(0)
    )
    assert brief(decode(ROW, caller))[1:3] == [("tool", "t", "f", 0), ("args", '{"a":1}', 0)]


def test_a_server_tool_is_whole_with_its_input() -> None:
    block = next(
        event for event in decode(ROW, STREAMS["a server tool"][0]) if isinstance(event, OpaqueBlock)
    )
    assert block.payload.payload["input"] == {"q": "x"}
    broken = stream(
        start(0, type="server_tool_use", id="s", name="n", input={})
        + delta(0, "input_json_delta", partial_json="{")
        + stop(0)
    )
    block = next(event for event in decode(ROW, broken) if isinstance(event, OpaqueBlock))
    assert block.payload.payload["input"] == {"arguments": "{"}
    growing = stream(start(0, type="compaction", content="a") + delta(0, "compaction_delta", content="b"))
    block = next(event for event in decode(ROW, growing) if isinstance(event, OpaqueBlock))
    assert block.payload.payload == {"type": "compaction", "content": "ab"}


def test_odd_shapes_are_skipped_or_guessed() -> None:
    data = stream(
        b"data: oops\n\n",
        b"data: [1]\n\n",
        b"data: \n\n",
        named("from_the_future", x=1),
        named("content_block_start", index=0, content_block=5),
        named("content_block_delta", index=0, delta=5),
        delta(7, "text_delta", text="Hi"),
        delta(8, "text_delta"),
        delta(8, "input_json_delta"),
        delta(8, "from_the_future"),
        start(9, type="tool_use"),
    )
    events = decode(ROW, data)
    assert [event.raw for event in events if isinstance(event, Unknown)][:2] == [b"oops", b"[1]"]
    assert ("text", "Hi", 0, 0) in brief(events)
    assert ("tool", "toolu_1", "", 2) in brief(events)


def test_an_event_over_the_limit_is_skipped() -> None:
    data = named("message_start", message=MESSAGE) + b"data: " + b"x" * (33 * 1024 * 1024) + b"\n\n" + end()
    assert Unknown(b"") in decode(ROW, data)


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n',
            529,
        ),
        (b'data: {"error":{"message":"busy","code":503}}\n\n', 503),
    ],
)
def test_an_error_in_the_stream_is_a_failure(frame: bytes, status: int) -> None:
    decoder = ROW.decoder(ids())
    failure = decoder.feed(named("message_start", message=MESSAGE) + frame)[-1]
    assert isinstance(failure, Failure)
    assert (failure.message, failure.status) == ("busy", status)


def test_a_whole_answer_gives_the_same_events() -> None:
    content = [
        {"type": "thinking", "thinking": "Hmm", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {
            "type": "text",
            "text": "Hi",
            "citations": [{"type": "char_location", "cited_text": "q", "document_title": "t"}],
        },
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        {"type": "server_tool_use", "id": "s", "name": "n", "input": {}},
    ]
    body = json.dumps(
        MESSAGE | {"content": content, "stop_reason": "tool_use"} | {"context_management": {"x": 1}}
    ).encode()
    assert brief(ROW.decode_unary(body, ids())) == [
        START,
        ("think", "Hmm", 0, 0),
        ("signature", "s", "anthropic", 0, False),
        ("signature", "d", "anthropic", 1, True),
        ("text", "Hi", 2, 0),
        ("annotation", None, 2),
        ("tool", "t", "f", 3),
        ("args", '{"a":1}', 3),
        ("opaque", "server_tool_use", 4),
        ("usage", 10, 3, None, 1, None),
        ("finish", "tool_use", 0),
        END,
    ]
    assert isinstance(ROW.decode_unary(b'{"type":"error","error":{"message":"m"}}', ids())[0], Failure)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"content":"x"}', b""])
def test_what_is_no_answer_breaks_the_protocol(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        ROW.decode_unary(body, ids())
