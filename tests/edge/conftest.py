"""A front on a real socket, and a client that says exactly the bytes of a test."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import orjson
import pytest
from aiohttp import web

from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.body import BodyReader
from apipod_proxy.edge.cors import Cors
from apipod_proxy.edge.door import HotHandle
from apipod_proxy.edge.ids import RequestIds
from apipod_proxy.edge.incoming import Request, is_read
from apipod_proxy.edge.middleware import Guard, Seen
from apipod_proxy.edge.render import ANTHROPIC, OPENAI, Renderer
from apipod_proxy.edge.server import (
    DEFAULT_BOUNDS,
    Front,
    Handler,
    HttpBounds,
    listening_sockets,
)
from apipod_proxy.errors import ProxyError


def openai_error(error: ProxyError, request_id: str) -> bytes:
    return orjson.dumps({"error": {"message": str(error), "type": str(error.kind), "param": error.param}})


def anthropic_error(error: ProxyError, request_id: str) -> bytes:
    return orjson.dumps({"type": "error", "error": {"message": str(error)}, "request_id": request_id})


ENCODERS = {OPENAI: openai_error, ANTHROPIC: anthropic_error}


async def no_expectation(request: web.Request) -> None:
    """Bodies that are waited for are asked for by their reader."""


@dataclass
class Served:
    """A running front: where it listens, and what was seen on it."""

    port: int
    front: Front
    seen: list[Seen]
    runner: web.ServerRunner
    handlers: dict[str, int] = field(default_factory=dict)

    async def say(self, *pieces: bytes, pause: float = 0.02, wait: float = 1.0) -> bytes:
        """Send the pieces one after the other, and give all that comes until the end or for ``wait`` seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause if len(pieces) > 1 else 0)
            return await read_all(reader, wait)
        finally:
            writer.close()


async def read_all(reader: asyncio.StreamReader, wait: float = 1.0) -> bytes:
    """What arrives until the connection ends; ``<open>`` is appended when it did not end in time."""
    received = b""
    try:
        async with asyncio.timeout(wait):
            while piece := await reader.read(65536):
                received += piece
    except TimeoutError:
        return received + b"<open>"
    except ConnectionResetError:
        return received + b"<reset>"
    return received


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a front with the given handlers by path, POST and GET alike; ``hot`` ones bypass the router."""
    running: list[tuple[Served, web.AppRunner]] = []

    async def start(
        handlers: Mapping[str, Handler] | None = None,
        hot: Mapping[str, HotHandle] | None = None,
        bounds: HttpBounds = DEFAULT_BOUNDS,
        origins: tuple[str, ...] = (),
        limit_mb: int = 1,
    ) -> Served:
        body = BodyReader(limit_mb, idle_seconds=0.3)
        renderer = Renderer(ENCODERS)
        new_id = RequestIds(os.urandom)
        seen: list[Seen] = []
        guard = Guard(renderer, new_id, time.monotonic, lambda line, _: seen.append(line), Cors(origins))

        async def echo(request: web.Request) -> web.Response:
            return web.Response(body=await body.read(request))

        async def hot_echo(request: Request) -> Answer:
            answer = Answer(request, b"")
            try:
                answer.send(200, b"application/octet-stream", await body.read(request))
            except ProxyError as error:
                if error.closes or not is_read(request):
                    answer.close_after()
                answer.send(error.status, b"application/json", renderer.body(error, OPENAI, new_id()))
            return answer

        app = web.Application(middlewares=[guard.middleware])
        for path, handler in {"/echo": echo, **(handlers or {})}.items():
            app.router.add_post(path, handler, expect_handler=no_expectation)
        inner = web.AppRunner(app)
        await inner.setup()
        server = inner.server
        assert server is not None
        table: dict[str, HotHandle] = {"/hot": hot_echo, **(hot or {})}
        front = Front(
            server.request_handler,
            server.request_factory,
            guard.refuse,
            guard.refuse_raw,
            table.get,
            body.limit,
            bounds,
        )
        runner = web.ServerRunner(front, shutdown_timeout=0.1)
        await runner.setup()
        listener = listening_sockets("127.0.0.1", 0, bounds)[0]
        await web.SockSite(runner, listener, backlog=bounds.backlog).start()
        served = Served(listener.getsockname()[1], front, seen, runner)
        running.append((served, inner))
        return served

    yield start
    for served, inner in running:
        served.front.stop_sweeping()
        await served.runner.cleanup()
        await inner.cleanup()
