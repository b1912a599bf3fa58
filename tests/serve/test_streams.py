"""What a stream owes its client, seen from outside of a real process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from shutil import which

import aiohttp
import pytest

from apipod_proxy.simulator import Simulator
from tests.serve.conftest import KEY, Launch, chat, message, until

EVENTS = 8
GAP = 0.05


async def arrivals(client: aiohttp.ClientSession, url: str, body: object, **headers: str) -> list[float]:
    """When each content event arrived, in monotonic seconds."""
    times = []
    async with client.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200
        async for line in answer.content:
            if line.startswith(b"data:") and b" token" in line:
                times.append(time.monotonic())
    return times


def is_paced(times: list[float]) -> bool:
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return abs(sorted(gaps)[len(gaps) // 2] - GAP) < 0.02 and abs(sum(gaps) - GAP * (EVENTS - 1)) < 0.1


async def assert_paced(ask: Callable[[], Awaitable[list[float]]]) -> None:
    """What comes has the pace of what was sent; of a few tries, because a busy machine can only spoil it."""
    for _ in range(4):
        times = await ask()
        assert len(times) == EVENTS
        if is_paced(times):
            return
    raise AssertionError([f"{later - earlier:.3f}" for earlier, later in pairwise(times)])


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", chat), ("/v1/messages", message)])
async def test_events_leave_when_they_arrive(
    launch: Launch, client: aiohttp.ClientSession, path: str, body: Callable[..., object]
) -> None:
    gateway = await launch()
    await assert_paced(lambda: arrivals(client, gateway.base + path, body("sim-8-50", stream=True)))


NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen unix:{folder}/front; location / {{ proxy_pass {upstream}; }} }}
}}
"""


async def test_a_default_nginx_in_front_holds_no_event_back(launch: Launch, tmp_path: Path) -> None:
    binary = which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert binary is not None, "nginx is needed for this test: apt-get install nginx-light"
    gateway = await launch()
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(folder=tmp_path, upstream=gateway.base))
    nginx = await asyncio.create_subprocess_exec(binary, "-c", str(config), "-p", str(tmp_path))
    try:
        await until((tmp_path / "front").exists)
        connector = aiohttp.UnixConnector(str(tmp_path / "front"))
        async with aiohttp.ClientSession(connector=connector) as client:
            body = chat("sim-8-50", stream=True)
            headers = {"authorization": f"Bearer {KEY}"}
            await assert_paced(lambda: arrivals(client, "http://front/v1/chat/completions", body, **headers))
    finally:
        nginx.terminate()
        await nginx.wait()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", chat), ("/v1/messages", message)])
async def test_a_client_that_leaves_cancels_its_request_upstream_within_100_ms(
    launch: Launch, simulator: Simulator, path: str, body: Callable[..., object], stream: bool
) -> None:
    gateway = await launch()

    async def leave() -> float:
        before = simulator.stats.aborted
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as leaving:
            # Streamed: in the middle; not streamed: before the first byte.
            model = "sim-1000-20" if stream else "sim-5-0+delay=10000"
            asked = asyncio.create_task(leaving.post(gateway.base + path, json=body(model, stream=stream)))
            await until(lambda: simulator.stats.open == 1)
            if stream:
                answer = await asked
                await answer.content.readline()
                answer.close()
            else:
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            return await until(lambda: simulator.stats.aborted == before + 1)

    # The best of a few: a machine that is busy with other things can only make it slower.
    assert min([await leave() for _ in range(3)]) < 0.1
    line = await gateway.line("request", count=3)
    assert (line["outcome"], line["status"]) == ("cancelled", 200 if stream else 499)


class Flood:
    """An upstream that streams without end, as fast as it is read; ``sent`` bytes so far."""

    EVENT = (
        b'data: {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n'
        % (b"x" * 16_000)
    )

    def __init__(self) -> None:
        self.sent = 0
        self.ended = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chunk = b"%x\r\n%b\r\n" % (len(self.EVENT), self.EVENT)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            while True:
                writer.write(chunk)
                await writer.drain()
                self.sent += len(chunk)
        except ConnectionError:
            self.ended = True
        finally:
            # What is left goes nowhere; a loop would wait for it when it is closed.
            writer.transport.abort()


async def stalled(flood: Flood) -> None:
    """Until nothing more is taken. How much that is, the buffers of the system decide."""
    sent = -1
    async with asyncio.timeout(10):
        while flood.sent != sent:
            sent = flood.sent
            await asyncio.sleep(0.2)


async def test_a_slow_client_slows_its_upstream_and_grows_no_memory(launch: Launch) -> None:
    flood = Flood()
    upstream = await asyncio.start_server(flood.serve, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    gateway = await launch(
        changes={"providers": {"sim": {"type": "openai_compatible", "base_url": f"http://127.0.0.1:{port}"}}}
    )
    host, _, at = gateway.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(at), limit=16 * 1024)
    try:
        writer.write(
            raw_request(
                gateway.base,
                b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}',
            )
        )
        await reader.readexactly(1_000_000)
        before = gateway.resident()
        await stalled(flood)
        for _ in range(15):
            await reader.readexactly(1_000_000)
        await stalled(flood)
        assert gateway.resident() - before < 20_000_000
    finally:
        writer.transport.abort()
        upstream.close()
    # How fast that is, other tests tell; here the process that asks is busy with what it was sent.
    assert await until(lambda: flood.ended) < 5


def raw_request(base: str, body: bytes) -> bytes:
    """A chat completion, for clients that want to hold the socket themselves."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {base}\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
