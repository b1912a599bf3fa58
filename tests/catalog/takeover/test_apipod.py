from __future__ import annotations

import hashlib
import sqlite3
from datetime import UTC, datetime
from typing import Any

import pytest

from apipod_proxy.catalog.document import CatalogMistakes
from apipod_proxy.catalog.model import Limit, Price, Target
from apipod_proxy.catalog.takeover.apipod import TABLES, take_tables
from apipod_proxy.catalog.takeover.builder import Taken
from tests.catalog.takeover import older
from tests.catalog.takeover.conftest import TYPES, Reader

ANTIGRAVITY = {"ANTIGRAVITY_URL": "http://10.0.0.1:8080", "ANTIGRAVITY_KEY": "ag"}


def rows_of(statements: str) -> dict[str, list[dict[str, Any]]]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.row_factory = sqlite3.Row
        connection.executescript(statements)
        there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]
            for name in TABLES
            if name in there
        }
    finally:
        connection.close()


def taken(statements: str, **environment: str) -> Taken:
    return take_tables(rows_of(statements), "old", TYPES, environment)


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_providers_keep_their_pools_and_their_state(read: Reader) -> None:
    providers = read(taken(older.second())).providers
    assert {name: (p.type, p.base_url, p.active) for name, p in providers.items()} == {
        "Pool": ("antigravity", "http://127.0.0.1:8080", True),
        "Copilot": ("antigravity", "http://127.0.0.1:8317", True),
        "Openrouter": ("openrouter", "", False),
        "Own-x": ("openai_compatible", "https://own.example", True),
    }
    assert [(a.name, a.api_key) for a in providers["Pool"].accounts] == [
        ("account-1", "pool-a"),
        ("b@example.com", "pool-b"),
    ]
    assert [a.api_key for a in providers["Copilot"].accounts] == ["cli-key"]


def test_models_keep_limits_and_prices(read: Reader) -> None:
    models = read(taken(older.second())).models
    assert list(models) == ["claude-sonnet-4-5", "gemini-3-flash", "Copilot/gemini-3-flash"]
    sonnet = models["claude-sonnet-4-5"]
    assert sonnet.limits == {"rpm": Limit(60, 60), "tpm": Limit(100000, 100000), "rpd": Limit(5000, 5000)}
    assert (sonnet.price, sonnet.context_window) == (Price(3000, 15500), 200000)
    other = models["Copilot/gemini-3-flash"]
    assert (other.upstream_model, dict(other.limits), other.price) == ("gemini-3-flash", {}, None)


def test_quota_items_are_one_route_for_every_name(read: Reader) -> None:
    subscriptions = read(taken(older.second())).subscriptions
    assert subscriptions["cursor-pro-sonnet"].routes["*"].targets == (
        Target("claude-sonnet-4-5", None, 20),
        Target("gemini-3-flash", None, 80),
        Target("Copilot/gemini-3-flash", None, 0),
    )
    assert not subscriptions["empty"].active


def test_tokens_of_the_second_generation_keep_working(read: Reader) -> None:
    document = read(taken(older.second()))
    key = document.keys[digest(older.TOKEN)]
    assert (key.user, key.prefix) == ("bob@example.com", "sk-second-ge")
    assert document.users["bob@example.com"].subscription == "cursor-pro-sonnet"
    assert not document.users["off@example.com"].active
    expired = document.users["late@example.com"].expires_at
    assert expired == datetime(2020, 1, 31, 10, tzinfo=UTC).timestamp() * 1000
    assert set(document.users) == {"bob@example.com", "off@example.com", "late@example.com"}


def test_no_token_stands_in_the_catalog() -> None:
    assert older.TOKEN not in taken(older.third()).text()


def test_hashed_keys_of_the_third_generation_keep_working(read: Reader) -> None:
    document = read(taken(older.third()))
    key = document.keys[digest(older.HASHED_KEY)]
    assert (key.user, key.name, key.prefix) == ("acme", "main", "apipod_third")
    assert key.allowed_models == frozenset({"claude-sonnet-4-5", "gemini-3-flash"})
    assert document.users["acme"].limits == {
        "rpm": Limit(90, 90),
        "tpm": Limit(50000, 50000),
        "rpd": Limit(2000, 2000),
        "tokens_per_month": Limit(1000000, 1000000),
    }
    assert not document.keys[digest("off")].active
    assert not document.keys[digest("spent")].active
    assert digest(older.TOKEN) in document.keys


def test_organizations_that_were_refused_stay_so(read: Reader) -> None:
    document = read(taken(older.third()))
    active = {name for name, user in document.users.items() if user.active}
    assert active == {"acme", "paid", "bob@example.com", "late@example.com"}
    assert document.users["paid"].limits == {"rpm": Limit(300, 300)}
    assert not document.subscriptions["none"].active


@pytest.mark.parametrize(
    "note",
    [
        "provider Own/x: the type 'magic' is not known; taken as openai_compatible",
        "model orphan: belongs to no provider, left out",
        "subscription cursor-pro-sonnet: its monthly token limit was never kept, left out",
        "subscription cursor-pro-sonnet: token limits of single quota items were never kept, left out",
        "subscription empty: its system prompt was never sent, left out",
        "subscription empty: has no models, so it is not active",
        "user none@example.com: has a key, but no subscription, left out",
        "key again of paid: the same key as main of acme, left out",
        "key odd of paid: its hash is no SHA-256, left out",
        "key spent of acme: its token limit is spent, so it is not active",
        "key off of acme: its token limit for life has no equal here, left out",
        "organization byok: it brings provider keys of its own, which only the dashboard can decrypt, so its keys are not active",
        "organization broke: its token balance is spent, and its plan has no quota per month, so its keys are not active",
        "organization gone: it is suspended, so its keys are not active",
        "organization planless: it has no plan, so its keys are not active",
        "organization lost: its plan has no subscription, so its keys are not active",
        "prepaid token balances are left out; a plan's token quota is kept as tokens per month",
    ],
)
def test_what_could_not_be_taken_over_is_one_line(note: str) -> None:
    assert note in taken(older.third()).notes


def test_a_token_that_is_also_a_hashed_key_is_taken_over_once(read: Reader) -> None:
    both = older.third().replace(older.sha256(older.HASHED_KEY).upper(), older.sha256(older.TOKEN))
    found = taken(both)
    assert "user bob@example.com: the same key as main of acme, left out" in found.notes
    assert read(found).keys[digest(older.TOKEN)].user == "acme"


def test_the_first_generation_keeps_its_keys_and_its_one_route(read: Reader) -> None:
    document = read(taken(older.FIRST, **ANTIGRAVITY), **ANTIGRAVITY)
    assert document.providers["antigravity"].base_url == "http://10.0.0.1:8080"
    assert document.providers["antigravity"].accounts[0].origin == "${ANTIGRAVITY_KEY}"
    routes = document.subscriptions["elite"].routes
    assert [(t.model, t.weight) for t in routes["cursor-pro-sonnet"].targets] == [
        ("claude-sonnet-4-5", 20),
        ("gemini-3-flash", 80),
    ]
    assert routes["*"].targets == (Target(None, "antigravity"),)
    assert document.keys[digest(older.FIRST_KEY)].user == "alice"
    assert document.users["olga"].subscription == "free"
    assert not document.users["olga"].active
    assert document.users["alice-2"].expires_at == 1580464800000
    assert not document.users["odd"].active


def test_without_the_old_environment_the_first_generation_says_what_it_lacks() -> None:
    notes = taken(older.FIRST).notes
    assert "ANTIGRAVITY_URL is not in the environment; taken as http://127.0.0.1:8080" in notes
    assert "ANTIGRAVITY_KEY is not in the environment; the provider has no key" in notes
    assert "user odd: expires_at is 'next week', no time; so it is not active" in notes


@pytest.mark.parametrize(
    ("moment", "expires_at"),
    [
        (datetime(2030, 1, 1, 12), "2030-01-01T12:00:00Z"),
        (1893499200, "2030-01-01T12:00:00Z"),
        ("2030-01-01", "2030-01-01T00:00:00Z"),
        ("2030-01-01T12:00:00+02:00", "2030-01-01T10:00:00Z"),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(moment: object, expires_at: str) -> None:
    row = {"id": 1, "api_key": "k", "name": "a", "active": True, "expires_at": moment}
    found = take_tables({"users": [row]}, "old", TYPES, ANTIGRAVITY)
    assert found.tree["users"]["a"]["expires_at"] == expires_at


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"apipod_state": [], "users": []}, "old: is a database of this program already"),
        ({"users": [{"id": 1}]}, "old: is no apipod database; it lacks the tables subscriptions, providers"),
        ({}, "old: is no apipod database"),
    ],
)
def test_other_databases_are_refused(tables: dict[str, Any], problem: str) -> None:
    with pytest.raises(CatalogMistakes, match=problem):
        take_tables(tables, "old", TYPES, {})
