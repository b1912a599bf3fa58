"""Accounts as an admin sees and switches them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.gateway.conftest import ADMIN, Body, Rig, Serve, Upstreams, answers, catalog, chat, refuses, until

HEADERS = {"authorization": f"Bearer {ADMIN}"}


async def listed(rig: Rig) -> dict[str, Body]:
    async with rig.client.get(rig.url + "/admin/accounts", headers=HEADERS) as answer:
        assert answer.status == 200
        return {entry["provider"]: entry for entry in (await answer.json())["accounts"]}


async def switch(rig: Rig, provider: str, word: str) -> None:
    url = f"{rig.url}/admin/accounts/{provider}/default/{word}"
    async with rig.client.post(url, headers=HEADERS) as answer:
        assert answer.status == 200, await answer.text()


def states(entry: Body) -> list[Any]:
    return [state["state"] for state in entry["states"]]


async def test_what_became_of_accounts_is_listed_and_logged(
    serve: Serve, upstream: Upstreams, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "apipod_proxy.app")
    parked, refused = await upstream(refuses(429, b"Retry-After: 60\r\n")), await upstream(refuses(401))
    rig = await serve(catalog(parked, refused, await upstream(answers())))
    answer, _ = await rig.ask(chat())
    assert answer.status == 200
    found = await listed(rig)
    assert states(found["p0"]) == ["parked"]
    assert "disabled" in states(found["p1"])
    assert states(found["p2"]) == ["closed"]
    assert "up-key" not in str(found)
    told = [(vars(record)["change"], vars(record)["provider"]) for record in caplog.records]
    assert told == [("parked", "p0"), ("disabled", "p1")]
    async with rig.client.get(rig.url + "/health") as health:
        assert any("out of service" in line for line in (await health.json())["degraded"])


async def test_an_account_that_an_admin_switches_off_is_asked_no_more(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(catalog(await upstream(answers()), await upstream(answers())))
    await switch(rig, "p0", "disable")
    answer, _ = await rig.ask(chat())
    assert answer.headers["x-apipod-model"] == "m1"
    assert (await listed(rig))["p0"]["active"] is False
    await switch(rig, "p0", "enable")
    answer, _ = await rig.ask(chat())
    assert answer.headers["x-apipod-model"] == "m0"


async def test_an_admin_ends_the_disabled_state_of_an_account(serve: Serve, upstream: Upstreams) -> None:
    script = [*refuses(401)[:2], *answers()[:2], *answers()[:2]]
    flaky = await upstream(script)
    rig = await serve(catalog(flaky, await upstream(answers())))
    await rig.ask(chat())
    assert "disabled" in states((await listed(rig))["p0"])
    await switch(rig, "p0", "enable")
    answer, _ = await rig.ask(chat())
    assert answer.headers["x-apipod-model"] == "m0"
    await until(lambda: flaky.received.count(b"POST ") == 2)


async def test_a_new_key_ends_the_disabled_state_of_its_account(serve: Serve, upstream: Upstreams) -> None:
    flaky = await upstream([*refuses(401)[:2], *answers()[:2]], [*answers()])
    config = catalog(flaky, await upstream(answers()))
    rig = await serve(config)
    await rig.ask(chat())
    config["providers"]["p0"]["api_key"] = "another-key"
    async with rig.client.put(rig.url + "/admin/catalog", json=config, headers=HEADERS) as answer:
        assert answer.status == 200, await answer.text()
    served, _ = await rig.ask(chat())
    assert served.headers["x-apipod-model"] == "m0"
    assert b"another-key" in flaky.received
