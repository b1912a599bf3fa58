"""Active probes: off unless asked for, and a recovery is noticed without a request that has to risk it."""

from __future__ import annotations

import asyncio

import orjson

from tests.fakes.server import Do, Script, Step
from tests.gateway.conftest import (
    Body,
    Rig,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    refuses,
    until,
)

BREAKER = {"failures": 2, "open": 0.2}


def failing_first(status: int, times: int) -> Script:
    """So many refusals, then answers."""
    steps: list[Step] = []
    for _ in range(times):
        steps += refuses(status)[:2]
    for _ in range(20):
        steps += answers()[:2]
    return [*steps, Do.STALL]


async def rig_with(serve: Serve, config: Body) -> Rig:
    rig = await serve(config)
    rig.server.prober._look_seconds = 0.05
    return rig


def states(rig: Rig) -> list[object]:
    rows = rig.server.upstream_health.status(asyncio.get_running_loop().time())
    return [row["state"] for row in rows]


async def test_an_open_breaker_is_closed_by_a_probe(serve: Serve, upstream: Upstreams) -> None:
    flaky, good = await upstream(failing_first(500, 3)), await upstream(answers())
    rig = await rig_with(serve, catalog(flaky, good, breaker=BREAKER, options={"probe": "true"}))
    for _ in range(2):
        await rig.ask(chat())
    assert "open" in states(rig)
    # The first probe finds it as it was, the second one finds it well.
    await until(lambda: "open" not in states(rig) and "half_open" not in states(rig), 3)
    assert flaky.received.count(b"POST ") == 4
    probe = orjson.loads(flaky.received.rpartition(b"\r\n\r\n")[2])
    assert (probe["model"], probe["max_tokens"]) == ("up", 1)
    # Only what clients asked for is booked, and nothing is left taken.
    assert len(await rig.rows(2)) == 2
    assert set(rig.gauges().values()) == {0}
    answer, _ = await rig.ask(chat())
    assert answer.headers["x-apipod-model"] == "m0"


async def test_a_disabled_account_is_enabled_by_a_probe(serve: Serve, upstream: Upstreams) -> None:
    refused, good = await upstream(failing_first(401, 1)), await upstream(answers())
    rig = await rig_with(serve, catalog(refused, good, options={"probe": "true"}))
    await rig.ask(chat())
    assert "disabled" in states(rig)
    for entry in vars(rig.server.upstream_health)["_disabled"].values():
        entry.probe_at = 0.0
    await until(lambda: "disabled" not in states(rig), 3)
    assert refused.received.count(b"POST ") == 2


async def test_nobody_is_probed_unasked(serve: Serve, upstream: Upstreams) -> None:
    flaky, good = await upstream(refuses(500)), await upstream(answers())
    rig = await rig_with(serve, catalog(flaky, good, breaker=BREAKER))
    for _ in range(2):
        await rig.ask(chat())
    await asyncio.sleep(0.4)
    assert flaky.received.count(b"POST ") == 2
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "probes"]


async def test_a_probe_keeps_to_the_limits_of_its_account(serve: Serve, upstream: Upstreams) -> None:
    flaky, good = await upstream(failing_first(500, 2)), await upstream(answers())
    config = catalog(flaky, good, breaker=BREAKER, options={"probe": "true"})
    config["models"]["m0"]["limits"] = {"rpd": 2}
    rig = await rig_with(serve, config)
    for _ in range(2):
        await rig.ask(chat())
    await asyncio.sleep(0.5)
    assert flaky.received.count(b"POST ") == 2
