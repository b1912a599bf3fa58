"""Strategies as clients meet them, and conversations that stay with their account."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.fakes.server import Do, ScriptedServer
from tests.gateway.conftest import (
    Body,
    Rig,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    message,
    refuses,
)


def pool(server: ScriptedServer, accounts: int = 4, **more: Any) -> Body:
    names = [{"name": f"a{n}", "api_key": f"key-{n}", "limits": {"concurrency": 5}} for n in range(accounts)]
    config = catalog(server, accounts=names, **more)
    config["subscriptions"]["s"]["routes"]["x"]["strategy"] = "weighted"
    return config


def turns(user: str, count: int) -> list[dict[str, str]]:
    """A conversation of so many answered turns, and a question."""
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": user}]
    for n in range(count):
        told += [{"role": "assistant", "content": f"answer {n}"}, {"role": "user", "content": f"more {n}"}]
    return told


async def accounts_of(rig: Rig, count: int) -> list[str]:
    return [str(row["account"]) for row in await rig.rows(count)]


async def test_a_conversation_stays_with_its_account_turn_after_turn(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(pool(await upstream(answers())))
    asked: dict[str, int] = {}
    for n in range(6):
        for turn in (1, 2, 3):
            answer, _ = await rig.ask(chat(messages=turns(f"conversation {n}", turn)))
            asked[answer.headers["x-request-id"]] = n
    used = {(asked[row["request_id"]], row["account"]) for row in await rig.rows(18)}
    assert len(used) == 6
    assert len({account for _, account in used}) > 1


async def test_the_dialect_makes_no_difference_to_a_conversation_and_cache_marks_neither(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(pool(await upstream(answers())))
    for mark in (None, {"type": "ephemeral"}):
        for turn in (1, 2):
            told: list[dict[str, Any]] = turns("a long story", turn)[1:]
            block: dict[str, Any] = {"type": "text", "text": "a long story"}
            if mark is not None and turn == 2:
                block["cache_control"] = mark
            told[0] = {"role": "user", "content": [block]}
            answer, _ = await rig.ask(message(messages=told), "/v1/messages")
            assert answer.status == 200
    assert len(set(await accounts_of(rig, 4))) == 1


async def test_first_turns_are_spread_over_the_accounts(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(pool(await upstream(answers())))
    for _ in range(40):
        await rig.ask(chat())
    used = Counter(await accounts_of(rig, 40))
    assert set(used) == {"a0", "a1", "a2", "a3"}


async def test_a_conversation_moves_on_when_its_account_fails_or_is_full(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(pool(await upstream(answers(), answers())))
    conversation = chat(messages=turns("a long story", 1))
    await rig.ask(conversation)
    (home,) = await accounts_of(rig, 1)
    health = rig.server.upstream_health
    snapshot = rig.server.gateway.serving.snapshot
    account = next(one for one in snapshot.providers["p0"].accounts if one.name == home)
    gauge = vars(rig.server.limits)["_cells"]["account", account.id, "concurrency"]
    gauge.used += 5
    await rig.ask(conversation)
    gauge.used -= 5
    await rig.ask(conversation)
    used = await accounts_of(rig, 3)
    assert used[0] == used[2] == home
    assert used[1] != home
    assert health.degraded(0) == []


async def test_the_cheapest_that_can_serve_is_asked(serve: Serve, upstream: Upstreams) -> None:
    servers = [await upstream(answers()) for _ in range(3)]
    config = catalog(*servers, route={"strategy": "cost"})
    for n, (price, able) in enumerate(
        [({"input": 5, "output": 9}, True), ({"input": 1, "output": 2}, False)]
    ):
        config["models"][f"m{n}"]["price"] = price
        if not able:
            config["models"][f"m{n}"]["capabilities"] = []
    del config["models"]["m2"]["price"]
    rig = await serve(config)
    answer, _ = await rig.ask(chat())
    assert answer.headers["x-apipod-model"] == "m1"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    answer, _ = await rig.ask(chat(tools=tools))
    assert answer.headers["x-apipod-model"] == "m0"


async def test_size_decides_what_is_cheapest(serve: Serve, upstream: Upstreams) -> None:
    config = catalog(await upstream(answers()), await upstream(answers()), route={"strategy": "cost"})
    config["models"]["m0"]["price"] = {"input": 1, "output": 20}
    config["models"]["m1"]["price"] = {"input": 2, "output": 2}
    rig = await serve(config)
    answer, _ = await rig.ask(chat(max_tokens=10, messages=[{"role": "user", "content": "word " * 4000}]))
    assert answer.headers["x-apipod-model"] == "m0"
    answer, _ = await rig.ask(chat(max_tokens=1000))
    assert answer.headers["x-apipod-model"] == "m1"


async def test_the_fastest_is_asked_once_it_is_known(serve: Serve, upstream: Upstreams) -> None:
    def streamed(seconds: float) -> list[Any]:
        body = b'data: {"id":"c","model":"up","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body)
        return [Do.REQUEST, seconds, head + body, Do.AGAIN]

    slow, fast = await upstream(streamed(0.05)), await upstream(streamed(0.0))
    rig = await serve(catalog(slow, fast, route={"strategy": "latency"}))
    for _ in range(60):
        answer, _ = await rig.ask(chat(True))
        assert answer.status == 200
    used = Counter(str(row["routed_model"]) for row in await rig.rows(60))
    # One request in twenty explores.
    assert used["m1"] >= 48


async def test_errors_weigh_in_the_choice_of_the_fastest(serve: Serve, upstream: Upstreams) -> None:
    failing, good = await upstream(refuses(500)), await upstream(answers())
    config = catalog(failing, good, route={"strategy": "latency"}, breaker={"failures": 1000, "open": 30})
    rig = await serve(config)
    for _ in range(9):
        answer, _ = await rig.ask(chat())
        assert answer.status == 200
    assert failing.received.count(b"POST ") <= 6
