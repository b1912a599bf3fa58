"""Every behaviour of the table, met by this program's client and by aiohttp's."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from apipod_proxy.catalog.model import Timeouts
from apipod_proxy.upstream.endpoint import Endpoint
from tests.fakes.server import Do, ScriptedServer, answer
from tests.upstream.hostile import CASES, FAILED, Answer, Case, Failed
from tests.upstream.recorder import Recorder, ask, open_pool

SHORT = Timeouts(connect=1.0, first_byte=0.25, idle=0.15)
GOOD = (Do.REQUEST, answer(b"good"), Do.AGAIN)


def outcome(recorder: Recorder) -> Answer | type[Exception]:
    if recorder.error is not None:
        return type(recorder.error)
    assert recorder.ended and recorder.status is not None
    return Answer(recorder.status, recorder.content)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_hostile_server_has_the_stated_outcome(case: Case) -> None:
    loop = asyncio.get_running_loop()
    async with ScriptedServer(case.script, GOOD) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url)
        began = loop.time()
        first = await ask(pool, endpoint, method=case.method.encode(), timeouts=SHORT)
        assert outcome(first) == case.ours
        assert loop.time() - began < 0.8, "longer than any of the timeouts"
        assert pool.open == pool.idle
        second = await ask(pool, endpoint, method=case.method.encode(), timeouts=SHORT)
        assert len(server.peers) == (1 if case.kept else 2)
        assert outcome(second) == (
            case.ours if case.kept else Answer(200, b"" if case.method == "HEAD" else b"good")
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_aiohttp_has_the_outcome_that_the_table_says(case: Case) -> None:
    assert (case.theirs is None) == (not case.why)
    async with ScriptedServer(case.script, GOOD) as server:
        assert await theirs(server.url, case.method) == case.expected_of_aiohttp


async def theirs(url: str, method: str) -> Answer | Failed:
    timeouts = aiohttp.ClientTimeout(total=0.5, sock_connect=SHORT.connect, sock_read=SHORT.idle)
    async with aiohttp.ClientSession(timeout=timeouts) as session:
        try:
            async with session.request(method, f"{url}/v1/x", data=b"{}") as response:
                return Answer(response.status, await response.read())
        except (TimeoutError, aiohttp.ClientError):
            return FAILED


def test_the_table_holds_many_behaviours_each_once() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 40
