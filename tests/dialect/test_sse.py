from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect.sse import Frame, FrameReader, Splitter, last_boundary

STREAMS = {
    "plain": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [("", b'{"a":1}'), ("", b"[DONE]")]),
    "named": (b"event: ping\ndata: {}\n\n", [("ping", b"{}")]),
    "no blank after the colon": (b"event:x\ndata:1\n\n", [("x", b"1")]),
    "crlf": (b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [("a", b"1"), ("", b"2")]),
    "lone cr": (b"data: 1\r\rdata: 2\r\r", [("", b"1"), ("", b"2")]),
    "comments": (b": hello\n\n:\n: x\ndata: 1\n: y\n\n", [("", b"1")]),
    "several data lines": (b"data: a\ndata: b\ndata\n\n", [("", b"a\nb")]),
    "empty data": (b"data:\n\n", [("", b"")]),
    "missing last blank line": (b"data: 1\n\ndata: 2", [("", b"1"), ("", b"2")]),
    "byte order mark": (b"\xef\xbb\xbfdata: 1\n\n", [("", b"1")]),
    "utf-8": ('data: {"a":"déjà 😀"}\r\n\r\n'.encode(), [("", '{"a":"déjà 😀"}'.encode())]),
    "a bare json line": (b'data: 1\n\n{"error":"x"}\n\n', [("", b"1"), ("", b'{"error":"x"}')]),
    "an error as a field": (
        b'data: 1\n\nerror: {"x":1}\n\ndata: 2\n\n',
        [("", b"1"), ("error", b'{"x":1}'), ("", b"2")],
    ),
    "other fields": (b"id: 7\nretry: 10\ndata: 1\n\n", [("", b"1")]),
    "blank lines in a row": (b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n", [("", b"1"), ("", b"2")]),
    "two blanks after the colon": (b"data:  1\n\n", [("", b" 1")]),
}


def frames(pieces: list[bytes], limit: int = 1 << 20) -> list[Frame]:
    reader = FrameReader(limit)
    found = [frame for piece in pieces for frame in reader.feed(piece)]
    return found + reader.eof()


@pytest.mark.parametrize("name", STREAMS)
def test_reads_the_stream_whole_and_byte_by_byte(name: str) -> None:
    data, expected = STREAMS[name]
    assert frames([data]) == expected
    assert frames([data[i : i + 1] for i in range(len(data))]) == expected


@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 60), max_size=6))
def test_any_split_gives_the_same_frames(name: str, cuts: list[int]) -> None:
    data, expected = STREAMS[name]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert frames([data[a:b] for a, b in pairwise(edges)]) == expected


def test_an_event_over_the_limit_is_given_up_and_the_stream_goes_on() -> None:
    data = b"data: " + b"x" * 500 + b"\n\ndata: 1\n\n"
    expected = [Frame("", None), Frame("", b"1")]
    assert frames([data], 100) == expected
    assert frames([data[i : i + 7] for i in range(0, len(data), 7)], 100) == expected
    many = b"data: " + b"\ndata: ".join([b"y" * 30] * 20) + b"\n\ndata: 1\n\n"
    assert frames([many[i : i + 7] for i in range(0, len(many), 7)], 100) == expected


def test_a_frame_of_the_limit_in_two_reads_is_kept() -> None:
    data = b"data: " + b"x" * 90 + b"\n\n"
    assert frames([data[:60], data[60:]], 100) == [Frame("", b"x" * 90)]


@pytest.mark.parametrize("kind", [FrameReader, Splitter])
def test_a_long_line_in_small_reads_takes_linear_time(kind: type[FrameReader | Splitter]) -> None:
    reader = kind()
    piece = b"x" * 1000
    started = time.process_time()
    reader.feed(b"data: ")
    for _ in range(8000):
        reader.feed(piece)
    assert reader.feed(b"\n\n")
    assert time.process_time() - started < 1.0


@given(cuts=st.lists(st.integers(0, 200), max_size=12), name=st.sampled_from(sorted(STREAMS)))
def test_a_splitter_changes_no_byte_and_gives_only_whole_events(cuts: list[int], name: str) -> None:
    data = STREAMS[name][0] * 3
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    splitter = Splitter()
    pieces = [splitter.feed(data[a:b]) for a, b in pairwise(edges)]
    for piece in pieces:
        assert not piece or last_boundary(piece) == len(piece)
    assert b"".join(pieces) + splitter.eof() == data


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_events_that_come_one_by_one_are_read_as_all_at_once(end: bytes) -> None:
    """One event of one line in one read has a shorter way, which must not take what only looks like it."""
    events = [
        b'data: {"a":1}' + end,
        b"data: x" + end,
        b"data: a\rb" + end,
        b"data: one\ndata: two" + end,
        b"event: e\ndata: y" + end,
        b"data: z\r\n\r",
        b"\ndata: " + end,
    ]
    reader = FrameReader()
    one_by_one = [frame for event in events for frame in reader.feed(event)] + reader.eof()
    whole = FrameReader()
    assert one_by_one == whole.feed(b"".join(events)) + whole.eof()
    assert [frame.data for frame in one_by_one[:2]] == [b'{"a":1}', b"x"]


def test_a_splitter_gives_each_event_as_soon_as_it_is_whole() -> None:
    for end in (b"\n\n", b"\r\n\r\n"):
        data = (b"event: a" + end[: len(end) // 2] + b"data: 1" + end) * 3
        splitter = Splitter()
        out = [splitter.feed(data[i : i + 1]) for i in range(len(data))]
        assert [piece for piece in out if piece] == re.findall(rb"event.*?" + end, data, re.DOTALL)


def test_a_splitter_passes_on_in_pieces_what_is_over_its_limit() -> None:
    splitter = Splitter(100)
    data = b"data: " + b"x" * 450 + b"\n\n"
    out = [splitter.feed(data[i : i + 10]) for i in range(0, len(data), 10)]
    assert b"".join(out) == data
    assert max(map(len, out)) <= 110
