from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.upstream.chunks import whole_chunks


def chunk(content: bytes, form: bytes = b"%x") -> bytes:
    return form % len(content) + b"\r\n" + content + b"\r\n"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.sampled_from([b"%x", b"%X", b"%04x"]))
def test_whole_chunks_give_their_content(contents: list[bytes], form: bytes) -> None:
    data = b"".join(chunk(content, form) for content in contents)
    assert whole_chunks(data) == (b"".join(contents), len(data))


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4), st.data())
def test_what_is_not_whole_is_left(contents: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(map(chunk, contents))
    cut = draw.draw(st.integers(0, len(data)))
    content, at = whole_chunks(data[:cut])
    done = 0
    while done < len(contents) and len(b"".join(map(chunk, contents[: done + 1]))) <= cut:
        done += 1
    assert content == b"".join(contents[:done])
    assert at == len(b"".join(map(chunk, contents[:done])))


@pytest.mark.parametrize(
    "rest",
    [
        b"0\r\n\r\n",
        b"5;name=value\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhello!\r\n",
        b"4\r\nhello\r\n",
        b"\r\n",
        b"00000005\r\nhello\r\n",
        b"data: no chunk\n\n",
    ],
)
def test_everything_else_is_for_the_parser(rest: bytes) -> None:
    before = chunk(b"abc")
    assert whole_chunks(before + rest) == (b"abc", len(before))
