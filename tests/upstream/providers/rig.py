"""All fakes behind one gateway, in a thread of their own: it is started once, and asked by the tests of every provider."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import uvloop
from aiohttp import web

from apipod_proxy.app import Launch, Server
from apipod_proxy.edge.logs import LineWriter
from apipod_proxy.settings import Settings
from tests.upstream.providers.fakes import CHAT, MESSAGES, Fake, Refusal, Voice
from tests.upstream.providers.table import FAKES

KEY = "sk-gateway-test-0123456789"
GOOD, BAD = "up-key-good-0123", "up-key-bad-0123"
CLIENTS = {CHAT: "/v1/chat/completions", MESSAGES: "/v1/messages"}


class Arrived(NamedTuple):
    provider: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class Fakes:
    """One server for all: the first segment of a path names the provider."""

    def __init__(self) -> None:
        self.arrived: deque[Arrived] = deque(maxlen=10)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name, _, rest = request.raw_path[1:].partition("/")
        fake, body = FAKES[name], orjson.loads(await request.read())
        self.arrived.append(Arrived(name, f"/{rest}", dict(request.headers), body))
        for voice in fake.voices.values():
            for path, streamed in ((voice.stream_path or voice.path, True), (voice.path, False)):
                model = body.get("model") or rest.partition("/models/")[2].partition(":")[0]
                asked = body.get("stream") is True or "stream" in rest
                if path.replace("{model}", model) == f"/{rest}" and streamed == asked:
                    return self._answer(request, fake, voice, model, body, streamed)
        return web.json_response({"detail": "Not Found"}, status=404)

    def _answer(
        self, request: web.Request, fake: Fake, voice: Voice, model: str, body: dict[str, Any], streamed: bool
    ) -> web.StreamResponse:
        if fake.auth is not None:
            header, prefix = fake.auth
            if request.headers.get(header) != prefix + GOOD:
                return refuse(fake.bad_key)
        missing = [name for name in fake.needs if name not in request.headers]
        wrong = [*missing, *sorted(voice.forbidden & body.keys())]
        wrong += [str(m["role"]) for m in body.get("messages", ()) if m["role"] not in voice.roles]
        if wrong:
            return web.json_response({"error": {"message": f"Refused here: {wrong}"}}, status=422)
        if model in ("limited", "refused"):
            return refuse(fake.limited if model == "limited" else fake.refused)
        if streamed:
            return web.Response(body=voice.stream, content_type="text/event-stream")
        return web.Response(body=voice.whole, content_type="application/json")


def refuse(refusal: Refusal) -> web.Response:
    return web.Response(
        body=refusal.body,
        status=refusal.status,
        headers={**refusal.headers, "content-type": "application/json"},
    )


def catalog(url: str) -> dict[str, Any]:
    """``NAME-0`` and ``NAME-1`` have the two base URLs; every client has accounts of its own for keys that are bad and limits that are met."""
    providers: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    for name, fake in FAKES.items():
        common = {
            "type": name,
            "retries": {"attempts": 1},
            "options": dict(fake.options),
            "breaker": {"failures": 1000, "open": 1},
        }
        for number, base in enumerate(fake.bases):
            providers[f"{name}-{number}"] = {**common, "base_url": f"{url}/{name}{base}", "api_key": GOOD}
        for client in CLIENTS:
            for what, key in (("bad", BAD), ("next", BAD), ("limited", GOOD)):
                made = {**common, "base_url": f"{url}/{name}{fake.bases[0]}", "api_key": key}
                providers[f"{name}-{what}-{client}"] = made
    for name in providers:
        targets = [{"provider": name, "priority": 0}]
        if "-next-" in name:
            targets.append({"provider": f"{name.partition('-')[0]}-0", "priority": 1})
        routes[f"{name}/*"] = {"strategy": "priority", "targets": targets}
    return {
        "providers": providers,
        "subscriptions": {"s": {"routes": routes}},
        "users": {"u": {"subscription": "s", "keys": [{"key": KEY, "name": "k"}]}},
    }


class Rig(NamedTuple):
    url: str
    fakes: Fakes


async def serve(folder: Path, ready: asyncio.Event, stop: asyncio.Event, found: list[Rig]) -> None:
    """Until ``stop`` is set."""
    fakes = Fakes()
    app = web.Application()
    app.router.add_route("POST", "/{path:.*}", fakes.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = folder / "catalog.yaml"
    config.write_bytes(orjson.dumps(catalog(f"http://127.0.0.1:{runner.addresses[0][1]}")))
    settings = Settings.from_env({"DATA_DIR": str(folder), "PORT": "0"})
    async with Server(Launch(settings, {}, LineWriter(-1), None, config)) as server:
        await server.listen()
        found.append(Rig(f"http://127.0.0.1:{server.ports[0]}", fakes))
        ready.set()
        await stop.wait()
    await runner.cleanup()


@contextmanager
def running(folder: Path) -> Iterator[Rig]:
    """The gateway and its fakes, while the tests run."""
    found: list[Rig] = []
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failed: list[BaseException] = []

    async def main() -> None:
        ready, stop = asyncio.Event(), asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        task = asyncio.create_task(serve(folder, ready, stop, found))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        started.set()
        await task

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as exc:  # told by the thread of the tests
            failed.append(exc)
            started.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait(20)
    if failed:
        raise failed[0]
    yield found[0]
    loop, stop = loops[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
