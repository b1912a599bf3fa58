from __future__ import annotations

import asyncio
import signal
import sys

import aiohttp

from apipod_proxy.simulator import start


async def test_two_simulators_run_beside_each_other() -> None:
    async with await start() as one, await start() as two:
        assert one.url != two.url
        async with aiohttp.ClientSession() as http:
            await (await http.get(f"{one.url}/v1/models")).read()
        assert (one.stats.requests, two.stats.requests) == (1, 0)
        assert one.requests[0].path == "/v1/models"


async def test_closing_cuts_what_is_open() -> None:
    simulator = await start()
    async with aiohttp.ClientSession() as http:
        body = {"model": "sim-1-0+stall=1", "messages": [{"role": "user", "content": "x"}], "stream": True}
        answer = await http.post(f"{simulator.url}/v1/chat/completions", json=body)
        async with asyncio.timeout(3):
            await simulator.close()
        answer.close()


async def test_the_command_serves_until_it_is_told_to_end() -> None:
    code = "from apipod_proxy.simulator import run; run('127.0.0.1:0')"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    url = line.removeprefix("simulator: listening on ").strip()
    async with aiohttp.ClientSession() as http, http.get(f"{url}/stats") as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
