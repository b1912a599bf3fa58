"""The catalog changes while requests run: what is new holds for everybody at once, whoever still comes from the old one."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from apipod_proxy.preparation import apply_config
from tests.fakes.server import Script, Step
from tests.gateway.conftest import (
    HELLO,
    Body,
    Rig,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    refuses,
    streams,
    until,
)

ONE = {"rpm": {"limit": 2, "burst": 1}}


def slow(*script: Step) -> Script:
    """``script``, of which the answer comes after a while."""
    return [script[0], 0.2, *script[1:]]


async def change(rig: Rig, config: Body) -> None:
    """Have the running server serve ``config``."""
    path = rig.server.settings.data_dir / "changed.yaml"
    await asyncio.to_thread(path.write_bytes, orjson.dumps(config))
    await apply_config(rig.server.store, rig.server.vault, path)
    await rig.server.watcher.refresh()


async def admitted(rig: Rig, times: int) -> list[int]:
    return [(await rig.ask(chat()))[0].status for _ in range(times)]


@pytest.mark.parametrize("scope", ["provider", "model", "key", "user", "subscription"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_new_limit_holds_though_an_old_request_was_answered_first(
    serve: Serve, upstream: Upstreams, scope: str, stream: bool
) -> None:
    script = streams(*HELLO) if stream else answers()
    server = await upstream(slow(*script), answers())
    config = catalog(server)
    rig = await serve(config)
    running = asyncio.create_task(rig.ask(chat(stream)))
    await until(lambda: server.received)
    user = config["users"]["u"]
    {
        "provider": config["providers"]["p0"],
        "model": config["models"]["m0"],
        "key": user["keys"][0],
        "user": user,
        "subscription": config["subscriptions"]["s"],
    }[scope]["limits"] = ONE
    await change(rig, config)
    answer, _ = await running
    assert answer.status == 200
    assert await admitted(rig, 3) == [200, 429, 429]


async def test_a_request_that_moves_on_keeps_to_the_new_limit(serve: Serve, upstream: Upstreams) -> None:
    first, second = await upstream(slow(*refuses(500)), answers()), await upstream(answers())
    config = catalog(first, second)
    rig = await serve(config)
    running = asyncio.create_task(rig.ask(chat()))
    await until(lambda: first.received)
    config["models"]["m1"]["limits"] = ONE
    config["subscriptions"]["s"]["routes"]["y"] = {"targets": [{"model": "m1"}]}
    await change(rig, config)
    assert (await rig.ask(chat(model="y")))[0].status == 200
    answer, _ = await running
    assert answer.status == 502
    assert (await rig.ask(chat(model="y")))[0].status == 429


async def test_a_key_that_is_narrowed_while_its_request_is_read_stays_narrowed(
    serve: Serve, upstream: Upstreams
) -> None:
    config = catalog(await upstream(answers()))
    rig = await serve(config)
    body = orjson.dumps(chat())
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    key = config["users"]["u"]["keys"][0]
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key['key']}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body[:-1])
    await until(lambda: rig.server.front.busy)
    key["allowed_models"] = ["other"]
    await change(rig, config)
    writer.write(body[-1:])
    await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert (await rig.ask(chat()))[0].status == 403


async def test_what_is_gone_from_the_catalog_is_no_trouble_any_more(
    serve: Serve, upstream: Upstreams
) -> None:
    bad, good = await upstream(refuses(500)), await upstream(answers())
    config = catalog(bad, good, breaker={"failures": 1, "open": 30})
    rig = await serve(config)
    assert (await rig.ask(chat()))[0].status == 200
    health = rig.server.upstream_health
    now = asyncio.get_running_loop().time
    assert health.degraded(now())
    del config["providers"]["p0"], config["models"]["m0"]
    config["subscriptions"]["s"]["routes"]["x"]["targets"].pop(0)
    await change(rig, config)
    assert not health.degraded(now())
    assert health.breakers(now())["open"] == 0


async def test_what_fails_after_it_is_gone_is_no_trouble_either(serve: Serve, upstream: Upstreams) -> None:
    server = await upstream(slow(*refuses(500)))
    config = catalog(server, breaker={"failures": 1, "open": 30})
    rig = await serve(config)
    running = asyncio.create_task(rig.ask(chat()))
    await until(lambda: server.received)
    config["providers"]["p0"]["accounts"] = [{"name": "other", "api_key": "k"}]
    del config["providers"]["p0"]["api_key"]
    await change(rig, config)
    assert (await running)[0].status == 502
    assert not rig.server.upstream_health.degraded(asyncio.get_running_loop().time())
