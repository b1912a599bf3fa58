from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.edge.head import MOST_BYTES, read_head

LINES = b"Host: a\r\nContent-Length: 3\r\n"


def post(lines: bytes = LINES, target: bytes = b"/v1/messages") -> bytes:
    return b"POST " + target + b" HTTP/1.1\r\n" + lines + b"\r\n"


def test_a_plain_head_is_read() -> None:
    lines = b"Host: a:1\r\nX-Api-Key: \t k  \r\nContent-length:3\r\nConnection: Keep-Alive\r\n"
    found = read_head(post(lines, b"/v1/x:y?alt=sse&alt=no&key=") + b"{}\n")
    assert found is not None
    head, length, start = found
    assert (head.raw_path, head.path) == ("/v1/x:y?alt=sse&alt=no&key=", "/v1/x:y")
    assert head.query == {"alt": "sse", "key": ""}
    assert head.headers == {
        "host": "a:1",
        "x-api-key": "k",
        "content-length": "3",
        "connection": "Keep-Alive",
    }
    assert (length, start) == (3, len(post(lines, b"/v1/x:y?alt=sse&alt=no&key=")))
    assert head.keep_alive


def test_what_stands_around_the_length_makes_up_the_head() -> None:
    data = post(b"Host: a\r\nContent-Length: 345\r\nX: content-length: 9\r\n")
    found = read_head(data)
    assert found is not None
    assert found[0].before + b"345" + found[0].after == data


def test_a_client_may_want_its_connection_closed() -> None:
    found = read_head(post(LINES + b"connection: close\r\n"))
    assert found is not None
    assert not found[0].keep_alive


NOT_PLAIN: dict[str, bytes] = {
    "nothing": b"",
    "another method": b"GET /v1/messages HTTP/1.1\r\n" + LINES + b"\r\n",
    "an older version": b"POST /v1/messages HTTP/1.0\r\n" + LINES + b"\r\n",
    "a part of a head": post()[:-1],
    "a bare line feed": post(b"Host: a\nContent-Length: 3\r\n"),
    "no host": post(b"Content-Length: 3\r\n"),
    "no length": post(b"Host: a\r\n"),
    "a signed length": post(b"Host: a\r\nContent-Length: +3\r\n"),
    "a list of lengths": post(b"Host: a\r\nContent-Length: 3, 3\r\n"),
    "a length of ten digits": post(b"Host: a\r\nContent-Length: 1234567890\r\n"),
    "two lengths": post(LINES + b"content-length: 3\r\n"),
    "a header twice": post(LINES + b"X: 1\r\nx: 2\r\n"),
    "chunks": post(LINES + b"Transfer-Encoding: chunked\r\n"),
    "a coding": post(LINES + b"Content-Encoding: gzip\r\n"),
    "an expectation": post(LINES + b"Expect: 100-continue\r\n"),
    "an upgrade": post(LINES + b"Upgrade: h2c\r\nConnection: upgrade\r\n"),
    "a folded line": post(LINES + b"X: 1\r\n 2\r\n"),
    "a space before the colon": post(LINES + b"X : 1\r\n"),
    "a name without characters": post(LINES + b": 1\r\n"),
    "a byte that is no ASCII": post(LINES + b"X: \xc3\xa9\r\n"),
    "a NUL": post(LINES + b"X: a\x00b\r\n"),
    "a carriage return in a value": post(LINES + b"X: a\rb\r\n"),
    "an escape in the target": post(target=b"/v1/mess%61ges"),
    "an absolute target": post(target=b"http://a/v1/messages"),
    "a fragment": post(target=b"/v1/messages#a"),
    "a space in the target": post(target=b"/v1/ messages"),
    "more headers than any client sends": post(LINES + b"".join(b"X%d: 1\r\n" % n for n in range(63))),
    "a long head": post(LINES + b"X: " + b"a" * MOST_BYTES + b"\r\n"),
}


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_everything_else_is_left_alone(data: bytes) -> None:
    assert read_head(data) is None


@given(st.binary(max_size=80), st.integers(0, 200))
def test_no_bytes_make_it_fail(noise: bytes, at: int) -> None:
    data = post(LINES + b"Authorization: Bearer k\r\n")
    found = read_head(data[:at] + noise + data[at:])
    if found is not None:
        head, length, start = found
        assert head.before + str(length).encode() == head.before + head.headers["content-length"].encode()
        assert start >= len(head.before) + len(head.after)
