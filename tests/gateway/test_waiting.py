"""Routes with ``max_wait``: a request that finds no room waits for some instead of being refused."""

from __future__ import annotations

import asyncio
import time

import orjson

from tests.fakes.server import Do
from tests.gateway.conftest import (
    ADMIN,
    Body,
    Rig,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    refuses,
    until,
    whole,
)


def limited(url: object, max_wait: float, limits: Body, *more: object) -> Body:
    config = catalog(url, *more, route={"max_wait": max_wait})  # type: ignore[arg-type]
    config["models"]["m0"]["limits"] = limits
    return config


SLOW = [Do.REQUEST, 0.1, answers()[1], Do.AGAIN]


async def test_a_request_waits_for_room_and_is_served(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(limited(await upstream(SLOW), 5, {"concurrency": 2}))
    begun = time.monotonic()
    served = await asyncio.gather(*(rig.ask(chat()) for _ in range(10)))
    assert [answer.status for answer, _ in served] == [200] * 10
    assert 0.45 < time.monotonic() - begun < 1.2
    assert {row["outcome"] for row in await rig.rows(10)} == {"ok"}
    await until(lambda: set(rig.gauges().values()) == {0})


async def test_whose_time_is_up_is_refused_with_the_limit_that_it_waited_for(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(limited(await upstream([Do.REQUEST, Do.STALL]), 0.2, {"concurrency": 1}))
    first = asyncio.create_task(rig.ask(chat()))
    await until(lambda: rig.gauges().get(("model", "m0")) == 1)
    begun = time.monotonic()
    answer, body = await rig.ask(chat())
    assert 0.15 < time.monotonic() - begun < 1.5
    assert answer.status == 429
    assert answer.headers["retry-after"] == "1"
    assert "concurrency limit of 1 of the model" in orjson.loads(body)["error"]["message"]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await until(lambda: set(rig.gauges().values()) == {0})


async def test_who_would_wait_too_long_for_certain_is_refused_at_once(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(limited(await upstream(answers()), 5, {"rpm": 1}))
    await rig.ask(chat())
    begun = time.monotonic()
    answer, _ = await rig.ask(chat())
    assert time.monotonic() - begun < 1.0
    assert answer.status == 429
    assert 55 <= int(answer.headers["retry-after"]) <= 60


async def finish(rig: Rig, name: str, key: str, order: list[str]) -> None:
    async with rig.post(chat(), authorization=f"Bearer {key}") as answer:
        await answer.read()
        assert answer.status == 200
    order.append(name)


async def test_the_keys_take_turns(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(limited(await upstream(SLOW), 10, {"concurrency": 1}))
    order: list[str] = []
    waiting = [
        asyncio.create_task(finish(rig, "many", "sk-gateway-test-0123456789", order)) for _ in range(6)
    ]
    await until(lambda: rig.server.limits.waiting("s x") == 5)
    waiting.append(asyncio.create_task(finish(rig, "one", ADMIN, order)))
    await asyncio.gather(*waiting)
    # The one request of the other key does not stand behind the five that came before it.
    assert order.index("one") <= 3


async def test_a_client_that_leaves_the_line_leaves_nothing_behind(serve: Serve, upstream: Upstreams) -> None:
    server = await upstream(SLOW)
    rig = await serve(limited(server, 10, {"concurrency": 1}))
    first = asyncio.create_task(rig.ask(chat()))
    await until(lambda: rig.gauges().get(("model", "m0")) == 1)
    leaving = [asyncio.create_task(rig.ask(chat())) for _ in range(5)]
    await until(lambda: rig.server.limits.waiting("s x") == 5)
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await until(lambda: rig.server.limits.waiting("s x") == 0)
    answer, _ = await first
    assert answer.status == 200
    rows = await rig.rows(6)
    assert sorted(row["outcome"] for row in rows) == ["cancelled"] * 5 + ["ok"]
    assert server.received.count(b"POST ") == 1
    await until(lambda: set(rig.gauges().values()) == {0})


async def test_a_candidate_that_fails_after_the_wait_has_a_successor(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(limited(await upstream(refuses(500)), 5, {"rpm": 600}, await upstream(answers())))
    answer, body = await rig.ask(chat())
    assert answer.status == 200
    assert body == whole().replace(b'"up"', b'"x"')
    assert answer.headers["x-apipod-attempts"] == "2"


async def test_a_caller_without_room_does_not_wait(serve: Serve, upstream: Upstreams) -> None:
    config = limited(await upstream(answers()), 5, {"concurrency": 1})
    config["users"]["u"]["keys"][0]["limits"] = {"rpm": 1}
    rig = await serve(config)
    await rig.ask(chat())
    begun = time.monotonic()
    answer, body = await rig.ask(chat())
    assert time.monotonic() - begun < 1.0
    assert answer.status == 429
    assert "of the key" in orjson.loads(body)["error"]["message"]
