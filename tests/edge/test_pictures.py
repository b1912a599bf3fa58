"""An answer that is held back: a good one waits to be made into another, an error does not."""

from __future__ import annotations

from aiohttp import web

from apipod_proxy.edge.pictures import HeldAnswer
from tests.edge.conftest import Serve


async def test_a_good_answer_is_held_and_an_error_is_not(serve: Serve) -> None:
    async def good(request: web.Request) -> web.StreamResponse:
        held = HeldAnswer(request, b"")
        held.send(200, b"application/json", b"{}")
        assert not held.begun and held.held == b"{}"
        held.deliver(b"image/png", b"PNG")
        return held.response()

    async def bad(request: web.Request) -> web.StreamResponse:
        held = HeldAnswer(request, b"")
        held.send(400, b"application/json", b"{}")
        assert held.begun and not held.held
        return held.response()

    front = await serve({"/good": good, "/bad": bad})
    request = b"POST /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    told = await front.say(request % b"good")
    assert told.startswith(b"HTTP/1.1 200") and told.endswith(b"\r\n\r\nPNG")
    told = await front.say(request % b"bad")
    assert told.startswith(b"HTTP/1.1 400") and told.endswith(b"\r\n\r\n{}")
