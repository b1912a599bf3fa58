from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.dialect.gemini import ROW
from apipod_proxy.dialect.gemini_array import ArrayFraming
from apipod_proxy.dialect.vocabulary import End, Event, Failure, Finish, Start, StopReason, TextDelta
from apipod_proxy.errors import InternalError
from tests.dialect.event_strategies import answers
from tests.dialect.wire import INFO, decode, stream


def framed(data: bytes) -> bytes:
    framing = ArrayFraming()
    return framing.feed(data) + framing.eof()


def test_each_event_becomes_an_element_at_once() -> None:
    encoder, framing = ROW.encoder(INFO), ArrayFraming()
    events: list[Event] = [Start(), TextDelta("a"), TextDelta("b"), Finish(StopReason.STOP), End()]
    pieces = [framing.feed(encoder.send(event)) for event in events]
    assert [piece[:1] for piece in pieces] == [b"", b"[", b",", b"", b","]
    chunks = json.loads(b"".join(pieces) + framing.eof())
    assert [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks] == ["a", "b", ""]


def test_an_array_ends_with_its_error() -> None:
    failure = stream(ROW, [TextDelta("a"), Failure("busy", "overloaded", 503)])
    assert json.loads(framed(failure))[1]["error"]["message"] == "busy"
    event = ROW.error_event(InternalError(), "req_1")
    assert json.loads(framed(event)) == [json.loads(ROW.encode_error(InternalError(), "req_1"))]


def test_nothing_is_an_empty_array() -> None:
    assert framed(b"") == b"[]"


def test_an_event_without_its_blank_line_is_the_last_element() -> None:
    assert framed(b'data: {"a":1}\n\ndata: {"b":2}') == b'[{"a":1},\r\n{"b":2}]'


@given(answers(), st.lists(st.integers(0, 2000), max_size=6))
def test_any_split_gives_an_array_that_tells_the_same(events: list[Event], cuts: list[int]) -> None:
    data = stream(ROW, events)
    framing = ArrayFraming()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    array = b"".join(framing.feed(data[start:end]) for start, end in pairwise(edges)) + framing.eof()
    assert decode(ROW, array) == decode(ROW, data)
