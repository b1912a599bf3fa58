"""Whatever a client sends: the right status, an error in its dialect, and a process that is unharmed."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import orjson
import pytest

from tests.serve.conftest import KEY, Launch

OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
GEMINI = "/v1beta/models/m:generateContent"
RESPONSES = "/v1/responses"

AUTH = f"Authorization: Bearer {KEY}\r\n"


class Case(NamedTuple):
    """``raw`` is sent as it is; without it, ``body`` is sent as a completion of the dialect. ``says`` is part of the message."""

    status: int
    body: bytes = b""
    raw: bytes | None = None
    head: str = AUTH
    method: str = "POST"
    path: str | None = None
    says: bytes = b""


def deep(levels: int) -> bytes:
    return b'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "x": %b%b}' % (
        b"[" * levels,
        b"]" * levels,
    )


GOOD = b'"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]'

BODIES: dict[str, Case] = {
    "empty": Case(400),
    "no json": Case(400, b"hello"),
    "half a json": Case(400, b'{"model": "m", "messages": ['),
    "two jsons": Case(400, b'{"model": "m", %b} {}' % GOOD),
    "a list": Case(400, b"[1]"),
    "a number": Case(400, b"7"),
    "null": Case(400, b"null"),
    "no model": Case(400, b"{%b}" % GOOD, says=b"model"),
    "a model that is a number": Case(400, b'{"model": 7, %b}' % GOOD, says=b"model"),
    "an empty model": Case(400, b'{"model": "", %b}' % GOOD, says=b"model"),
    "messages that are text": Case(
        400, b'{"model": "m", "max_tokens": 9, "messages": "x"}', says=b"messages"
    ),
    "messages that are empty": Case(
        400, b'{"model": "m", "max_tokens": 9, "messages": []}', says=b"messages"
    ),
    "a message that is text": Case(
        400, b'{"model": "m", "max_tokens": 9, "messages": ["x"]}', says=b"messages"
    ),
    "stream that is text": Case(400, b'{"model": "m", "stream": "yes", %b}' % GOOD, says=b"stream"),
    "the model twice": Case(400, b'{"model": "m", "model": "n", %b}' % GOOD, says=b"model"),
    "the model twice, escaped": Case(400, b'{"model": "m", "mod\\u0065l": "n", %b}' % GOOD, says=b"model"),
    "stream twice": Case(400, b'{"model": "m", "stream": true, "stream": false, %b}' % GOOD, says=b"stream"),
    "deep nesting": Case(400, deep(100_000)),
    "invalid utf-8": Case(400, b'{"model": "m\xff\xfe", %b}' % GOOD),
    "a utf-16 body": Case(400, '{"model": "m"}'.encode("utf-16")),
    "NaN": Case(400, b'{"model": "m", "temperature": NaN, %b}' % GOOD),
    "an unknown vendor": Case(404, b'{"model": "m", %b}' % GOOD, path="{}?vendor=nobody"),
}

HEADS: dict[str, Case] = {
    "no key": Case(401, b'{"model": "m"}', head=""),
    "an unknown key": Case(401, b'{"model": "m"}', head="Authorization: Bearer sk-nobody\r\n"),
    "a key of odd bytes": Case(401, b"{}", head="Authorization: Bearer \xff\xfe\x80\r\n"),
    "a key with spaces": Case(401, b"{}", head="Authorization: Bearer a b c\r\n"),
    "a basic authorization": Case(401, b"{}", head="Authorization: Basic YTpi\r\n"),
    "a very long key": Case(401, b"{}", head=f"x-api-key: {'k' * 8000}\r\n"),
    "a body of 33 MB": Case(413, head=AUTH + "Content-Length: 34603008\r\n", raw=b""),
    "a wrong method": Case(405, method="GET"),
    "another wrong method": Case(405, method="DELETE"),
    "a broken gzip": Case(400, b"no gzip", head=AUTH + "Content-Encoding: gzip\r\n"),
    "an unknown encoding": Case(400, b"{}", head=AUTH + "Content-Encoding: aes\r\n"),
}

UNREADABLE: dict[str, Case] = {
    "a header of 100 KB": Case(431, head=f"x-big: {'a' * 100_000}\r\n"),
    "200 headers": Case(431, head="x-a: b\r\n" * 200),
    "both length headers": Case(400, head="Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", raw=b"{}"),
    "two lengths": Case(400, head="Content-Length: 2\r\nContent-Length: 3\r\n", raw=b"{}"),
    "header injection": Case(400, head="x-a: b\rx-evil: c\r\n"),
    "a NUL in a header": Case(400, head="x-a: b\x00c\r\n"),
    "no http": Case(400, raw=b"\x16\x03\x01\x00\xa5\x01\x00\x00", method=""),
}


def request_of(case: Case, path: str) -> bytes:
    if not case.method:
        return case.raw or b""
    target = (case.path or "{}").format(path)
    length = "" if case.raw is not None or case.status == 431 else f"Content-Length: {len(case.body)}\r\n"
    head = f"{case.method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{case.head}{length}\r\n"
    return head.encode("latin-1") + (case.body if case.raw is None else case.raw)


async def say(base: str, data: bytes) -> tuple[int, dict[str, str], bytes]:
    host, _, port = base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.read(-1)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def assert_shape(path: str, status: int, headers: dict[str, str], body: bytes) -> str:
    """The error has the form of the dialect; gives its message."""
    assert headers["content-type"].startswith("application/json")
    assert headers["x-request-id"].startswith("req_")
    told: dict[str, Any] = orjson.loads(body)
    if path == ANTHROPIC:
        assert told["type"] == "error"
        assert told["request_id"] == headers["request-id"] == headers["x-request-id"]
        assert set(told["error"]) == {"type", "message"}
    elif path == GEMINI:
        assert told["error"]["code"] == status
        assert told["error"]["status"]
    else:
        assert {"message", "type", "param", "code"} <= set(told["error"])
    return str(told["error"]["message"])


async def test_every_hostile_request_is_answered_in_its_dialect(launch: Launch) -> None:
    gateway = await launch()
    wrong: list[str] = []
    for path in (OPENAI, ANTHROPIC):
        for name, case in {**BODIES, **HEADS}.items():
            status, headers, body = await say(gateway.base, request_of(case, path))
            try:
                assert status == case.status, body[:200]
                message = assert_shape(path, status, headers, body) if case.method != "HEAD" else ""
                assert case.says.decode() in message
            except AssertionError as error:
                wrong.append(f"{path} {name}: {error}")
    for name, case in UNREADABLE.items():
        status, headers, body = await say(gateway.base, request_of(case, ANTHROPIC))
        try:
            assert status == case.status, body[:200]
            # What cannot be read has no dialect.
            assert_shape(OPENAI, status, headers, body)
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)
    status, _, body = await say(gateway.base, request_of(Case(200, b'{"model": "fast", %b}' % GOOD), OPENAI))
    assert status == 200, body
    assert not gateway.errors


@pytest.mark.parametrize("path", ["/v1/nowhere", "/", "/admin/nowhere", "/v1beta/nowhere"])
async def test_unknown_paths_are_answered_in_the_dialect_of_their_headers(launch: Launch, path: str) -> None:
    gateway = await launch()
    for header, dialect in (
        ("", GEMINI if path.startswith("/v1beta") else OPENAI),
        ("anthropic-version: 2023-06-01\r\n", GEMINI if path.startswith("/v1beta") else ANTHROPIC),
        ("x-goog-api-key: k\r\n", GEMINI),
    ):
        case = Case(404, b"{}", head=header)
        status, headers, body = await say(gateway.base, request_of(case, path))
        assert status == (405 if path == "/" else 404)
        assert_shape(dialect, status, headers, body)


async def test_a_websocket_is_refused_at_once(launch: Launch) -> None:
    gateway = await launch()
    ask = (
        "GET /v1/responses HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{AUTH}\r\n"
    )
    host, _, port = gateway.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(ask.encode())
    async with asyncio.timeout(2):
        assert b" 426 " in await reader.readline()
    writer.close()


async def test_500_slow_connections_and_a_good_client_beside_them(launch: Launch) -> None:
    gateway = await launch()
    host, _, port = gateway.base.removeprefix("http://").partition(":")
    slow = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(500)))
    before = gateway.resident()
    for piece in (b"POST /v1/mess", b"ages HTTP/1.1\r\nHo", b"st: a\r\nx-slow: "):
        for _, writer in slow:
            writer.write(piece)
        await asyncio.sleep(0.05)
    status, _, body = await say(gateway.base, request_of(Case(200, b'{"model": "fast", %b}' % GOOD), OPENAI))
    assert status == 200, body
    assert gateway.resident() - before < 20_000_000
    for _, writer in slow:
        writer.close()
