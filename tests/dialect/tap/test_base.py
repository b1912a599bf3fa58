from __future__ import annotations

import pytest

from apipod_proxy.dialect.tap.base import events_of, is_line, payload_of, place_of, replaced, with_model


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\n\n"])
def test_a_chunk_comes_apart_into_events_and_nothing_is_lost(end: bytes) -> None:
    whole = b"data: 1" + end + b"event: a\ndata: 2" + end + b": c" + end
    assert b"".join(events_of(whole)) == whole
    assert b"".join(events_of(whole + b"data: rest")) == whole + b"data: rest"


def test_a_line_end_of_two_bytes_is_one() -> None:
    events = [b"event: a\r\ndata: 1\r\n\r\n", b"event: b\r\ndata: 2\r\n\r\n"]
    assert events_of(b"".join(events)) == events


def test_the_data_of_an_event_is_found_and_replaced() -> None:
    event = b"event: x\r\ndata: {}\r\n\r\n"
    assert payload_of(event) == (b"x", b"{}", 16)
    assert replaced(event, payload_of(event), b"[1]") == b"event: x\r\ndata: [1]\r\n\r\n"
    named = b"event: x\ndata: {}\n\n"
    assert payload_of(named) == (b"x", b"{}", 15)
    assert payload_of(b"event: x\rdata: 1\ndata: {}\n\n") == (b"x", b"1\n{}", -1)
    spread = b"event: x\ndata: {\ndata: }\n\n"
    assert payload_of(spread) == (b"x", b"{\n}", -1)
    assert replaced(spread, payload_of(spread), b"{\n1}") == b"event: x\ndata: { 1}\n\n"
    assert payload_of(b": comment\n\n").data == b""


@pytest.mark.parametrize(
    "event",
    [
        b"data: {}\n\n",
        b"data:{}\n\n",
        b"data: {}\n\r\n",
        b"data: a\rdata: b\n\n",
        b"data: a\nb",
        b"data: a\n\n\n",
    ],
)
def test_one_line_of_data_is_told_by_searches(event: bytes) -> None:
    assert is_line(event) is (event == b"data: {}\n\n")
    if is_line(event):
        assert payload_of(event) == (b"", event[6:-2], 6)


def test_the_place_of_a_name_is_told_where_there_is_one_member_of_its_name() -> None:
    assert place_of(b'{"model":"x"}', b'"x"') == 9
    assert place_of(b'{"a":{"model": "x"}}', b'"x"') == 15
    for text in (
        b'{"abc":"x"}',
        b'{"a":"model"}',
        b'{"model" :"x"}',
        b'{"model":"y"}',
        b'{"model":"xy"}',
        b'{"model":"x","model":"x"}',
        b'{"mod\\u0065l":"x","a":{"model":"x"}}',
    ):
        assert place_of(text, b'"x"') == -1


def test_only_a_string_at_the_path_is_replaced() -> None:
    assert with_model(b'{"a":{"m":"x"}}', ("a", "m"), b'"y"') == (b'{"a":{"m":"y"}}', 10, 13)
    for text in (b'{"a":{"m":1}}', b'{"a":1}', b"[]", b'{"b":{}}'):
        assert with_model(text, ("a", "m"), b'"y"') == (text, -1, -1)
    assert with_model(b'{"m":"1","m":"2"}', ("m",), b'"y"')[0] == b'{"m":"1","m":"y"}'
