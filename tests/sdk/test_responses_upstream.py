"""Every official SDK in front of a provider that speaks Responses alone: the codecs with nothing else between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import aiohttp
import pytest
from aiohttp import web

from apipod_proxy.dialect import Aim, AnswerInfo, Dialect
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.simulator import Simulator
from tests.sdk.test_matrix import CLIENTS, close, converse

SURFACES = {
    "/v1/chat/completions": "openai_chat",
    "/v1/messages": "anthropic",
    "/v1/responses": "openai_responses",
}
UPSTREAM = DIALECTS["openai_responses"]
MODEL = "gpt-5+thinking=1"


class Translator:
    """Takes requests of every dialect and asks the simulator in Responses."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self._numbers = count(1)

    def _id(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers)}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path in SURFACES:
            row = DIALECTS[SURFACES[request.path]]
            call = row.decode_request(body)
        else:
            row = DIALECTS["gemini"]
            call = row.decode_request(body, model="m", stream="stream" in request.path)
        encoded = UPSTREAM.encode_request(call, Aim(MODEL))
        info = AnswerInfo("asked-model", self._id("req_"), 1_700_000_000, call.include_usage, call)
        headers = {"content-type": "application/json", "authorization": "Bearer k"}
        async with self._session.post(
            f"{self._upstream}/v1/responses", data=encoded.body, headers=headers
        ) as reply:
            assert reply.status == 200, await reply.text()
            if not call.stream:
                events = UPSTREAM.decode_unary(await reply.read(), self._id)
                return web.Response(body=row.encoder(info).fold(events), content_type="application/json")
            return await self._stream(request, row, info, reply)

    async def _stream(
        self, request: web.Request, row: Dialect, info: AnswerInfo, reply: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        out = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await out.prepare(request)
        decoder, encoder = UPSTREAM.decoder(self._id), row.encoder(info)
        async for piece in reply.content.iter_any():
            for event in decoder.feed(piece):
                await out.write(encoder.send(event))
        for event in decoder.eof():
            await out.write(encoder.send(event))
        if row.done:
            await out.write(row.done)
        return out


@pytest.fixture
async def base(simulator: Simulator) -> AsyncIterator[str]:
    async with aiohttp.ClientSession() as session:
        app = web.Application(client_max_size=1 << 25)
        app.router.add_route("POST", "/{path:.*}", Translator(simulator.url, session).handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("sdk", CLIENTS)
async def test_two_turns_with_tools_an_image_and_thinking(base: str, sdk: str, stream: bool) -> None:
    client = CLIENTS[sdk](base)
    try:
        await converse(client, "asked-model", stream)
    finally:
        await close(client)
