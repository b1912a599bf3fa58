from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import ProtocolError, Quirks, Truncated
from apipod_proxy.dialect.openai_chat import ROW
from apipod_proxy.dialect.vocabulary import Failure, Finish, Opaque, Start, Unknown
from tests.dialect.openai_chat.cases import DONE, USAGE, brief, chunk, data, stream, tool
from tests.dialect.wire import decode, every_byte, ids

START = ("start", "c1", "asked-model")
STOP = ("finish", "stop", 0)
TOOL_USE = ("finish", "tool_use", 0)
END = ("end",)
TEXT = ("text", "Hello", 0, 0)
COUNTED = ("usage", 10, None, None, 4, None)
SIGNED = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}

CASES: dict[str, tuple[bytes, list[Any]]] = {
    "plain": (
        stream(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk({}, "stop"),
        ),
        [START, TEXT, STOP, END],
    ),
    "usage in a last chunk without choices": (
        stream(chunk({"content": "Hello"}, usage=None), chunk({}, "stop"), chunk(choices=[], usage=USAGE)),
        [START, TEXT, STOP, COUNTED, END],
    ),
    "usage beside the finish reason": (
        stream(chunk({"content": "Hello"}), chunk({}, "stop", usage=USAGE)),
        [START, TEXT, STOP, COUNTED, END],
    ),
    "usage on a chunk that repeats the finish reason": (
        stream(chunk({"content": "Hello"}), chunk({}, "stop"), chunk({"content": ""}, "stop", usage=USAGE)),
        [START, TEXT, STOP, COUNTED, END],
    ),
    "usage growing, with holes": (
        stream(
            chunk({"content": "Hello"}, usage={"prompt_tokens": 10, "completion_tokens": None}),
            chunk({}, "stop", usage=USAGE),
        ),
        [START, TEXT, ("usage", 10, None, None, None, None), STOP, COUNTED, END],
    ),
    "usage of groq": (
        stream(chunk({"content": "Hello"}), chunk({}, "stop", x_groq={"usage": USAGE})),
        [START, TEXT, STOP, COUNTED, END],
    ),
    "azure begins with an empty chunk": (
        stream(
            {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": [1]},
            chunk({"content": "Hello"}, "stop"),
        ),
        [START, TEXT, STOP, END],
    ),
    "reasoning_content": (
        stream(
            chunk({"reasoning_content": "Hm"}),
            chunk({"reasoning_content": "m", "content": None}),
            chunk({"content": "Hello"}, "stop"),
        ),
        [START, ("think", "Hmm", 0, 0), ("text", "Hello", 1, 0), STOP, END],
    ),
    "reasoning": (
        stream(
            chunk({"reasoning": "Hmm", "content": ""}), chunk({"content": "Hello", "reasoning": None}, "stop")
        ),
        [START, ("think", "Hmm", 0, 0), ("text", "Hello", 1, 0), STOP, END],
    ),
    "reasoning details with a signature": (
        stream(
            chunk({"reasoning": "Hmm", "reasoning_details": [SIGNED | {"text": "Hmm"}]}),
            chunk({"reasoning": None, "reasoning_details": [SIGNED | {"signature": "s=="}]}),
            chunk({"reasoning": "So", "reasoning_details": [SIGNED | {"text": "So"}]}),
            chunk({"content": "Hello"}, "stop"),
        ),
        [
            START,
            ("think", "Hmm", 0, 0),
            ("signature", "s==", "anthropic", 0, False),
            ("think", "So", 1, 0),
            ("text", "Hello", 2, 0),
            STOP,
            END,
        ],
    ),
    "hidden reasoning": (
        stream(
            chunk(
                {
                    "reasoning_details": [
                        {"type": "reasoning.summary", "summary": "Sum", "format": "openai-responses-v1"}
                    ]
                }
            ),
            chunk(
                {
                    "reasoning_details": [
                        {
                            "type": "reasoning.encrypted",
                            "data": "x",
                            "format": "openai-responses-v1",
                            "id": "rs",
                        },
                        5,
                    ]
                }
            ),
            chunk({"content": "Hello"}, "stop"),
        ),
        [
            START,
            ("think", "Sum", 0, 0),
            ("signature", "x", "openai_responses", 1, True),
            ("text", "Hello", 2, 0),
            STOP,
            END,
        ],
    ),
    "a hidden signature of the call that follows": (
        stream(
            chunk(
                {
                    "reasoning_details": [
                        {"type": "reasoning.encrypted", "data": "g", "format": "google-gemini-v1", "id": "t1"}
                    ]
                }
            ),
            chunk(tool(0, "t1", "f", "{}"), "tool_calls"),
        ),
        [
            START,
            ("signature", "g", "gemini", 0, True),
            ("tool", "t1", "f", 1, "g"),
            ("args", "{}", 1),
            TOOL_USE,
            END,
        ],
    ),
    "details that say less than the text beside them": (
        stream(
            chunk({"reasoning": "Hmm", "reasoning_details": [SIGNED | {"signature": "s"}]}), chunk({}, "stop")
        ),
        [START, ("signature", "s", "anthropic", 0, False), ("think", "Hmm", 1, 0), STOP, END],
    ),
    "content as a list of parts": (
        stream(
            chunk(
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "Hmm"}], "closed": True}
                    ]
                }
            ),
            chunk({"content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": ""}, 3]}),
            chunk({"content": "lo"}, "stop"),
        ),
        [START, ("think", "Hmm", 0, 0), ("text", "Hello", 1, 0), STOP, END],
    ),
    "content as an object": (
        stream(chunk({"content": {"a": 1}}, "stop")),
        [START, ("text", '{"a":1}', 0, 0), STOP, END],
    ),
    "tool calls in fragments": (
        stream(
            chunk(tool(0, "t1", "f", "")),
            chunk(tool(0, None, None, '{"a":')),
            chunk(tool(0, None, None, "1}")),
            chunk(tool(1, "t2", "g", "{}")),
            chunk({"tool_calls": []}, "tool_calls"),
        ),
        [
            START,
            ("tool", "t1", "f", 0),
            ("args", '{"a":1}', 0),
            ("tool", "t2", "g", 1),
            ("args", "{}", 1),
            TOOL_USE,
            END,
        ],
    ),
    "interleaved fragments": (
        stream(
            chunk(tool(0, "t1", "f", '{"a"')),
            chunk(tool(1, "t2", "g", '{"b"')),
            chunk(tool(0, None, None, ":1}")),
            chunk(tool(1, None, None, ":2}"), "tool_calls"),
        ),
        [
            START,
            ("tool", "t1", "f", 0),
            ("args", '{"a"', 0),
            ("tool", "t2", "g", 1),
            ("args", '{"b"', 1),
            ("args", ":1}", 0),
            ("args", ":2}", 1),
            TOOL_USE,
            END,
        ],
    ),
    "every call has index 0": (
        stream(chunk(tool(0, "t1", "f", "{}")), chunk(tool(0, "t2", "g", "{}"), "tool_calls")),
        [
            START,
            ("tool", "t1", "f", 0),
            ("args", "{}", 0),
            ("tool", "t2", "g", 1),
            ("args", "{}", 1),
            TOOL_USE,
            END,
        ],
    ),
    "calls without index": (
        stream(
            chunk(tool(None, "t1", "f", '{"a"')),
            chunk(tool(None, "t1", None, ":1}")),
            chunk(tool(None, None, "g", "{}"), "tool_calls"),
        ),
        [
            START,
            ("tool", "t1", "f", 0),
            ("args", '{"a":1}', 0),
            ("tool", "call_1", "g", 1),
            ("args", "{}", 1),
            TOOL_USE,
            END,
        ],
    ),
    "a call whose later pieces have neither index nor id": (
        stream(chunk(tool(None, "t1", "f", '{"a"')), chunk(tool(None, None, None, ":1}"), "tool_calls")),
        [START, ("tool", "t1", "f", 0), ("args", '{"a":1}', 0), TOOL_USE, END],
    ),
    "calls without ids, with null arguments, finished as text": (
        stream(
            chunk({"tool_calls": [{"index": 0, "id": "", "function": {"name": "f", "arguments": None}}]}),
            chunk(
                {
                    "tool_calls": [
                        {"index": 0, "id": None, "function": {"name": None, "arguments": {"a": 1}}},
                        7,
                    ]
                },
                "stop",
            ),
        ),
        [START, ("tool", "call_1", "f", 0), ("args", '{"a":1}', 0), TOOL_USE, END],
    ),
    "a name that comes late and again": (
        stream(
            chunk(tool(0, "t1", None, '{"a"')),
            chunk(tool(0, None, "f", ":1")),
            chunk(tool(0, "t1", "f", "}"), "tool_calls"),
        ),
        [START, ("tool", "t1", "f", 0), ("args", '{"a":1}', 0), TOOL_USE, END],
    ),
    "a call with a thought signature": (
        stream(
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "t",
                            "function": {"name": "f"},
                            "extra_content": {"google": {"thought_signature": "g"}},
                        }
                    ]
                }
            ),
            chunk({"content": "Hello", "extra_content": {"google": {"thought_signature": "h"}}}, "stop"),
        ),
        [START, ("tool", "t", "f", 0, "g"), ("text", "Hello", 1, 0), ("text", "", 1, 0, "h"), TOOL_USE, END],
    ),
    "a custom tool": (
        stream(
            chunk(
                {
                    "tool_calls": [
                        {"index": 0, "id": "t", "type": "custom", "custom": {"name": "f", "input": "x y"}}
                    ]
                },
                "tool_calls",
            )
        ),
        [START, ("tool", "t", "f", 0), ("args", "x y", 0), TOOL_USE, END],
    ),
    "text after a call is another block": (
        stream(
            chunk({"content": "a"}), chunk(tool(0, "t", "f", "{}")), chunk({"content": "b"}, "tool_calls")
        ),
        [
            START,
            ("text", "a", 0, 0),
            ("tool", "t", "f", 1),
            ("args", "{}", 1),
            ("text", "b", 2, 0),
            TOOL_USE,
            END,
        ],
    ),
    "the older function_call": (
        stream(
            chunk({"function_call": {"name": "f", "arguments": ""}}),
            chunk({"function_call": {"arguments": "{}"}}, "function_call"),
        ),
        [START, ("tool", "call_1", "f", 0), ("args", "{}", 0), TOOL_USE, END],
    ),
    "no finish reason but a done": (stream(chunk({"content": "Hello"})), [START, TEXT, STOP, END]),
    "no finish reason after a call": (
        stream(chunk(tool(0, "t", "f", "{}"))),
        [START, ("tool", "t", "f", 0), ("args", "{}", 0), TOOL_USE, END],
    ),
    "no done": (stream(chunk({"content": "Hello"}, "stop"), done=False), [START, TEXT, STOP, END]),
    "nothing after the done": (
        stream(chunk({"content": "Hello"}, "stop")) + b"data: x\n\n",
        [START, TEXT, STOP, END],
    ),
    "two choices": (
        stream(
            chunk({"content": "a"}),
            chunk({"content": "b"}, index=1),
            chunk({}, "stop"),
            chunk({}, "length", index=1),
        ),
        [START, ("text", "a", 0, 0), ("text", "b", 0, 1), STOP, ("finish", "length", 1), END],
    ),
    "a refusal": (
        stream(chunk({"refusal": "No"}), chunk({}, "stop")),
        [START, ("refusal", "No", 0), STOP, END],
    ),
    "audio and images": (
        stream(
            chunk({"audio": {"id": "a", "data": "QUJD"}}),
            chunk(
                {
                    "images": [
                        {"image_url": {"url": "data:image/png;base64,QQ=="}},
                        {"image_url": "http://x/y"},
                        {},
                    ]
                },
                "stop",
            ),
        ),
        [START, ("media", "audio", 0), ("media", "image", 1), ("media", "image", 2), STOP, END],
    ),
    "annotations": (
        stream(
            chunk({"content": "Hello"}),
            chunk(
                {
                    "annotations": [
                        {"type": "url_citation", "url_citation": {"url": "u", "start_index": 1}},
                        5,
                    ]
                },
                "stop",
            ),
        ),
        [START, TEXT, ("annotation", "u", 0), STOP, END],
    ),
    "logprobs": (
        stream(
            chunk(
                choices=[
                    {"delta": {"content": "Hello"}, "logprobs": {"content": [1]}, "finish_reason": "stop"}
                ]
            )
        ),
        [START, TEXT, ("logprobs", {"content": [1]}), STOP, END],
    ),
    "a stop sequence of vllm": (
        stream(
            chunk(choices=[{"delta": {"content": "Hello"}, "stop_reason": "###", "finish_reason": "stop"}])
        ),
        [START, TEXT, ("finish", "stop_sequence", 0, "###"), END],
    ),
    "legacy completions": (
        stream(chunk(choices=[{"text": "Hello", "finish_reason": "eos"}])),
        [START, TEXT, STOP, END],
    ),
    "text beside the delta": (
        stream(chunk(choices=[{"text": "Hello", "delta": {"content": "Hello"}, "finish_reason": "stop"}])),
        [START, TEXT, STOP, END],
    ),
    "a growing message beside the delta": (
        stream(
            chunk(choices=[{"delta": {"content": "Hel"}, "message": {"content": "Hel"}}]),
            chunk(
                choices=[
                    {"delta": {"content": "lo"}, "message": {"content": "Hello"}, "finish_reason": "stop"}
                ]
            ),
        ),
        [START, TEXT, STOP, END],
    ),
    "comments, frames that are no JSON, odd shapes": (
        stream(
            b": PROCESSING\n\n",
            b"data: oops\n\n",
            b"data: [1]\n\n",
            b"data:\n\n",
            chunk({"content": "Hello"}),
            b": x\n\n",
            chunk({}, "stop"),
        ),
        [("unknown", b"oops"), ("unknown", b"[1]"), START, TEXT, STOP, END],
    ),
    "shapes that mean nothing": (
        stream(
            chunk(choices={}),
            chunk(
                choices=[
                    5,
                    {"delta": 5},
                    {"index": "x", "delta": {"content": "Hello", "annotations": 5, "tool_calls": {}}},
                ]
            ),
            chunk(
                {"images": 5, "audio": 5, "refusal": 5, "reasoning": 5, "function_call": 5}, "stop", usage=5
            ),
        ),
        [START, TEXT, STOP, END],
    ),
    "an error in the first frame": (
        stream({"error": {"message": "busy", "code": 503}}, done=False) + data(chunk({}, "stop")),
        [("failure", "busy", 503), START, STOP, END],
    ),
    "an error event": (
        b'event: error\ndata: {"error":{"message":"bad","type":"invalid_request_error"}}\n\n'
        + data(chunk({}, "stop")),
        [("failure", "bad", 400), START, STOP, END],
    ),
    "an error, and nothing behind it": (
        data(chunk({"content": "Hello"}))
        + b'event: error\ndata: {"error":{"message":"no","status_code":400}}\n\n',
        [START, TEXT, ("failure", "no", 400)],
    ),
    "an error of llama.cpp": (
        data(chunk({"content": "Hello"})) + b'error: {"code":500,"message":"no","type":"server_error"}\n\n',
        [START, TEXT, ("failure", "no", 500)],
    ),
    "an error within a chunk": (
        stream(chunk({"content": "Hello"}), chunk({}, "error", error={"message": "no", "code": 402})),
        [START, TEXT, ("failure", "no", 402), STOP, END],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_is_read_whole_byte_by_byte_and_with_a_tail(name: str) -> None:
    text, expected = CASES[name]
    assert brief(decode(ROW, text)) == expected
    assert decode(ROW, text, every_byte(text)) == decode(ROW, text)
    crlf = text.replace(b"\n", b"\r\n")
    assert decode(ROW, crlf, every_byte(crlf)) == decode(ROW, text)
    assert decode(ROW, text.replace(b"data: ", b"data:")) == decode(ROW, text)
    assert decode(ROW, text.rstrip(b"\n")) == decode(ROW, text)
    assert decode(ROW, text + b"\n: tail\n\n" if text.endswith(DONE) else text) == decode(ROW, text)


@pytest.mark.parametrize("name", CASES)
def test_a_stream_that_is_cut_off_never_ends_well(name: str) -> None:
    text, _ = CASES[name]
    for size in range(len(text)):
        try:
            events = decode(ROW, text[:size])
        except Truncated:
            continue
        # Only behind the finish reason of every choice, the last mark, or an error.
        assert any(isinstance(event, (Finish, Failure)) for event in events), text[:size]


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(CASES)),
    other=st.sampled_from(sorted(CASES)),
    cuts=st.lists(st.integers(0, 900), max_size=8),
    junk=st.binary(max_size=20),
)
def test_cuts_and_splices_raise_nothing_but_the_protocol_error(
    name: str, other: str, cuts: list[int], junk: bytes
) -> None:
    text = CASES[name][0]
    assert decode(ROW, text, cuts) == decode(ROW, text)
    at = cuts[0] if cuts else 0
    try:
        decode(ROW, text[:at] + junk + CASES[other][0][at:], cuts)
    except ProtocolError:
        pass  # which is what a broken stream may do


def test_what_the_provider_adds_is_kept_for_clients_of_this_dialect() -> None:
    events = decode(ROW, stream(chunk({"content": "x"}, system_fingerprint="fp"), chunk({}, "stop")))
    assert isinstance(events[0], Start)
    assert events[0].extra == Opaque("openai_chat", {"system_fingerprint": "fp"})
    last: dict[str, Any] = {
        "delta": {},
        "finish_reason": "stop",
        "native_finish_reason": "end_turn",
        "seed": None,
    }
    finish = decode(ROW, stream(chunk(choices=[last])))[1]
    assert isinstance(finish, Finish)
    assert finish.extra == Opaque("openai_chat", {"native_finish_reason": "end_turn"})


@pytest.mark.parametrize(
    "pieces",
    [
        ["<think>Hmm</think>Hello"],
        list("<think>\nHmm</think>\n\nHello"),
        ["<th", "ink>Hm", "m</thi", "nk>Hel", "lo"],
    ],
)
def test_marks_within_the_text_are_read_where_the_provider_is_known_for_them(pieces: list[str]) -> None:
    text = stream(*(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"))
    decoder = ROW.decoder(ids(), Quirks(inline_thinking=True))
    assert brief(decoder.feed(text)) == [START, ("think", "Hmm", 0, 0), ("text", "Hello", 1, 0), STOP, END]
    assert brief(decode(ROW, text))[1][0] == "text"


def test_an_event_over_the_limit_is_skipped() -> None:
    text = b"data: " + b"x" * (33 * 1024 * 1024) + b"\n\n" + stream(chunk({"content": "Hello"}, "stop"))
    events = decode(ROW, text)
    assert events[0] == Unknown(b"")
    assert brief(events[1:]) == [START, TEXT, STOP, END]


def whole(message: Any, finish: str | None = "stop", **more: Any) -> bytes:
    choices = [{"index": 0, "message": message, "finish_reason": finish}]
    return json.dumps(
        {"id": "c1", "object": "chat.completion", "created": 5, "model": "asked-model", "choices": choices}
        | more
    ).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (whole({"content": "Hello", "refusal": None}, usage=USAGE), [START, TEXT, COUNTED, STOP, END]),
        (
            whole(
                {"content": None, "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": "{}"}}]},
                "stop",
            ),
            [START, ("tool", "t", "f", 0), ("args", "{}", 0), TOOL_USE, END],
        ),
        (whole({"content": "Hello"}, None), [START, TEXT, STOP, END]),
        (
            whole({"content": "Hello", "reasoning_content": "Hmm"}),
            [START, ("think", "Hmm", 0, 0), ("text", "Hello", 1, 0), STOP, END],
        ),
        (b'{"error":{"message":"busy","code":503}}', [("failure", "busy", 503)]),
    ],
)
def test_a_whole_answer_gives_the_same_events(body: bytes, expected: list[Any]) -> None:
    events = brief(ROW.decode_unary(body, ids()))
    assert sorted(events, key=str) == sorted(expected, key=str)
    assert events[-1] == expected[-1]


def test_the_message_of_a_whole_answer_counts_and_not_the_delta_beside_it() -> None:
    choice = {"delta": {"content": ""}, "message": {"content": "Hello"}, "finish_reason": "stop"}
    assert TEXT in brief(ROW.decode_unary(json.dumps({"id": "c1", "choices": [choice]}).encode(), ids()))


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"choices":[]}', b""])
def test_what_is_no_answer_breaks_the_protocol(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        ROW.decode_unary(body, ids())
