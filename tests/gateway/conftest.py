"""A whole server within the test's event loop, in front of upstreams that follow a script."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from apipod_proxy.app import Launch, Server
from apipod_proxy.edge.logs import LineWriter
from apipod_proxy.settings import Settings
from tests.fakes.server import Do, Script, ScriptedServer

KEY = "sk-gateway-test-0123456789"
ADMIN = "sk-gateway-admin-0123456789"
SSE = b"Content-Type: text/event-stream\r\n"
JSON = b"Content-Type: application/json\r\n"

Body = dict[str, Any]


class Lines(LineWriter):
    """Keeps the lines of the log instead of writing them."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.lines: list[Body] = []

    def write(self, line: bytes) -> None:
        self.lines += (orjson.loads(one) for one in line.splitlines())


class Rig:
    """A running server: where it is, and what it booked."""

    def __init__(self, server: Server, client: aiohttp.ClientSession, lines: Lines) -> None:
        self.server = server
        self.client = client
        self.lines = lines
        self.port = server.ports[0]
        self.url = f"http://127.0.0.1:{self.port}"

    def post(self, body: Body, path: str = "/v1/chat/completions", **headers: str) -> Any:
        """A request to be used as ``async with``, or awaited."""
        sent = {"authorization": f"Bearer {KEY}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.client.post(self.url + path, data=orjson.dumps(body), headers=sent)

    async def ask(
        self, body: Body, path: str = "/v1/chat/completions", **headers: str
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """The answer and its whole body."""
        async with self.post(body, path, **headers) as answer:
            return answer, await answer.read()

    async def rows(self, count: int = 1) -> list[Body]:
        """The usage rows, the oldest first, once there are ``count``."""
        async with asyncio.timeout(5):
            while True:
                await self.server.ledger.flush()
                rows = await self.server.store.read_usage(0, 1 << 60, 10_000)
                if len(rows) >= count:
                    break
                await asyncio.sleep(0.005)
        for row in rows:
            row["attempts"] = orjson.loads(row["attempts"])
        return sorted(rows, key=lambda row: (row["started_at"], row["request_id"]))

    async def row(self) -> Body:
        """The one usage row."""
        rows = await self.rows()
        assert len(rows) == 1
        return rows[0]

    def gauges(self) -> dict[tuple[str, str], int]:
        """What is under way by (scope, owner) of every concurrency limit, none left out."""
        cells = vars(self.server.limits)["_cells"]
        return {key[:2]: cell.used for key, cell in cells.items() if key[2] == "concurrency"}


Serve = Callable[..., Awaitable[Rig]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """``serve(catalog, PING_SECONDS="0.1")`` → a running Rig; what it keeps is gone after the test."""
    async with AsyncExitStack() as stack:

        async def start(
            catalog: Mapping[str, Any] | str,
            *,
            trusted_media: frozenset[str] = frozenset(),
            **environ: str,
        ) -> Rig:
            folder = tmp_path / f"server{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            config = folder / "catalog.yaml"
            # JSON is YAML.
            config.write_text(catalog if isinstance(catalog, str) else orjson.dumps(dict(catalog)).decode())
            settings = Settings.from_env({"DATA_DIR": str(folder), "PORT": "0", **environ})
            lines = Lines()
            launch = Launch(settings, environ, lines, None, config, trusted_media)
            server = await stack.enter_async_context(Server(launch))
            await server.listen()
            client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=20)
            )
            # Closed first: a server waits for the connections of its clients.
            await stack.enter_async_context(client)
            return Rig(server, client, lines)

        yield start


Upstreams = Callable[..., Awaitable[ScriptedServer]]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstreams]:
    """``upstream(script, …)`` → a listening server; connection n follows script n, the last one all further ones."""
    async with AsyncExitStack() as stack:

        async def start(*scripts: Script) -> ScriptedServer:
            return await stack.enter_async_context(ScriptedServer(*scripts))

        yield start


def catalog(
    *upstreams: ScriptedServer | str,
    kind: str = "openai_compatible",
    route: Mapping[str, Any] | None = None,
    **provider: Any,
) -> Body:
    """Asked for ``x``, providers p0, p1 … are asked in this order, under the model names m0, m1 …, each known upstream as ``up``.

    ``provider`` holds for all of them, ``route`` for the one route.
    """
    urls = [each if isinstance(each, str) else each.url for each in upstreams]
    settings = {
        "type": kind,
        "timeouts": {"connect": 0.5, "first_byte": 2, "idle": 2},
        "retries": {"attempts": 1},
        "limits": {"concurrency": 50},
        **provider,
    }
    return {
        "providers": {
            f"p{n}": {
                "base_url": url,
                **({"api_key": f"up-key-{n}"} if "accounts" not in provider else {}),
                **settings,
            }
            for n, url in enumerate(urls)
        },
        "models": {
            f"m{n}": {
                "provider": f"p{n}",
                "upstream_model": "up",
                "price": {"input": 1, "output": 2},
                "limits": {"concurrency": 50},
            }
            for n in range(len(urls))
        },
        "subscriptions": {
            "s": {
                "routes": {
                    "x": {
                        "strategy": "priority",
                        "targets": [{"model": f"m{n}", "priority": n} for n in range(len(urls))],
                        **(route or {}),
                    }
                }
            }
        },
        "users": {
            "u": {"subscription": "s", "keys": [{"key": KEY, "name": "k", "limits": {"concurrency": 50}}]},
            "boss": {"subscription": "s", "role": "admin", "keys": [{"key": ADMIN, "name": "a"}]},
        },
    }


def chat(stream: bool = False, **more: Any) -> Body:
    return {"model": "x", "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **more}


def message(stream: bool = False, **more: Any) -> Body:
    return {**chat(stream), "max_tokens": 100, **more}


# Wire pieces of Chat Completions


def event(value: object) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else orjson.dumps(value)) + b"\n\n"


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One event of a streamed completion."""
    delta = {"role": "assistant"} if content is None and finish is None else {"content": content or ""}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "model": "up", "choices": [choice], **more})


USAGE = event(
    {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "up",
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
)
DONE = event(b"[DONE]")
HELLO = (chunk(), chunk("Hel"), chunk("lo"), chunk(finish="stop"), USAGE, DONE)
"""A whole streamed answer, event by event."""


def whole(text: str = "Hello", **more: Any) -> bytes:
    """The body of a whole completion."""
    return orjson.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "up",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            **more,
        }
    )


def head(status: int = 200, headers: bytes = SSE) -> bytes:
    return b"HTTP/1.1 %d Some\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (status, headers)


def piece(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def streams(*events: bytes, gap: float = 0.0, close: Do | None = None) -> Script:
    """A script: a request, then a streamed answer; ``close`` ends the connection in place of the body's regular end."""
    steps: list[bytes | float | Do] = [Do.REQUEST, head()]
    for data in events:
        steps.append(piece(data))
        if gap:
            steps.append(gap)
    return [*steps, close] if close is not None else [*steps, END, Do.AGAIN]


def answers(body: bytes | None = None, status: int = 200, headers: bytes = JSON) -> Script:
    """A script: a request, then a whole answer; and so on."""
    data = whole() if body is None else body
    return [
        Do.REQUEST,
        b"HTTP/1.1 %d Some\r\n%bContent-Length: %d\r\n\r\n%b" % (status, headers, len(data), data),
        Do.AGAIN,
    ]


def refuses(status: int, headers: bytes = b"", **error: Any) -> Script:
    """A script: a request, then an error in OpenAI's form."""
    body = orjson.dumps({"error": {"message": "no", "type": "x", "param": None, "code": None, **error}})
    return answers(body, status, JSON + headers)


def texts(body: bytes) -> str:
    """The text that the chunks of a stream make."""
    return "".join(
        choice["delta"].get("content") or ""
        for data in events(body)
        if data not in (b"[DONE]",)
        for choice in orjson.loads(data).get("choices", ())
    )


def events(body: bytes) -> list[bytes]:
    """The data of each event of a stream; pings are left out."""
    return [
        line[len(b"data: ") :]
        for frame in body.split(b"\n\n")
        for line in frame.split(b"\n")
        if line.startswith(b"data: ")
    ]


@pytest.fixture
def deaf() -> Iterator[str]:
    """The URL of a server that takes no connection: its queue is full, so that those who dial are left waiting."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        for each in waiting:
            each.close()


async def until(condition: Callable[[], object], seconds: float = 2.0) -> float:
    """Wait for ``condition``; the seconds that it took."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
    return time.monotonic() - begun
