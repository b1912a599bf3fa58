"""The admin API over a real socket and both databases."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator

import orjson
import pytest
import yaml

from apipod_proxy.store import Store
from tests.admin.app import Fixture, start
from tests.catalog.cases import FULL, NOW
from tests.store.test_base import Booked

DAY = 86_400_000


@pytest.fixture
async def admin(store: Store) -> AsyncIterator[Fixture]:
    fixture = await start(store)
    yield fixture
    await fixture.client.close()
    await fixture.watcher.close()


@pytest.fixture
async def closed(store: Store) -> AsyncIterator[Fixture]:
    """Without ADMIN_SECRET."""
    fixture = await start(store, secret=None)
    yield fixture
    await fixture.client.close()
    await fixture.watcher.close()


# Who may


async def test_the_secret_opens_and_nothing_else_does(admin: Fixture) -> None:
    assert await admin.ask("GET", "/admin/keys") == {"keys": []}
    for secret in ("wrong", "", "the admin's secret!", "\udcff"):
        error = await admin.ask("GET", "/admin/keys", 401, secret=secret)
        assert error["error"]["message"] == "The admin secret is wrong."
    error = await admin.ask("GET", "/admin/keys", 401, secret=None)
    assert error["error"]["code"] == "missing_api_key"
    assert (await admin.ask("GET", "/admin/keys", 401, secret=None, key="unknown"))["error"][
        "code"
    ] == "invalid_api_key"


async def test_a_refused_request_is_not_read(admin: Fixture) -> None:
    async with admin.client.post(
        "/admin/apply", data=io.BytesIO(b"x" * 500_000), headers={"x-admin-secret": "wrong"}
    ) as response:
        assert response.status == 401
        assert response.headers["connection"].lower() == "close"


async def test_the_key_of_an_admin_opens_and_that_of_a_member_does_not(admin: Fixture) -> None:
    await admin.ask("POST", "/admin/apply", data=FULL)
    member = (await admin.ask("POST", "/admin/create-key", 201, json={"name": "m"}))["api_key"]
    boss = (await admin.ask("POST", "/admin/create-key", 201, json={"name": "x", "user": "alice"}))["api_key"]
    assert await admin.ask("GET", "/admin/keys", secret=None, key=boss)
    error = await admin.ask("GET", "/admin/keys", 403, secret=None, key=member)
    assert "role admin" in error["error"]["message"]
    await admin.ask("GET", "/admin/keys", 401, secret="wrong", key=boss)


async def test_without_a_secret_the_api_is_closed_to_all_but_keys_of_admins(
    admin: Fixture, closed: Fixture
) -> None:
    await admin.ask("POST", "/admin/apply", data=FULL)
    boss = (await admin.ask("POST", "/admin/create-key", 201, json={"name": "x", "user": "alice"}))["api_key"]
    await closed.watcher.refresh()
    for secret, key in ((None, None), ("", None), ("anything", None), (None, "unknown")):
        error = await closed.ask("GET", "/admin/keys", 403, secret=secret, key=key)
        assert "ADMIN_SECRET is not set" in error["error"]["message"]
    await closed.ask("GET", "/admin/keys", secret=None, key=boss)


# Keys


async def test_a_key_is_made_as_clients_know_it(admin: Fixture) -> None:
    made = await admin.ask("POST", "/admin/create-key", 201, json={"name": "test-user"})
    assert re.fullmatch(r"apk_[A-Za-z0-9_-]{43}", made.pop("api_key"))
    assert made == {
        "name": "test-user",
        "tier": "elite",
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": None,
        "id": made["id"],
        "user": "test-user",
    }
    assert admin.watcher.snapshot.subscriptions["elite"].routes == {}
    assert len(admin.watcher.snapshot.keys) == 1


@pytest.mark.parametrize(
    "tier", [{"tier": "pro"}, {"subscription": "pro"}, {"tier": "pro", "subscription": "pro"}]
)
async def test_a_tier_is_the_name_of_a_subscription(admin: Fixture, tier: dict[str, str]) -> None:
    made = await admin.ask("POST", "/admin/create-key", 201, json={"name": "u", "expires_in": "30d", **tier})
    assert (made["tier"], made["expires_at"]) == ("pro", "2027-02-14T08:00:00Z")
    made = await admin.ask("POST", "/admin/keys", 201, json={"name": "u", "expires_in": 3600, **tier})
    assert (made["user"], made["expires_at"]) == ("u", "2027-01-15T09:00:00Z")


BAD = [
    (b"{", "The body is not JSON."),
    (b"", "The body is not JSON."),
    (b"[1]", "The body is not a JSON object."),
    (b"{}", "allowed: a text, which must be there - at `$.name`"),
    (b'{"name": 5}', "allowed: a text, which must be there - at `$.name`"),
    (b'{"name": ""}', "allowed: a text, which must be there - at `$.name`"),
    (b'{"name": "a\\u0000"}', "allowed: 1 to 200 printable characters, no blanks around them - at `$.name`"),
    (b'{"name": "a", "tier": 5}', "allowed: a text - at `$.tier`"),
    (b'{"name": "a", "tier": "x", "subscription": "y"}', "found beside a subscription of another name"),
    (b'{"name": "a", "tier": "x", "user": "y"}', "found beside a tier or subscription"),
    (b'{"name": "a", "expire_in": "30d"}', "is unknown; allowed: name, tier, subscription, expires_in, user"),
    (b'{"name": "a", "expires_in": "soon"}', "found 'soon'; allowed: whole seconds"),
    (b'{"name": "a", "expires_in": -1}', "found -1; allowed: whole seconds"),
]


@pytest.mark.parametrize(("body", "sentence"), BAD, ids=[body.decode() for body, _ in BAD])
async def test_a_bad_request_for_a_key_is_told_why_and_makes_none(
    admin: Fixture, body: bytes, sentence: str
) -> None:
    error = await admin.ask("POST", "/admin/create-key", 400, data=body)
    assert sentence in error["error"]["message"]
    assert admin.watcher.snapshot.keys == {}


async def test_a_body_that_is_too_large_is_refused(admin: Fixture) -> None:
    await admin.ask("POST", "/admin/create-key", 413, data=io.BytesIO(b"x" * 1_100_000))


async def test_keys_are_listed_revoked_and_rotated(admin: Fixture) -> None:
    first = await admin.ask("POST", "/admin/create-key", 201, json={"name": "one"})
    second = await admin.ask("POST", "/admin/create-key", 201, json={"name": "two"})
    listed = (await admin.ask("GET", "/admin/keys"))["keys"]
    assert {key["name"] for key in listed} == {"one", "two"}
    assert first["api_key"] not in str(listed)
    assert [key["name"] for key in (await admin.ask("GET", "/admin/keys?user=two"))["keys"]] == ["two"]
    revoked = await admin.ask("POST", f"/admin/keys/{first['id']}/revoke")
    assert (revoked["active"], revoked["revoked_at"]) == (False, "2027-01-15T08:00:00Z")
    assert not (await admin.ask("DELETE", "/admin/keys/one"))["active"]
    rotated = await admin.ask("POST", f"/admin/keys/{second['api_key'][:12]}/rotate", 201)
    assert rotated["api_key"] != second["api_key"]
    active = [key["id"] for key in (await admin.ask("GET", "/admin/keys"))["keys"] if key["active"]]
    assert active == [rotated["id"]]
    assert (
        "There is no key 'none'" in (await admin.ask("DELETE", "/admin/keys/none", 404))["error"]["message"]
    )


# The catalog


async def test_a_catalog_is_applied_and_exported(admin: Fixture) -> None:
    report = await admin.ask("PUT", "/admin/catalog", data=FULL)
    assert report["created"]["providers"] == ["openai", "pool"]
    assert "gpt-4o" in admin.watcher.snapshot.models
    text = await admin.ask("GET", "/admin/catalog")
    assert yaml.safe_load(text)["providers"]["openai"]["api_key"] == "${OPENAI_API_KEY}"
    for method, path in (("POST", "/admin/apply"), ("PUT", "/admin/apply")):
        report = await admin.ask(method, path, data=text)
        assert (report["created"], report["changed"], report["deleted"]) == ({}, {}, {})
    assert "sk-openai" not in await admin.ask("GET", "/admin/export")
    assert "sk-openai" in await admin.ask("GET", "/admin/export?secrets=1")


async def test_mistakes_in_a_catalog_are_told_and_change_nothing(admin: Fixture) -> None:
    error = await admin.ask("POST", "/admin/apply", 400, data="models: {m: {provder: p}}")
    assert (
        error["error"]["message"]
        .splitlines()[0]
        .startswith("catalog: models.m.provder: unknown field; did you mean 'provider'?")
    )
    error = await admin.ask("POST", "/admin/apply", 400, data="models: {m: {provider: p}}")
    assert "found 'p', which there is not" in error["error"]["message"]
    assert (await admin.ask("POST", "/admin/apply", 400, data=b"\xff"))["error"][
        "message"
    ] == "The catalog is not UTF-8 text."
    assert admin.watcher.snapshot.models == {}


async def test_an_empty_file_deletes_nothing_and_an_empty_table_everything(admin: Fixture) -> None:
    await admin.ask("POST", "/admin/apply", data=FULL)
    for nothing in (b"", b" \n"):
        error = await admin.ask("PUT", "/admin/apply", 400, data=nothing)
        assert error["error"]["message"] == "The catalog is empty; to delete everything send {}."
    assert admin.watcher.snapshot.models
    await admin.ask("PUT", "/admin/apply", data=b"{}")
    assert not admin.watcher.snapshot.models


# Usage


async def test_usage_is_summed_by_what_is_asked_for(admin: Fixture) -> None:
    made = await admin.ask("POST", "/admin/create-key", 201, json={"name": "u"})
    key = next(iter(admin.watcher.snapshot.keys.values()))
    user = admin.watcher.snapshot.users["u"]
    mine = {"user_id": user.id, "api_key_id": key.id, "output_tokens": 5}
    rows = [Booked.make(n, **mine, started_at=NOW - n * DAY // 2).columns for n in (1, 2, 3)]
    await admin.store.insert_usage(rows)
    totals = await admin.ask("GET", "/admin/usage?by=user")
    assert (totals["by"], totals["since"], totals["until"]) == (
        "user",
        "2027-01-14T08:00:00Z",
        "2027-01-15T08:00:00Z",
    )
    (total,) = totals["totals"]
    assert (total["name"], total["owner"], total["requests"], total["output_tokens"]) == ("u", user.id, 2, 10)
    (total,) = (await admin.ask("GET", "/admin/usage?by=key&since=7d"))["totals"]
    assert (total["name"], total["requests"]) == (f"u/u ({made['api_key'][:12]})", 3)
    for since in (
        "2027-01-13",
        "2027-01-13T20:00:00Z",
        "2027-01-13T21:00:00+01:00",
        "1799870400",
        "1799870400000",
    ):
        totals = await admin.ask("GET", f"/admin/usage?by=model&since={since}")
        assert [total["requests"] for total in totals["totals"]] == [3], since
    totals = await admin.ask("GET", "/admin/usage?by=provider&since=7d&until=2027-01-14T12:00:00")
    assert [(total["name"], total["requests"]) for total in totals["totals"]] == [("p1", 2)]


async def test_models_whose_cost_is_nothing_for_want_of_a_price_are_named(admin: Fixture) -> None:
    models = {
        "dear": {"provider": "p", "price": {"input": 1, "output": 2}},
        "free": {"provider": "p", "price": {"input": 0, "output": 0}},
        "unpriced": {"provider": "p"},
    }
    catalog = {"providers": {"p": {"type": "openai", "api_key": "k"}}, "models": models}
    await admin.ask("PUT", "/admin/apply", data=orjson.dumps(catalog))
    made = [
        ("dear", 5, 10),
        ("free", 5, 0),
        ("unpriced", 5, None),
        ("p/made-up", 5, None),
        ("unused", None, None),
    ]
    rows = [
        Booked.make(
            n, started_at=NOW - 1000, routed_model=model, output_tokens=tokens, cost_nano=cost
        ).columns
        for n, (model, tokens, cost) in enumerate(made)
    ]
    await admin.store.insert_usage(rows)
    for by in ("model", "user"):
        usage = await admin.ask("GET", f"/admin/usage?by={by}")
        assert usage["unpriced_models"] == ["p/made-up", "unpriced"]


@pytest.mark.parametrize("query", ["by=colour", "since=soon", "until=2027-13-01", "since=%ff"])
async def test_a_bad_question_about_usage_is_told_what_is_allowed(admin: Fixture, query: str) -> None:
    assert "allowed: " in (await admin.ask("GET", f"/admin/usage?{query}", 400))["error"]["message"]


# Accounts


async def test_accounts_are_listed_with_their_states_and_switched(admin: Fixture) -> None:
    await admin.ask("POST", "/admin/apply", data=FULL)
    admin.states.append({"provider": "pool", "account": "a", "state": "parked", "seconds": 3})
    listed = (await admin.ask("GET", "/admin/accounts"))["accounts"]
    assert [(entry["provider"], entry["account"], entry["active"]) for entry in listed] == [
        ("openai", "default", True),
        ("pool", "a", True),
        ("pool", "b", False),
    ]
    assert listed[1]["states"] == [{"state": "parked", "seconds": 3}]
    assert "key-a" not in str(listed)
    await admin.ask("POST", "/admin/accounts/pool/a/disable")
    await admin.ask("POST", "/admin/accounts/pool/b/enable")
    assert [account.active for account in admin.watcher.snapshot.providers["pool"].accounts] == [False, True]
    b = admin.watcher.snapshot.providers["pool"].accounts[1]
    assert b.enabled == admin.watcher.snapshot.version
    error = await admin.ask("POST", "/admin/accounts/pool/c/enable", 404)
    assert error["error"]["message"] == "There is no account 'pool/c'."


async def test_a_database_that_is_away_is_a_503(admin: Fixture) -> None:
    await admin.store.close()
    error = await admin.ask("POST", "/admin/create-key", 503, json={"name": "u"})
    assert "cannot be reached" in error["error"]["message"]
    assert await admin.ask("GET", "/admin/keys") == {"keys": []}
