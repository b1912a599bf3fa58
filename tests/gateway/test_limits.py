"""Limits as clients meet them: who is refused is told which limit it was, whose, and when to come again."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.gateway.conftest import ADMIN, Body, Serve, Upstreams, answers, catalog, chat, message, refuses

GEMINI = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
RESPONSE = {"model": "x", "input": "Hi"}

SURFACES: dict[str, tuple[str, Body]] = {
    "chat": ("/v1/chat/completions", chat()),
    "messages": ("/v1/messages", message()),
    "gemini": ("/v1beta/models/x:generateContent", GEMINI),
    "responses": ("/v1/responses", RESPONSE),
}

SCOPES: dict[str, Any] = {
    "proxy": lambda config, limits: config.update(limits=limits),
    "subscription": lambda config, limits: config["subscriptions"]["s"].update(limits=limits),
    "user": lambda config, limits: config["users"]["u"].update(limits=limits),
    "key": lambda config, limits: config["users"]["u"]["keys"][0].update(limits=limits),
    "provider": lambda config, limits: config["providers"]["p0"].update(limits=limits),
    "account": lambda config, limits: config["providers"]["p0"].update(
        accounts=[{"name": "a", "api_key": "k", "limits": limits}], api_key=None
    ),
    "model": lambda config, limits: config["models"]["m0"].update(limits=limits),
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("scope", SCOPES)
async def test_every_scope_refuses_on_every_surface_and_says_so(
    serve: Serve, upstream: Upstreams, scope: str, surface: str
) -> None:
    config = catalog(await upstream(answers()))
    SCOPES[scope](config, {"rpm": {"limit": 2, "burst": 1}})
    if config["providers"]["p0"].get("api_key", "") is None:
        del config["providers"]["p0"]["api_key"]
    rig = await serve(config)
    path, body = SURFACES[surface]
    answer, _ = await rig.ask(body, path)
    assert answer.status == 200
    answer, told = await rig.ask(body, path)
    assert answer.status == 429
    assert 28 <= int(answer.headers["retry-after"]) <= 30
    error = orjson.loads(told)["error"]
    assert f"rpm limit of 2 of the {scope}" in error["message"]
    if surface == "messages":
        assert answer.headers["anthropic-ratelimit-requests-limit"] == "2"
        assert answer.headers["anthropic-ratelimit-requests-remaining"] == "0"
    else:
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    rows = await rig.rows(2)
    assert sorted(row["outcome"] for row in rows) == ["ok", "refused"]


@pytest.mark.parametrize(
    ("limits", "kind", "code"),
    [
        ({"rph": 1}, "rph", "rate_limit_exceeded"),
        ({"rpd": 1}, "rpd", "rate_limit_exceeded"),
        ({"requests_per_month": 1}, "requests_per_month", "insufficient_quota"),
        ({"tpm": {"limit": 10, "burst": 5}}, "tpm", "rate_limit_exceeded"),
        ({"tpd": 5}, "tpd", "rate_limit_exceeded"),
        ({"tokens_per_month": 5}, "tokens_per_month", "insufficient_quota"),
    ],
)
async def test_every_kind_refuses_what_is_too_much(
    serve: Serve, upstream: Upstreams, limits: Body, kind: str, code: str
) -> None:
    config = catalog(await upstream(answers()))
    config["users"]["u"]["keys"][0]["limits"] = limits
    rig = await serve(config)
    # The answer has ten tokens: more than the token limits hold at once, and what is over is owed.
    answer, _ = await rig.ask(chat())
    assert answer.status == 200
    answer, told = await rig.ask(chat())
    assert answer.status == 429
    error = orjson.loads(told)["error"]
    assert error["message"].startswith(f"The {kind} limit of ")
    assert error["code"] == code
    assert int(answer.headers["retry-after"]) >= 1


async def test_answers_tell_what_is_left(serve: Serve, upstream: Upstreams) -> None:
    config = catalog(await upstream(answers()))
    config["users"]["u"]["keys"][0]["limits"] = {"rpm": 10, "tpm": 1000}
    rig = await serve(config)
    answer, _ = await rig.ask(chat(max_tokens=50))
    assert answer.headers["x-ratelimit-limit-requests"] == "10"
    assert answer.headers["x-ratelimit-remaining-requests"] == "9"
    assert answer.headers["x-ratelimit-limit-tokens"] == "1000"


async def test_a_full_candidate_is_passed_over_for_one_with_room(serve: Serve, upstream: Upstreams) -> None:
    config = catalog(await upstream(answers()), await upstream(answers()))
    config["models"]["m0"]["limits"] = {"rpm": 1}
    rig = await serve(config)
    models = [(await rig.ask(chat()))[0].headers["x-apipod-model"] for _ in range(3)]
    assert models == ["m0", "m1", "m1"]


async def test_with_every_candidate_full_the_smallest_wait_is_told(serve: Serve, upstream: Upstreams) -> None:
    config = catalog(await upstream(answers()), await upstream(answers()))
    config["models"]["m0"]["limits"] = {"rpm": 1}
    config["models"]["m1"]["limits"] = {"rpm": {"limit": 6, "burst": 1}}
    rig = await serve(config)
    for _ in range(2):
        await rig.ask(chat())
    answer, told = await rig.ask(chat())
    assert answer.status == 429
    assert 9 <= int(answer.headers["retry-after"]) <= 10
    assert "rpm limit of 6 of the model" in orjson.loads(told)["error"]["message"]


async def test_tokens_are_settled_to_what_was_used(serve: Serve, upstream: Upstreams) -> None:
    config = catalog(await upstream(answers()))
    config["users"]["u"]["keys"][0]["limits"] = {"tpd": 200}
    rig = await serve(config)
    for _ in range(9):
        # Each reserves thirty or so and uses ten.
        answer, _ = await rig.ask(chat(max_tokens=10))
        assert answer.status == 200
    counted = vars(rig.server.limits)["_cells"]
    used = [cell.used for key, cell in counted.items() if key[0] == "key" and key[2] == "tpd"]
    assert used == [90]


async def test_a_failed_attempt_counts_where_it_was_made_and_not_for_the_caller(
    serve: Serve, upstream: Upstreams
) -> None:
    broken = answers(b'{"error": {"message": "no"}}', 500)
    config = catalog(await upstream(broken), await upstream(answers()))
    config["users"]["u"]["keys"][0]["limits"] = {"rpd": 100, "tpd": 100_000}
    for n in range(2):
        config["models"][f"m{n}"]["limits"] = {"rpd": 100, "tpd": 100_000}
    rig = await serve(config)
    await rig.ask(chat())
    cells = vars(rig.server.limits)["_cells"]
    used = {(key[0], key[1], key[2]): cell.used for key, cell in cells.items() if key[2] in ("rpd", "tpd")}
    assert used["model", "m0", "rpd"] == used["model", "m1", "rpd"] == 1
    assert (used["model", "m0", "tpd"], used["model", "m1", "tpd"]) == (0, 10)
    assert sorted(value for key, value in used.items() if key[0] == "key") == [1, 10]


async def test_who_is_refused_takes_no_probe_from_others(serve: Serve, upstream: Upstreams) -> None:
    flaky, good = await upstream([*refuses(500)[:2], *answers()]), await upstream(answers())
    config = catalog(flaky, good, breaker={"failures": 1, "open": 0.05})
    config["users"]["u"]["keys"][0]["limits"] = {"rpd": 1}
    rig = await serve(config)
    assert (await rig.ask(chat()))[0].headers["x-apipod-model"] == "m1"
    await asyncio.sleep(0.06)
    assert (await rig.ask(chat()))[0].status == 429
    answer, _ = await rig.ask(chat(), authorization=f"Bearer {ADMIN}")
    assert answer.headers["x-apipod-model"] == "m0"
