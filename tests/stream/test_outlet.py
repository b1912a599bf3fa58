from __future__ import annotations

import asyncio

import pytest

from apipod_proxy.errors import UpstreamBroken
from apipod_proxy.stream import outlet as outlet_module
from apipod_proxy.stream.outlet import Outlet, Pinger
from tests.stream.build import Call, Client, Frames

PING = 0.05


def make(client: Client, ping: float = 0.0, frames: Frames | None = None) -> Outlet:
    loop = asyncio.get_running_loop()
    return Outlet(client, frames or Frames(), Pinger(ping, loop), loop)


async def test_the_head_goes_out_with_the_first_events() -> None:
    client = Client()
    outlet = make(client)
    assert not client.begun
    outlet.write(b"one")
    outlet.write(b"two")
    outlet.finish()
    assert (client.begun, client.written, client.ended, outlet.sent) == (True, [b"one", b"two"], 1, 6)


async def test_an_answer_without_events_has_a_head_too() -> None:
    client = Client()
    make(client).finish()
    assert (client.begun, client.ended) == (True, 1)


async def test_only_the_first_to_claim_it_answers() -> None:
    outlet = make(Client())
    told: list[object] = []
    outlet.on_claim = told.append
    assert outlet.claim("a", None)
    assert not outlet.claim("b", None)
    assert outlet.claim("a", None)
    assert told == ["a"]


async def test_an_error_ends_an_answer_once_and_not_a_whole_one() -> None:
    client = Client()
    outlet = make(client)
    outlet.write(b"one")
    outlet.fail(UpstreamBroken("cut"))
    outlet.fail(UpstreamBroken("cut"))
    assert client.written == [b"one", b"error: The provider's answer broke off before it was complete."]
    assert client.ended == 1


async def test_a_slow_client_slows_its_source_until_it_has_taken_everything() -> None:
    client, call = Client(), Call()
    outlet = make(client)
    outlet.claim("pump", call)
    client.slow = True
    outlet.write(b"one")
    outlet.write(b"two")
    assert (call.paused, call.resumed) == (1, 0)
    await asyncio.sleep(0)
    client.room.set_result(None)
    await asyncio.sleep(0.01)
    assert call.resumed == 1
    outlet.close()


async def test_a_client_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "DROP_SECONDS", 0.02)
    client, call = Client(), Call()
    outlet = make(client)
    outlet.claim("pump", call)
    client.slow = True
    outlet.write(b"one")
    await asyncio.sleep(0.05)
    assert client.aborted
    assert call.resumed == 0
    outlet.close()


async def test_a_client_that_left_while_it_was_slow_leaves_nothing_running() -> None:
    client, call = Client(), Call()
    outlet = make(client)
    outlet.claim("pump", call)
    client.slow = True
    outlet.write(b"one")
    await asyncio.sleep(0)
    client.room.set_exception(ConnectionResetError())
    await asyncio.sleep(0.01)
    assert (client.aborted, call.resumed) == (False, 0)
    outlet.close()


async def test_a_slow_client_before_anybody_answers_is_waited_for_alone() -> None:
    client = Client()
    outlet = make(client)
    client.slow = True
    outlet.write(b"one")
    await asyncio.sleep(0)
    client.room.set_result(None)
    await asyncio.sleep(0.01)
    outlet.close()
    assert not client.aborted


async def test_pings_fill_silence_and_nothing_else() -> None:
    client = Client()
    outlet = make(client, PING)
    await asyncio.sleep(PING * 0.6)
    outlet.write(b"one")
    await asyncio.sleep(PING * 0.6)
    assert client.written == [b"one"]
    await asyncio.sleep(PING * 2)
    outlet.finish()
    assert client.written[1:] == [b"ping"] * (len(client.written) - 1)
    assert 1 <= len(client.written) - 1 <= 3
    seen = len(client.written)
    await asyncio.sleep(PING * 1.5)
    assert len(client.written) == seen


async def test_a_client_whose_buffer_is_full_is_not_pinged() -> None:
    client = Client()
    outlet = make(client, PING)
    client.paused = True
    await asyncio.sleep(PING * 2.5)
    assert client.written == []
    outlet.close()


async def test_a_dialect_without_pings_gets_none() -> None:
    client = Client()
    outlet = make(client, PING, Frames(b""))
    await asyncio.sleep(PING * 2.5)
    assert client.written == []
    outlet.close()


async def test_after_a_ping_the_head_is_not_sent_again() -> None:
    client = Client()
    outlet = make(client, PING)
    await asyncio.sleep(PING * 1.5)
    assert client.written == [b"ping"]
    client.written.clear()
    outlet.write(b"one")
    outlet.finish()
    assert (client.written, client.ended) == ([b"one"], 1)
