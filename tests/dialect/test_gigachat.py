from __future__ import annotations

from typing import Any

import orjson
import pytest

from apipod_proxy.dialect import Aim, AnswerInfo, Encoded, ProtocolError, Truncated, openai_chat
from apipod_proxy.dialect.gigachat import ROW, Decoder, decode_unary, encode_request
from apipod_proxy.dialect.table import DIALECTS, SPOKEN
from apipod_proxy.dialect.vocabulary import (
    End,
    Event,
    Failure,
    Finish,
    Heartbeat,
    Start,
    StopReason,
    TextDelta,
    ToolArgs,
    ToolOpen,
    Unknown,
    UsageReport,
)
from apipod_proxy.errors import BadRequest

STATE = "77d3fb14-457a-46ba-937e-8d856156d003"
USER = {"role": "user", "content": "Hi"}
FIND = {
    "type": "function",
    "function": {"name": "find", "description": "Finds", "parameters": {"type": "object"}},
}
LOOK = {"type": "function", "function": {"name": "look"}}


def encoded(messages: list[Any] | None = None, **fields: Any) -> tuple[dict[str, Any], Encoded]:
    body = orjson.dumps({"model": "m", "messages": messages or [USER], **fields})
    out = encode_request(openai_chat.ROW.decode_request(body), Aim("GigaChat-2", max_output=4000))
    return orjson.loads(out.body), out


def test_system_texts_are_one_message_and_the_first() -> None:
    messages = [{"role": "system", "content": "A"}, USER, {"role": "developer", "content": "B"}]
    assert encoded(messages, stream=True)[0] == {
        "model": "GigaChat-2",
        "messages": [{"role": "system", "content": "A\n\nB"}, USER],
        "stream": True,
    }


def test_what_it_lacks_is_named() -> None:
    body, out = encoded(max_tokens=9000, temperature=0.3, top_p=0.5, seed=1, stop=["x"], n=2, user="u")
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (4000, 0.3, 0.5)
    assert set(out.dropped) >= {"max_tokens", "seed", "stop", "n", "user"}


def test_tools_are_its_functions() -> None:
    body, _ = encoded(tools=[FIND, LOOK])
    assert body["functions"] == [
        {"name": "find", "description": "Finds", "parameters": {"type": "object"}},
        {"name": "look", "parameters": {"type": "object", "properties": {}}},
    ]
    assert body["function_call"] == "auto"
    named = {"type": "function", "function": {"name": "look"}}
    assert encoded(tools=[FIND, LOOK], tool_choice=named)[0]["function_call"] == {"name": "look"}
    assert encoded(tools=[FIND], tool_choice="none")[0]["function_call"] == "none"
    assert encoded(tools=[FIND], tool_choice="required")[0]["function_call"] == {"name": "find"}
    body, out = encoded(tools=[FIND, LOOK], tool_choice="required")
    assert body["function_call"] == "auto"
    assert "tool_choice" in out.dropped


def test_a_choice_of_tools_that_are_not_there_is_refused() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "gone"}}]}
    with pytest.raises(BadRequest) as caught:
        encoded(tools=[FIND], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert caught.value.path == "$.tool_choice"


def test_parallel_calls_become_pairs() -> None:
    calls = [
        {"id": STATE, "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}},
        {"id": "c-2", "type": "function", "function": {"name": "look", "arguments": "oops"}},
    ]
    history = [
        USER,
        {"role": "assistant", "content": "Wait.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": STATE, "content": '{"found": 2}'},
        {"role": "tool", "tool_call_id": "c-2", "content": "dark"},
        USER,
    ]
    found = {"name": "find", "arguments": {"q": 1}}
    assert encoded(history)[0]["messages"][1:] == [
        {"role": "assistant", "content": "Wait."},
        {"role": "assistant", "content": "", "function_call": found, "functions_state_id": STATE},
        {"role": "function", "name": "find", "content": '{"found": 2}'},
        {
            "role": "assistant",
            "content": "",
            "function_call": {"name": "look", "arguments": {"input": "oops"}},
        },
        {"role": "function", "name": "look", "content": '{"result":"dark"}'},
        USER,
    ]
    assert encoded(history[:2])[0]["messages"][-1]["function_call"]["name"] == "look"


def test_a_temperature_of_zero_is_the_least_that_it_takes() -> None:
    assert encoded(temperature=0)[0]["temperature"] == 0.0001
    assert "temperature" not in encoded()[0]


def test_images_are_refused_with_their_place() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(BadRequest) as caught:
        encoded([{"role": "user", "content": [{"type": "text", "text": "See"}, image]}])
    assert caught.value.path == "$.messages[0].content[1]"


def test_schemas_are_carried() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    assert encoded(response_format=form)[0]["response_format"] == {
        "type": "json_schema",
        "schema": {"type": "object"},
        "strict": True,
    }
    assert encoded(response_format={"type": "json_object"})[1].dropped == ("response_format",)


# Answers


def ids(prefix: str) -> str:
    return f"{prefix}made"


def chunk(delta: dict[str, Any], **more: Any) -> bytes:
    choice = {"delta": delta, "index": 0, **{k: v for k, v in more.items() if k == "finish_reason"}}
    rest = {k: v for k, v in more.items() if k != "finish_reason"}
    body = {"choices": [choice], "created": 5, "model": "GigaChat:2", "object": "chat.completion", **rest}
    return b"data: " + orjson.dumps(body) + b"\n\n"


CALL = {"name": "find", "arguments": {"q": "é"}}
STREAM = b"".join(
    (
        chunk({"role": "assistant", "content": "Well"}),
        chunk({"content": ", é"}),
        chunk({"content": "", "function_call": CALL, "functions_state_id": STATE}),
        chunk(
            {"content": ""}, finish_reason="function_call", usage={"prompt_tokens": 9, "completion_tokens": 4}
        ),
        b"data: [DONE]\n\n",
    )
)


def events_of(data: bytes, size: int = 1 << 20) -> list[Event]:
    decoder = Decoder(ids)
    events: list[Event] = []
    for place in range(0, len(data), size):
        events += decoder.feed(data[place : place + size])
    return events + decoder.eof()


def test_a_stream_becomes_events_whatever_its_split() -> None:
    events = events_of(STREAM)
    assert events == events_of(STREAM, 1) == events_of(STREAM.replace(b"\n", b"\r\n"), 5)
    assert [event for event in events if not isinstance(event, UsageReport)] == [
        Start(None, "GigaChat:2", 5),
        TextDelta("Well", 0),
        TextDelta(", é", 0),
        ToolOpen(STATE, "find", 1),
        ToolArgs('{"q":"é"}', 1),
        Finish(StopReason.TOOL_USE, raw="function_call"),
        End(),
    ]
    (report,) = [event for event in events if isinstance(event, UsageReport)]
    assert (report.usage.input, report.usage.output) == (9, 4)


def test_every_client_is_told_the_same() -> None:
    for row in DIALECTS.values():
        folded = row.encoder(AnswerInfo("m", "r-1", 1, True)).fold(events_of(STREAM))
        assert b"find" in folded
        assert "é".encode() in orjson.dumps(orjson.loads(folded))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", StopReason.STOP),
        ("length", StopReason.LENGTH),
        ("blacklist", StopReason.CONTENT_FILTER),
        ("new", StopReason.OTHER),
    ],
)
def test_reasons_to_stop_are_told_in_neutral_words(word: str, reason: StopReason) -> None:
    assert events_of(chunk({"content": "a"}, finish_reason=word))[-2:] == [Finish(reason, raw=word), End()]


def test_failures_within_a_stream_are_seen() -> None:
    assert isinstance(events_of(chunk({"content": "a"}, finish_reason="error"))[-1], Failure)
    decoder = Decoder(ids)
    assert isinstance(
        decoder.feed(b'data: {"status": 500, "message": "Internal Server Error"}\n\n')[0], Failure
    )
    assert decoder.feed(b'data: {"odd": 1}\n\ndata: {oops\n\n') == [Unknown(b'{"odd": 1}'), Unknown(b"{oops")]


def test_what_its_own_functions_say_while_they_work_is_no_text() -> None:
    working = chunk({"role": "function_in_progress", "name": "text2image", "content": "12 s"})
    events = events_of(working + chunk({"content": "Done"}, finish_reason="stop"))
    assert Heartbeat() in events
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Done"]


def test_a_stream_that_is_cut_raises() -> None:
    for data in (b"", STREAM[:200], STREAM[: STREAM.index(b"[DONE]") - 180]):
        with pytest.raises(Truncated):
            events_of(data)


def test_bodies_that_are_no_answer_are_refused() -> None:
    for body in (b"{}", b"[]", b'{"choices": []}'):
        with pytest.raises(ProtocolError):
            decode_unary(body, ids)
    with pytest.raises(Truncated):
        decode_unary(b'{"choices"', ids)


def test_only_providers_speak_it() -> None:
    assert ROW.name not in DIALECTS
    assert SPOKEN[ROW.name] is ROW
