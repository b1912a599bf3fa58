from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp

from tests.commands.conftest import Run
from tests.serve.conftest import COMMAND, clean_environment


async def test_the_simulator_runs_alone(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "simulate",
        "--addr",
        "127.0.0.1:0",
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment(tmp_path),
    )
    assert process.stdout is not None
    async with asyncio.timeout(10):
        url = (await process.stdout.readline()).decode().split()[-1]
    async with aiohttp.ClientSession() as client, client.get(f"{url}/stats") as answer:
        assert (await answer.json())["open_streams"] == 0
    process.terminate()
    assert await process.wait() == 0


def test_an_address_that_is_taken_is_one_line(run: Run) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        ran = run("simulate", "--addr", f"127.0.0.1:{holder.getsockname()[1]}")
    assert ran.code == 1
    assert ran.err.endswith(" is taken by another program; choose another address with --addr\n")
    assert len(ran.err.splitlines()) == 1


def test_an_address_of_another_machine_is_one_line(run: Run) -> None:
    ran = run("simulate", "--addr", "192.0.2.1:80")
    assert (ran.code, ran.err) == (
        1,
        "apipod-proxy: 192.0.2.1:80 cannot be listened on: Cannot assign requested address\n",
    )


def test_a_wrong_address_says_what_is_allowed(run: Run) -> None:
    ran = run("simulate", "--addr", "nonsense")
    assert ran.code == 1
    assert "allowed: HOST:PORT" in ran.err
