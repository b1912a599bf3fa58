"""The provider of the measurements: a raw protocol on uvloop, as cheap as Python gets.

The model's name steers it: ``bench-<events>-<gap in ms>``. Every streamed event carries the time at which it was sent (CLOCK_MONOTONIC in
nanoseconds, the same clock for all processes of a machine), so that the reader knows how long it was on its way.

    python scripts/bench/upstream.py PORT
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from time import monotonic_ns
from typing import cast

import httptools
import orjson
import uvloop

MODEL = re.compile(rb'"model":\s*"bench-(\d+)-(\d+)"')
STREAM = re.compile(rb'"stream":\s*true')

TEXT = "An answer of ordinary length, as a model gives it to an ordinary question. " * 4
CHAT_ID = {"id": "chatcmpl-bench", "created": 1_760_000_000, "model": "bench"}


def chat(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return event(
        {**CHAT_ID, "object": "chat.completion.chunk", "system_fingerprint": "fp_b", "choices": [choice]}
    )


def event(payload: dict[str, object]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


USAGE = {"prompt_tokens": 12, "completion_tokens": 48, "total_tokens": 60}
JSON_BODY = orjson.dumps(
    {
        **CHAT_ID,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
)
JSON_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(JSON_BODY),
    JSON_BODY,
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
FIRST = chunk(chat({"role": "assistant", "content": ""}))
BEFORE, AFTER = chat({"content": "@"}).split(b"@")
LAST = (
    chunk(chat({}, "stop"))
    + chunk(event({**CHAT_ID, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}))
    + chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


def stamped() -> bytes:
    """An event that says when it was sent."""
    return chunk(b"%b%d%b" % (BEFORE, monotonic_ns(), AFTER))


class Provider(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are not registered as such
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.parser = httptools.HttpRequestParser(self)
        self.pieces: list[bytes] = []
        self.task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self.pieces)
        self.pieces.clear()
        found = MODEL.search(body)
        events, gap = (int(found[1]), int(found[2])) if found else (20, 0)
        if STREAM.search(body):
            self.task = asyncio.get_running_loop().create_task(self.stream(events, gap / 1000))
        else:
            self.transport.write(JSON_ANSWER)

    async def stream(self, events: int, gap: float) -> None:
        write = self.transport.write
        # The first text comes at once: a gateway that can still fail over passes nothing on before it.
        write(b"%b%b%b" % (STREAM_HEAD, FIRST, stamped()))
        for _ in range(events - 1):
            await asyncio.sleep(gap)
            write(stamped())
        write(LAST)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.task is not None:
            self.task.cancel()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=16384)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
