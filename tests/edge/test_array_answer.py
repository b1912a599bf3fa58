from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import aiohttp
from aiohttp import web

from apipod_proxy.edge.array_answer import ArrayAnswer


class Lines:
    """Each line is an element."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        out = b""
        for line in data.split():
            out += (b"," if self._begun else b"[") + line
            self._begun = True
        return out

    def eof(self) -> bytes:
        return b"]" if self._begun else b"[]"


async def fetched(act: Callable[[ArrayAnswer], None]) -> tuple[int, str, bytes]:
    """Status, content type and body of what ``act`` answers."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        answer = ArrayAnswer(request, b"date: now\r\n", Lines())
        act(answer)
        return answer.response()

    server = web.Server(handle)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        port = listening.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as reply:
            return reply.status, reply.content_type, await reply.read()
    finally:
        listening.close()
        await server.shutdown()


async def test_events_become_elements_and_the_end_closes_the_array() -> None:
    def act(answer: ArrayAnswer) -> None:
        answer.begin_stream()
        assert not answer.write(b"1 2")
        assert not answer.write(b" ")
        answer.write(b"3")
        answer.end()
        answer.end()

    status, content_type, body = await fetched(act)
    assert (status, content_type, json.loads(body)) == (200, "application/json", [1, 2, 3])


async def test_a_stream_of_nothing_is_an_empty_array() -> None:
    def act(answer: ArrayAnswer) -> None:
        answer.begin_stream()
        answer.end()

    assert (await fetched(act))[2] == b"[]"


async def test_an_error_before_the_stream_is_one_element() -> None:
    status, _, body = await fetched(lambda answer: answer.send(404, b"application/json", b'{"error":1}'))
    assert (status, json.loads(body)) == (404, [{"error": 1}])
