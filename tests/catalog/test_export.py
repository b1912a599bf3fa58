"""The catalog as a file."""

from __future__ import annotations

import pytest
import yaml

from apipod_proxy.catalog.export import export_tree, export_yaml
from apipod_proxy.catalog.loader import load
from apipod_proxy.catalog.model import EMPTY_SNAPSHOT
from apipod_proxy.store import Store
from tests.catalog.cases import ENVIRONMENT, FULL, apply_text, load_now, make_vault, read


async def test_an_export_says_what_the_file_said_but_for_secrets(store: Store) -> None:
    await apply_text(store, FULL)
    tree = yaml.safe_load(export_yaml(await load_now(store), make_vault()))
    assert tree["limits"] == {"concurrency": 5000}
    openai = tree["providers"]["openai"]
    assert openai["api_key"] == "${OPENAI_API_KEY}"
    assert openai["headers"] == {"x-price": "$${literal}", "x-team": "ai"}
    assert openai["limits"] == {"rpm": {"limit": 600, "burst": 50}}
    a, b = tree["providers"]["pool"]["accounts"]
    assert a == {"name": "a", "api_key": "${KEY_A}", "weight": 2, "limits": {"concurrency": 8}}
    assert b["api_key"].startswith("encrypted:")
    assert (b["weight"], b["active"]) == (0.5, False)
    assert tree["models"]["gpt-4o"] == {
        "provider": "openai",
        "price": {"input": 2.5, "output": 10, "cached_input": 1.25},
    }
    assert tree["subscriptions"]["pro"]["routes"]["cursor-pro-sonnet"] == {
        "targets": [
            {"model": "claude-sonnet-4-5", "weight": 20},
            {"model": "gemini-3-flash", "weight": 80, "priority": 1},
        ]
    }
    assert tree["subscriptions"]["pro"]["routes"]["*"] == tree["subscriptions"]["free"] == {}
    other, laptop = tree["users"]["alice"]["keys"]
    assert other.keys() == {"sha256", "prefix", "name", "allowed_providers"}
    assert (laptop["name"], laptop["expires_at"], laptop["allowed_models"]) == (
        "laptop",
        "2027-01-01T00:00:00Z",
        ["gpt-4o"],
    )
    assert tree["users"]["bob"] == {
        "subscription": "free",
        "active": False,
        "expires_at": "2030-05-06T05:08:09.010Z",
    }


async def test_only_with_secrets_are_provider_keys_plain_and_client_keys_never(store: Store) -> None:
    await apply_text(store, FULL)
    snapshot = await load_now(store)
    closed = export_yaml(snapshot, make_vault())
    opened = export_yaml(snapshot, make_vault(), secrets=True)
    assert [secret in closed for secret in ("sk-openai", "plain-b", ENVIRONMENT["ALICE_KEY"])] == [
        False,
        False,
        False,
    ]
    assert [secret in opened for secret in ("sk-openai", "plain-b", ENVIRONMENT["ALICE_KEY"])] == [
        True,
        True,
        False,
    ]


async def test_an_export_can_be_read_again(store: Store) -> None:
    await apply_text(store, FULL)
    snapshot = await load_now(store)
    for secrets in (False, True):
        document = read(export_yaml(snapshot, make_vault(), secrets=secrets))
        assert document.keys.keys() == snapshot.keys.keys()
        assert document.models.keys() == snapshot.models.keys()


@pytest.mark.parametrize(
    "time", ["9999-12-31T23:59:59.999Z", "2250-01-01T00:00:00.001Z", "0001-01-01T00:00:00Z"]
)
async def test_the_times_of_an_export_are_exact(store: Store, time: str) -> None:
    text = f"subscriptions: {{s: {{}}}}\nusers: {{u: {{subscription: s, expires_at: '{time}'}}}}"
    await apply_text(store, text)
    assert time in export_yaml(await load_now(store), make_vault())


def test_nothing_is_exported_as_nothing() -> None:
    assert export_tree(EMPTY_SNAPSHOT, make_vault()) == {}
    assert read(export_yaml(EMPTY_SNAPSHOT, make_vault())).providers == {}


async def test_an_export_under_another_key_loses_nothing(store: Store) -> None:
    await apply_text(store, FULL)
    async with store.reading() as session:
        lost = (await load(session, make_vault({}, b"o" * 32), strict=False)).snapshot
    text = export_yaml(lost, make_vault({}, b"o" * 32))
    assert (await apply_text(store, text)).changes == 0
