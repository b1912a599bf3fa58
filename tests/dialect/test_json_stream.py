from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.dialect.json_stream import ObjectReader

STREAMS = {
    "an array": (b'[{"a": 1},\r\n{"b": [{}]}\n]', [b'{"a": 1}', b'{"b": [{}]}']),
    "braces in strings": (b'[{"a": "}{"}, {"\\"{": "\\\\"}]', [b'{"a": "}{"}', b'{"\\"{": "\\\\"}']),
    "bare objects": (b'{"a":1}\n{"b":2}', [b'{"a":1}', b'{"b":2}']),
    "an empty array": (b"[]", []),
    "utf-8": ('[{"é": "😀"}]'.encode(), ['{"é": "😀"}'.encode()]),
    "stray closing braces": (b'}}[{"a":1}]', [b'{"a":1}']),
}


def objects(pieces: list[bytes], limit: int = 1000) -> list[bytes]:
    reader = ObjectReader(limit)
    return [found for piece in pieces for found in reader.feed(piece)]


@pytest.mark.parametrize("name", STREAMS)
def test_reads_the_stream_whole_and_byte_by_byte(name: str) -> None:
    data, expected = STREAMS[name]
    assert objects([data]) == expected
    assert objects([data[i : i + 1] for i in range(len(data))]) == expected


JSON = st.recursive(
    st.text(max_size=4) | st.integers(),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3)),
    st.lists(st.integers(0, 200), max_size=8),
    st.booleans(),
)
def test_any_split_of_any_array_gives_its_objects(
    values: list[object], cuts: list[int], pretty: bool
) -> None:
    data = json.dumps(values, indent=2 if pretty else None, ensure_ascii=False).encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found = objects([data[start:end] for start, end in pairwise(edges)], 10_000)
    assert [json.loads(each) for each in found] == values


def test_an_object_that_has_begun_is_known() -> None:
    reader = ObjectReader()
    reader.feed(b'[{"a": "')
    assert reader.inside
    reader.feed(b'"}')
    assert not reader.inside


def test_an_object_over_the_limit_is_given_up_and_the_stream_goes_on() -> None:
    data = b'[{"a": "' + b"x" * 500 + b'"}, {"b": 1}]'
    assert objects([data[i : i + 7] for i in range(0, len(data), 7)], 100) == [b"", b'{"b": 1}']
