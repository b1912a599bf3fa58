"""Routes with ``hedge``: a late request asks a second candidate, one answer reaches the client, and the loser is cut off."""

from __future__ import annotations

import asyncio
import time

import pytest

from apipod_proxy.errors import Kind, ProxyError, UpstreamStatus
from apipod_proxy.gateway import Ask
from apipod_proxy.hedging import Race, _outcome
from apipod_proxy.route.hedge import ENOUGH, MOST_EXTRA
from tests.fakes.server import Do, Script, ScriptedServer
from tests.gateway.conftest import (
    DONE,
    END,
    HELLO,
    JSON,
    Body,
    Rig,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    chunk,
    head,
    piece,
    refuses,
    streams,
    texts,
    until,
    whole,
)


def hedging(first: ScriptedServer, second: ScriptedServer) -> Body:
    return catalog(first, second, route={"hedge": True})


async def known(rig: Rig, seconds: float = 0.05) -> None:
    """A route of which enough is known: its requests have their content after ``seconds``, and it has earned a few hedges."""
    for _ in range(2 * ENOUGH):
        rig.server.gateway.hedges.observe("s x", seconds)
    for _ in range(5 * round(1 / MOST_EXTRA)):
        rig.server.gateway.hedges.delay("s x")


LATE: dict[bool, Script] = {
    True: [Do.REQUEST, head(), piece(chunk()), 1.0, *(piece(one) for one in HELLO[1:]), END],
    False: [Do.REQUEST, head(headers=JSON), 1.0, piece(whole("late")), END],
}
GOOD: dict[bool, Script] = {True: streams(*HELLO), False: answers()}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_late_request_is_answered_by_a_second_candidate_and_the_first_is_cut_off(
    serve: Serve, upstream: Upstreams, stream: bool
) -> None:
    slow, fast = await upstream(LATE[stream]), await upstream(GOOD[stream])
    rig = await serve(hedging(slow, fast))
    await known(rig)
    begun = time.monotonic()
    answer, body = await rig.ask(chat(stream))
    assert 0.05 <= time.monotonic() - begun < 0.9
    assert answer.headers["x-apipod-model"] == "m1"
    assert answer.headers["x-apipod-attempts"] == "2"
    if stream:
        assert texts(body) == "Hello"
        assert body.endswith(DONE)
    else:
        assert body == whole().replace(b'"up"', b'"x"')
    await slow.peers[0].closed(0.5)
    row = await rig.row()
    assert (row["outcome"], row["routed_model"], row["input_tokens"], row["output_tokens"]) == (
        "ok",
        "m1",
        7,
        3,
    )
    # The loser comes first, and what it used is told, but is none of the caller's charge.
    assert [attempt["outcome"] for attempt in row["attempts"]] == ["outrun", "ok"]
    assert row["attempts"][0]["usage"]["input"] > 0
    assert row["cost_nano"] == 7 * 1000 + 3 * 2000
    await until(lambda: set(rig.gauges().values()) == {0})


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_request_that_is_in_time_asks_nobody_else(
    serve: Serve, upstream: Upstreams, stream: bool
) -> None:
    fast, other = await upstream(GOOD[stream]), await upstream(GOOD[stream])
    rig = await serve(hedging(fast, other))
    await known(rig, 0.2)
    for _ in range(5):
        answer, _ = await rig.ask(chat(stream))
        assert answer.headers["x-apipod-model"] == "m0"
    assert not other.peers
    assert [len(row["attempts"]) for row in await rig.rows(5)] == [1] * 5


async def test_the_first_may_still_win(serve: Serve, upstream: Upstreams) -> None:
    first = await upstream([Do.REQUEST, head(), 0.2, *(piece(one) for one in HELLO), END])
    second = await upstream([Do.REQUEST, Do.STALL])
    rig = await serve(hedging(first, second))
    await known(rig)
    answer, body = await rig.ask(chat(True))
    assert answer.headers["x-apipod-model"] == "m0"
    assert texts(body) == "Hello"
    await second.peers[0].closed(0.5)
    row = await rig.row()
    assert [(one["model"], one["outcome"]) for one in row["attempts"]] == [("m1", "outrun"), ("m0", "ok")]


async def test_the_loser_is_cut_off_when_content_comes_and_not_when_the_stream_ends(
    serve: Serve, upstream: Upstreams
) -> None:
    slow = await upstream([Do.REQUEST, Do.STALL])
    long = await upstream([Do.REQUEST, head(), piece(HELLO[1]), 0.6, piece(HELLO[2] + HELLO[3] + DONE), END])
    rig = await serve(hedging(slow, long))
    await known(rig)
    async with rig.post(chat(True)) as answer:
        await answer.content.readline()
        await slow.peers[0].closed(0.5)
        assert texts(HELLO[1] + await answer.read()) == "Hello"


async def test_a_first_that_fails_while_the_second_is_asked_is_a_failover(
    serve: Serve, upstream: Upstreams
) -> None:
    failing = await upstream([Do.REQUEST, 0.15, *refuses(500)[1:]])
    slower = await upstream([Do.REQUEST, 0.3, *streams(*HELLO)[1:-1]])
    rig = await serve(hedging(failing, slower))
    await known(rig)
    _, body = await rig.ask(chat(True))
    assert texts(body) == "Hello"
    row = await rig.row()
    assert [one["outcome"] for one in row["attempts"]] == ["status 500", "ok"]


async def test_when_both_fail_the_next_one_is_asked(serve: Serve, upstream: Upstreams) -> None:
    failing = [Do.REQUEST, 0.15, *refuses(500)[1:]]
    config = catalog(
        await upstream(failing), await upstream(failing), await upstream(answers()), route={"hedge": True}
    )
    rig = await serve(config)
    await known(rig)
    answer, _ = await rig.ask(chat())
    assert answer.status == 200
    assert [one["outcome"] for one in (await rig.row())["attempts"]] == ["status 500", "status 500", "ok"]


async def test_a_rejected_request_stops_the_other_attempt(serve: Serve, upstream: Upstreams) -> None:
    rejecting = await upstream([Do.REQUEST, 0.15, *refuses(400, type="invalid_request_error")[1:]])
    other = await upstream([Do.REQUEST, Do.STALL])
    rig = await serve(hedging(rejecting, other))
    await known(rig)
    answer, _ = await rig.ask(chat())
    assert answer.status == 400
    await other.peers[0].closed(0.5)
    row = await rig.row()
    assert (row["outcome"], row["output_tokens"]) == ("failed", 0)
    await until(lambda: set(rig.gauges().values()) == {0})


async def test_a_client_that_leaves_ends_both_attempts(serve: Serve, upstream: Upstreams) -> None:
    silent = [Do.REQUEST, Do.STALL]
    servers = [await upstream(silent), await upstream(silent)]
    rig = await serve(hedging(*servers))
    await known(rig)
    asked = asyncio.create_task(rig.ask(chat(True)))
    await until(lambda: all(server.received for server in servers))
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    for server in servers:
        await server.peers[0].closed(0.5)
    row = await rig.row()
    assert row["outcome"] == "cancelled"
    assert [one["outcome"] for one in row["attempts"]] == ["cancelled", "cancelled"]
    await until(lambda: set(rig.gauges().values()) == {0})


async def test_extra_requests_stay_within_their_share(serve: Serve, upstream: Upstreams) -> None:
    slow = await upstream([Do.REQUEST, 0.4, *answers()[1:]])
    other = await upstream([Do.REQUEST, 0.6, *answers()[1:]])
    rig = await serve(hedging(slow, other))
    for _ in range(ENOUGH):
        rig.server.gateway.hedges.observe("s x", 0.01)
    asked = 0
    for _ in range(3):
        # What is known of the route would be outdated by its slowness otherwise.
        for _ in range(200):
            rig.server.gateway.hedges.observe("s x", 0.01)
        await asyncio.gather(*(rig.ask(chat()) for _ in range(30)))
        asked += 30
    extra = other.received.count(b"POST ")
    assert extra <= asked * MOST_EXTRA
    assert extra >= 1


async def test_a_route_whose_requests_may_wait_can_hedge_too(serve: Serve, upstream: Upstreams) -> None:
    slow, fast = await upstream(LATE[True]), await upstream(GOOD[True])
    rig = await serve(catalog(slow, fast, route={"hedge": True, "max_wait": 5}))
    await known(rig)
    answer, body = await rig.ask(chat(True))
    assert texts(body) == "Hello"
    assert answer.headers["x-apipod-model"] == "m1"
    assert [attempt["outcome"] for attempt in (await rig.row())["attempts"]] == ["outrun", "ok"]


async def test_without_a_second_candidate_the_first_is_waited_for(serve: Serve, upstream: Upstreams) -> None:
    slow = await upstream([Do.REQUEST, 0.2, *answers()[1:]])
    rig = await serve(catalog(slow, route={"hedge": True}))
    await known(rig)
    answer, _ = await rig.ask(chat())
    assert (answer.status, answer.headers["x-apipod-attempts"]) == (200, "1")
    assert slow.received.count(b"POST ") == 1


async def test_a_route_learns_when_it_is_late(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(hedging(await upstream(GOOD[True]), await upstream(GOOD[True])))
    for _ in range(ENOUGH):
        await rig.ask(chat(True))
    delay = rig.server.gateway.hedges.delay("s x")
    assert delay is not None
    assert delay < 1


async def test_an_answer_counts_before_a_rejection_of_the_same_moment(
    serve: Serve, upstream: Upstreams
) -> None:
    server = await upstream(answers())
    rig = await serve(hedging(server, server))
    gateway, loop = rig.server.gateway, asyncio.get_running_loop()
    first, second = (pair.candidate for pair in gateway.serving.routes.resolve("s", "x").pairs)
    ask = Ask(None, None, None, None, None)  # type: ignore[arg-type]
    rejected = UpstreamStatus(400, kind=Kind.INVALID_REQUEST, final=True)

    async def ending(error: ProxyError | None) -> ProxyError | None:
        return error

    # Which of two that are done comes first is a matter of their addresses.
    for _ in range(20):
        running = {loop.create_task(ending(rejected)): second, loop.create_task(ending(None)): first}
        await asyncio.wait(running)
        ended = await _outcome(gateway, Race(gateway, ask), running, first)
        assert (ended.failed, ended.candidate) == (None, first)


async def test_a_route_of_the_same_name_in_another_subscription_has_its_own_times(
    serve: Serve, upstream: Upstreams
) -> None:
    slow, fast = await upstream(LATE[False]), await upstream(GOOD[False])
    config = hedging(slow, fast)
    config["subscriptions"]["t"] = config["subscriptions"]["s"]
    config["users"]["u"]["subscription"] = "t"
    rig = await serve(config)
    await known(rig)
    answer, _ = await rig.ask(chat())
    # Nothing is known of this one, so nobody else is asked.
    assert (answer.headers["x-apipod-model"], answer.headers["x-apipod-attempts"]) == ("m0", "1")
