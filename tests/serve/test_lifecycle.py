"""Start and end of a serving process."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from apipod_proxy.simulator import Simulator
from tests.serve.conftest import COMMAND, KEY, Launch, chat, clean_environment, message, until

STREAMS = 50


def rows(database: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


async def whole(client: aiohttp.ClientSession, url: str, body: object) -> str:
    async with client.post(url, json=body) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_sigterm_under_50_streams_lets_all_finish(
    launch: Launch, client: aiohttp.ClientSession, simulator: Simulator
) -> None:
    gateway = await launch()
    half = STREAMS // 2
    asked = [
        whole(client, f"{gateway.base}/v1/chat/completions", chat("sim-20-50", stream=True))
        for _ in range(half)
    ]
    asked += [
        whole(client, f"{gateway.base}/v1/messages", message("sim-20-50", stream=True)) for _ in range(half)
    ]
    running = asyncio.gather(*asked)
    await until(lambda: simulator.stats.open_streams == STREAMS)
    gateway.signal(signal.SIGTERM)
    answers = await running
    assert all(answer.rstrip().endswith("data: [DONE]") for answer in answers[:half])
    assert all('"type":"message_stop"' in answer.replace(" ", "") for answer in answers[half:])
    assert await gateway.ended() == 0
    assert rows(gateway.database, "SELECT outcome, count(*) FROM usage_logs GROUP BY outcome") == [
        ("ok", STREAMS)
    ]
    assert not gateway.errors


async def test_streams_that_outlast_the_grace_end_in_an_error_event(
    launch: Launch, client: aiohttp.ClientSession, simulator: Simulator
) -> None:
    gateway = await launch(environ={"SHUTDOWN_GRACE_SECONDS": "0.2"})
    running = asyncio.gather(
        whole(client, f"{gateway.base}/v1/chat/completions", chat("sim-1000-20", stream=True)),
        whole(client, f"{gateway.base}/v1/messages", message("sim-1000-20", stream=True)),
    )
    await until(lambda: simulator.stats.open_streams == 2)
    await asyncio.sleep(0.1)
    gateway.signal(signal.SIGTERM)
    openai, anthropic = await running
    assert orjson.loads(openai.rstrip().rpartition("data: ")[2])["error"]["message"]
    assert "[DONE]" not in openai
    assert "event: error\n" in anthropic
    assert await gateway.ended() == 0
    assert rows(gateway.database, "SELECT DISTINCT outcome FROM usage_logs") == [("stopped",)]


async def test_draining_serves_but_is_not_ready(launch: Launch, client: aiohttp.ClientSession) -> None:
    gateway = await launch(environ={"DRAIN_SECONDS": "0.6"})
    async with client.get(f"{gateway.base}/health/ready") as answer:
        assert answer.status == 200
    gateway.signal(signal.SIGTERM)
    await gateway.line("Stopping.")
    async with client.get(f"{gateway.base}/health/ready") as answer:
        assert answer.status == 503
    async with client.post(f"{gateway.base}/v1/chat/completions", json=chat("fast")) as answer:
        assert answer.status == 200
    assert await gateway.ended() == 0


async def test_a_second_signal_makes_haste(
    launch: Launch, client: aiohttp.ClientSession, simulator: Simulator
) -> None:
    gateway = await launch()
    running = asyncio.create_task(
        whole(client, f"{gateway.base}/v1/chat/completions", chat("sim-1000-20", stream=True))
    )
    await until(lambda: simulator.stats.open_streams == 1)
    gateway.signal(signal.SIGTERM)
    await gateway.line("Stopping.")
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended(5) == 0
    assert "error" in await running


async def test_a_port_that_is_taken_is_one_line(launch: Launch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        gateway = await launch("--addr", f"127.0.0.1:{port}", wait=False)
        assert await gateway.ended() == 1
    assert gateway.errors == [
        f"apipod-proxy: 127.0.0.1:{port} is taken by another program; choose another address with --addr or PORT"
    ]


async def test_mistakes_in_the_catalog_are_a_line_each(launch: Launch) -> None:
    gateway = await launch(changes={"modells": {}, "limits": {"rpm": -1}}, wait=False)
    assert await gateway.ended() == 1
    assert len(gateway.errors) == 2
    assert all(line.startswith("apipod-proxy: ") and "catalog.yaml" in line for line in gateway.errors)


async def test_systemd_hears_of_ready_watchdog_and_stopping(launch: Launch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        gateway = await launch(environ={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"})
        await asyncio.sleep(0.3)
        gateway.signal(signal.SIGINT)
        assert await gateway.ended() == 0
        heard = []
        try:
            while True:
                heard.append(manager.recv(500))
        except BlockingIOError:
            pass  # all is read
    assert heard[0].startswith(b"READY=1\nSTATUS=Serving on http://127.0.0.1:")
    assert heard.count(b"WATCHDOG=1") >= 2
    assert heard[-1] == b"STOPPING=1"


async def test_the_first_completion_comes_within_a_second_of_the_start(
    launch: Launch, client: aiohttp.ClientSession, simulator: Simulator, tmp_path: Path
) -> None:
    """With 10,000 keys and 1,000 models, which were applied before."""
    keys = [
        {"sha256": hashlib.sha256(b"key %d" % number).hexdigest(), "prefix": "sk-x", "name": f"k{number}"}
        for number in range(10_000)
    ]
    many = {
        "models": {"fast": {"provider": "sim"}}
        | {f"model-{number}": {"provider": "sim"} for number in range(1_000)},
        "users": {"tester": {"subscription": "all", "keys": [{"key": KEY, "name": "test"}, *keys]}},
    }
    first = await launch(changes=many)
    first.signal(signal.SIGTERM)
    await first.ended()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    again = await launch("--addr", f"127.0.0.1:{port}", changes=many, wait=False)
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with asyncio.timeout(10):
        while True:
            try:
                await whole(client, url, chat("sim-1-0"))
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)
    # A machine that is busy with other things gives its time late, so what was used of it counts.
    assert again.processor_seconds() < 1
    assert time.monotonic() - begun < 10
    assert again.resident() < 90_000_000


async def test_memory_at_rest_is_small(launch: Launch, client: aiohttp.ClientSession) -> None:
    gateway = await launch()
    await whole(client, f"{gateway.base}/v1/chat/completions", chat("fast"))
    assert gateway.resident() < 70_000_000


async def test_the_demo_serves_without_a_question(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "demo",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env=clean_environment(tmp_path),
    )
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(15):
        while "Stop with Ctrl-C." not in said:
            said += (await process.stdout.readline()).decode()
    assert (tmp_path / "data/demo.key").stat().st_mode & 0o777 == 0o600
    commands = [block for block in said.split("\n\n") if block.lstrip().startswith("curl")]
    assert len(commands) == 3

    async def paste(command: str) -> bytes:
        shell = await asyncio.create_subprocess_shell(
            command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        out, _ = await shell.communicate()
        assert shell.returncode == 0
        return out

    answers = await asyncio.gather(*map(paste, commands))
    assert all(b"data: {" in answer for answer in answers)
    process.terminate()
    _, logged = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in logged
