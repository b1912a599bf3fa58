from __future__ import annotations

import asyncio

from apipod_proxy.errors import Unreachable
from apipod_proxy.upstream.call import Call
from apipod_proxy.upstream.endpoint import Endpoint
from tests.fakes.server import Do, ScriptedServer, answer
from tests.upstream.recorder import Recorder, open_pool, request


async def test_a_call_says_where_it_is_and_whether_anything_was_sent() -> None:
    async with ScriptedServer((Do.REQUEST, 0.02, answer())) as server, open_pool() as pool:
        endpoint = Endpoint.of_url(server.url, max_connections=1)
        first = request(pool, endpoint, recorder := Recorder())
        second = request(pool, endpoint, Recorder())
        assert (repr(first), first.sent, first.done) == ("<Call connecting>", False, False)
        assert (repr(second), second.sent, second.done) == ("<Call queued>", False, False)
        await server.arrived.wait()
        while not first.sent:
            await asyncio.sleep(0.001)
        first.pause()
        assert repr(first) == "<Call <Connection awaiting the head, 0 served> paused>"
        first.resume()
        second.abort()
        await recorder.finished()
        assert (repr(first), first.sent, first.done) == ("<Call over>", True, True)
        assert (repr(second), second.sent, second.done) == ("<Call over>", False, True)


async def test_a_failure_is_told_once_with_its_cause() -> None:
    async with ScriptedServer((Do.STALL,)) as server, open_pool() as pool:
        call: Call = request(pool, Endpoint.of_url(server.url), recorder := Recorder())
        cause = OSError("why")
        call.abort()
        call.fail(Unreachable("connect"), cause)
        assert recorder.silent
        other: Call = request(pool, Endpoint.of_url(server.url), recorder)
        other.lane.forsake(other)
        other.fail(Unreachable("connect"), cause)
        other.fail(Unreachable("dns"))
        assert isinstance(recorder.error, Unreachable) and recorder.error.stage == "connect"
        assert recorder.error.__cause__ is cause
