"""The handlers of counts: who asks, what may go up, and how an estimate is marked."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiohttp import web

from apipod_proxy.auth import Principal
from apipod_proxy.edge.body import BodyReader
from apipod_proxy.edge.counting import Count, Question, TokenCounts
from apipod_proxy.errors import Unauthenticated
from tests.edge.conftest import Serve

CALLER = cast("Principal", object())


@pytest.mark.parametrize(
    ("provider", "header"), [("p", b"x-apipod-provider: p"), ("", b"x-apipod-estimated: 1")]
)
async def test_a_count_says_who_counted(serve: Serve, provider: str, header: bytes) -> None:
    asked: list[Question] = []

    async def count(question: Question) -> Count:
        asked.append(question)
        return Count(b'{"input_tokens":1}', provider)

    def identify(request: web.BaseRequest, dialect: str) -> Principal:
        return CALLER

    counts = TokenCounts("anthropic", identify, BodyReader(1), count)
    front = await serve({"/count": counts.handle})
    told = await front.say(
        b"POST /count?vendor=v HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAnthropic-Beta: b\r\n"
        b"Cookie: c\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert header in told.lower() and told.endswith(b'{"input_tokens":1}')
    forwarded: Any = (("anthropic-beta", "b"),)
    assert asked == [Question("anthropic", CALLER, b"{}", None, "v", forwarded)]


async def test_who_is_not_known_is_not_read(serve: Serve) -> None:
    async def count(question: Question) -> Count:
        raise AssertionError

    def identify(request: web.BaseRequest, dialect: str) -> Principal:
        raise Unauthenticated(Unauthenticated.UNKNOWN)

    counts = TokenCounts("anthropic", identify, BodyReader(1), count)
    front = await serve({"/count": counts.handle})
    told = await front.say(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    assert told.startswith(b"HTTP/1.1 401")
