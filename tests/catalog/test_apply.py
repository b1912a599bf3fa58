"""Applying a file: whole or not at all, told what it changed, and never touching what an admin made."""

from __future__ import annotations

import hashlib
import os

import pytest

from apipod_proxy.auth.keys import new_key
from apipod_proxy.catalog.apply import digest_of, is_applied
from apipod_proxy.catalog.document import CatalogMistakes
from apipod_proxy.catalog.export import export_yaml
from apipod_proxy.catalog.keys import KeyService, Makers
from apipod_proxy.catalog.model import Limit, Price, Role, Source, Strategy, Target, Timeouts
from apipod_proxy.catalog.vault import Vault
from apipod_proxy.store import Store
from tests.catalog.cases import ENVIRONMENT, FULL, NOW, apply_text, load_now, make_vault

SMALL = """
providers: {p: {type: openai, api_key: k}}
models: {m: {provider: p}, n: {provider: p}}
subscriptions: {s: {routes: {x: {targets: [m]}}}}
users: {u: {subscription: s, keys: [{key: the-key-of-u, name: one}]}}
"""


def service(store: Store) -> KeyService:
    return KeyService(store, Makers(lambda: new_key(os.urandom), lambda: os.urandom(8).hex(), lambda: NOW))


async def mistakes(store: Store, text: str) -> list[str]:
    with pytest.raises(CatalogMistakes) as caught:
        await apply_text(store, text)
    return caught.value.lines


async def test_everything_in_a_file_arrives_in_the_snapshot(store: Store) -> None:
    report = await apply_text(store, FULL)
    assert {kind: len(names) for kind, names in report.created.items()} == {
        "providers": 2,
        "accounts": 3,
        "models": 4,
        "subscriptions": 2,
        "routes": 4,
        "users": 2,
        "keys": 2,
    }
    assert report.changed == {"limits": ["of the whole proxy"]}
    snapshot = await load_now(store)
    assert snapshot.limits == {"concurrency": Limit(5000, 5000)}
    openai = snapshot.providers["openai"]
    assert (openai.base_url, openai.timeouts) == ("https://api.openai.com/v1", Timeouts(2.5, 60, 30))
    assert openai.headers == {"x-team": "ai", "x-price": "${literal}"}
    assert openai.limits == {"rpm": Limit(600, 50)}
    assert [(a.name, a.api_key, a.origin) for a in openai.accounts] == [
        ("default", "sk-openai", "${OPENAI_API_KEY}")
    ]
    pool = snapshot.providers["pool"]
    assert pool.base_url == "http://127.0.0.1:8080"
    assert [(a.name, a.api_key, a.weight, a.active) for a in pool.accounts] == [
        ("a", "key-a", 2, True),
        ("b", "plain-b", 0.5, False),
    ]
    assert snapshot.models["gpt-4o"].price == Price(2500, 10000, 1250)
    assert snapshot.models["gemini-3-flash"].capabilities == frozenset({"tools", "vision"})
    assert snapshot.models["claude-sonnet-4-5"].limits["tpm"] == Limit(1_000_000, 1_000_000)
    assert not snapshot.models["org/odd:model"].active
    pro = snapshot.subscriptions["pro"]
    assert pro.routes["cursor-pro-sonnet"].targets == (
        Target("claude-sonnet-4-5", None, 20),
        Target("gemini-3-flash", None, 80, 1),
    )
    route = pro.routes["gpt-4o"]
    assert (route.strategy, route.max_wait, route.hedge) == (Strategy.LATENCY, 5, True)
    assert pro.routes["*"].targets == ()
    assert snapshot.users["alice"].role is Role.ADMIN
    assert snapshot.users["bob"].expires_at == 1904274489010
    key = snapshot.keys[hashlib.sha256(ENVIRONMENT["ALICE_KEY"].encode()).digest()]
    assert (key.user, key.name, key.prefix, key.expires_at) == (
        "alice",
        "laptop",
        "alice-own-ke",
        1798761600000,
    )
    assert (key.allowed_models, key.limits) == (frozenset({"gpt-4o"}), {"rpm": Limit(30, 30)})


async def test_provider_keys_are_never_plain_in_the_database(store: Store) -> None:
    await apply_text(store, FULL)
    async with store.reading() as session:
        rows = [(row[3], row[4]) for row in await session.fetch("read_accounts")]
    assert all(sealed.startswith("encrypted:") for sealed, _ in rows)
    assert sorted(origin for _, origin in rows) == ["", "${KEY_A}", "${OPENAI_API_KEY}"]


async def test_applying_again_and_applying_the_export_change_nothing(store: Store) -> None:
    await apply_text(store, FULL)
    version = (await load_now(store)).version
    assert (await apply_text(store, FULL)).lines() == ["nothing changed (19 unchanged)"]
    for secrets in (False, True):
        text = export_yaml(await load_now(store), make_vault(), secrets=secrets)
        report = await apply_text(store, text)
        if not secrets:
            assert report.changes == 0
            assert (await load_now(store)).version == version


async def test_a_file_is_changed_to_what_it_says_now(store: Store) -> None:
    await apply_text(store, SMALL)
    before = await load_now(store)
    changed = (
        SMALL.replace("n: {provider: p}", "o: {provider: p}")
        .replace("[m]", "[m, o]")
        .replace("api_key: k", "api_key: k2")
    )
    report = await apply_text(store, changed)
    assert report.lines() == [
        "created 1 models: o",
        "changed 1 accounts: p/default",
        "changed 1 routes: s/x",
        "deleted 1 models: n",
        "5 unchanged",
    ]
    after = await load_now(store)
    assert after.version > before.version
    assert after.models.keys() == {"m", "o"}
    assert after.providers["p"].accounts[0].api_key == "k2"
    assert [target.model for target in after.subscriptions["s"].routes["x"].targets] == ["m", "o"]


async def test_an_empty_file_deletes_all_that_files_made(store: Store) -> None:
    await apply_text(store, FULL)
    report = await apply_text(store, "")
    assert sum(map(len, report.deleted.values())) == 19
    snapshot = await load_now(store)
    assert not any(
        [
            snapshot.providers,
            snapshot.models,
            snapshot.subscriptions,
            snapshot.users,
            snapshot.keys,
            snapshot.limits,
        ]
    )
    assert (await apply_text(store, FULL)).changes == 20


async def test_what_was_deleted_comes_back_with_the_id_it_had(store: Store) -> None:
    await apply_text(store, SMALL)
    before = await load_now(store)
    await apply_text(store, "")
    await apply_text(store, SMALL)
    after = await load_now(store)
    assert after.users["u"].id == before.users["u"].id
    assert [key.id for key in after.keys.values()] == [key.id for key in before.keys.values()]


async def test_mistakes_change_nothing(store: Store) -> None:
    await apply_text(store, SMALL)
    broken = SMALL.replace("m: {provider: p}", "m: {provider: q}").replace(
        "subscription: s", "subscription: t"
    )
    assert await mistakes(store, broken) == [
        "catalog.yaml: models.m.provider: found 'q', which there is not; allowed: p",
        "catalog.yaml: users.u.subscription: found 't', which there is not; allowed: s",
    ]
    assert await mistakes(store, SMALL.replace("[m]", "[mm]")) == [
        "catalog.yaml: subscriptions.s.routes.x.targets[0].model: found 'mm', which there is not; did you mean 'm'? allowed: m, n"
    ]
    assert (await apply_text(store, SMALL)).changes == 0


# Sources


async def test_what_an_admin_made_stays_and_may_be_referred_to(store: Store) -> None:
    await apply_text(store, SMALL)
    made = await service(store).create("robot", "made-by-admin")
    report = await apply_text(store, SMALL.replace("users: {", "users: {v: {subscription: made-by-admin}, "))
    assert report.created == {"users": ["v"]}
    snapshot = await load_now(store)
    assert snapshot.keys[made.key.digest].source is Source.ADMIN
    assert snapshot.users["robot"].source is Source.ADMIN


async def test_a_name_held_by_an_admin_is_an_error_that_says_so(store: Store) -> None:
    await service(store).create("u", "s")
    lines = await mistakes(store, SMALL)
    assert (
        "catalog.yaml: users.u: 'u' was made by an admin, which alone may change it; allowed: another name"
        in lines
    )
    assert (
        "catalog.yaml: subscriptions.s: 's' was made by an admin, which alone may change it; allowed: another name"
        in lines
    )


async def test_an_export_names_what_an_admin_made_and_another_database_takes_it(store: Store) -> None:
    await apply_text(store, SMALL)
    made = await service(store).create("robot", "elite")
    text = export_yaml(await load_now(store), make_vault())
    assert (await apply_text(store, text)).changes == 0
    assert await mistakes(store, text.replace("subscription: elite", "subscription: s")) == [
        "catalog.yaml: users.robot: 'robot' was made by an admin and differs from this; allowed: as it is, or leaving it out"
    ]
    async with store.writing() as session:
        for statement in (
            "DELETE FROM api_keys",
            "DELETE FROM users",
            "DELETE FROM quota_items",
            "DELETE FROM routes",
        ):
            await session.run(statement)
        await session.run("DELETE FROM subscriptions")
    await apply_text(store, text)
    snapshot = await load_now(store)
    assert snapshot.keys[made.key.digest].user == "robot"
    assert snapshot.keys[made.key.digest].source is snapshot.subscriptions["elite"].source is Source.ADMIN


async def test_what_admins_things_need_cannot_be_taken_away(store: Store) -> None:
    await apply_text(store, SMALL)
    made = await service(store).create("robot", "s")
    assert await mistakes(store, "") == [
        "catalog.yaml: users.robot.subscription: found 's', which there is not; allowed: none yet",
    ]
    extra = await service(store).create("second", user="u")
    without_u = SMALL[: SMALL.index("users:")]
    assert await mistakes(store, without_u) == [
        f"catalog.yaml: users.u: is gone from the file, but an admin made keys for it ({extra.key.prefix});"
        " allowed: revoking them first, or leaving the user"
    ]
    await service(store).revoke(extra.text)
    assert (await apply_text(store, without_u)).deleted == {"keys": ["u/one"], "users": ["u"]}
    assert set((await load_now(store)).keys) == {made.key.digest}


async def test_a_revoked_key_is_not_brought_back_by_its_file(store: Store) -> None:
    await apply_text(store, SMALL)
    await service(store).revoke("one")
    report = await apply_text(store, SMALL)
    assert (report.changes, report.notes) == (0, ["the key the-ke of 'u' was revoked and stays so"])
    await apply_text(store, SMALL.replace("name: one", "name: renamed"))
    (key,) = (await load_now(store)).keys.values()
    assert (key.name, key.active) == ("renamed", False)
    text = export_yaml(await load_now(store), make_vault())
    assert (await apply_text(store, text)).lines()[0].startswith("nothing changed")


async def test_a_revoked_key_that_left_its_file_and_came_back_is_told_of(store: Store) -> None:
    await apply_text(store, SMALL)
    await service(store).revoke("one")
    await apply_text(store, SMALL.replace("{key: the-key-of-u, name: one}", ""))
    note = "the key the-ke of 'u' was revoked and stays so"
    for created in ({"keys": ["u/one"]}, {}):
        report = await apply_text(store, SMALL)
        assert (report.created, report.notes) == (created, [note])
    (key,) = (await load_now(store)).keys.values()
    assert not key.active


# The environment


async def test_a_key_from_the_environment_is_read_anew_at_each_load(store: Store) -> None:
    await apply_text(store, FULL)
    now = make_vault({**ENVIRONMENT, "OPENAI_API_KEY": "sk-rotated"})
    assert (await load_now(store, now)).providers["openai"].accounts[0].api_key == "sk-rotated"
    without = make_vault({})
    assert (await load_now(store, without)).providers["openai"].accounts[0].api_key == "sk-openai"


async def test_an_export_can_be_applied_where_the_environment_is_not(store: Store) -> None:
    await apply_text(store, FULL)
    text = export_yaml(await load_now(store), make_vault())
    assert (await apply_text(store, text, make_vault({}))).changes == 0
    renamed = text.replace("${OPENAI_API_KEY}", "${OTHER_KEY}")
    with pytest.raises(CatalogMistakes) as caught:
        await apply_text(store, renamed, make_vault({}))
    assert caught.value.lines == [
        "catalog.yaml: providers.openai.api_key: ${OTHER_KEY} is not set in the environment;"
        " allowed: setting it, or ${OTHER_KEY:-default}"
    ]


async def test_a_lost_encryption_key_is_healed_by_applying_the_file_again(store: Store) -> None:
    await apply_text(store, SMALL)
    other = make_vault(key=b"o" * 32)
    assert (await apply_text(store, SMALL, other)).changed == {"accounts": ["p/default"]}
    assert (await load_now(store, other)).providers["p"].accounts[0].api_key == "k"


@pytest.mark.parametrize(
    "now", [make_vault({**ENVIRONMENT, "OPENAI_API_KEY": "sk-rotated"}), make_vault(key=b"o" * 32)]
)
async def test_a_key_of_the_environment_is_stored_anew_when_it_or_its_encryption_changed(
    store: Store, now: Vault
) -> None:
    await apply_text(store, SMALL.replace("api_key: k", "api_key: '${OPENAI_API_KEY}'"))
    text = export_yaml(await load_now(store, now), now)
    assert (await apply_text(store, text, now)).changed == {"accounts": ["p/default"]}
    assert (await apply_text(store, text, now)).changes == 0
    # A server that was started without the name has only what is stored.
    without = Vault(b"o" * 32 if now.fingerprint != make_vault().fingerprint else b"k" * 32, {}, os.urandom)
    (account,) = (await load_now(store, without)).providers["p"].accounts
    assert account.api_key == now.environment["OPENAI_API_KEY"]


async def test_a_start_knows_the_file_that_was_applied(store: Store) -> None:
    vault = make_vault()
    digest = digest_of(FULL, vault)
    assert not await is_applied(store, digest)
    await apply_text(store, FULL, digest=digest)
    assert await is_applied(store, digest)
    assert digest_of(FULL, make_vault({**ENVIRONMENT, "RPM": "61"})) == digest
    assert digest_of(FULL, make_vault({**ENVIRONMENT, "KEY_A": "x"})) != digest
    assert digest_of(FULL, make_vault(key=b"o" * 32)) != digest
    await apply_text(store, FULL)
    assert not await is_applied(store, digest)


async def test_a_large_file_is_applied(store: Store) -> None:
    lines = ["providers: {p: {type: openai, api_key: k}}", "models:"]
    lines += [f"  model-{n}: {{provider: p, limits: {{rpm: 60}}}}" for n in range(1000)]
    lines += ["subscriptions: {pro: {}}", "users:"]
    lines += [f"  user-{n}: {{subscription: pro, keys: [{{key: the-key-of-user-{n}}}]}}" for n in range(2000)]
    report = await apply_text(store, "\n".join(lines))
    assert [len(report.created[kind]) for kind in ("models", "users", "keys")] == [1000, 2000, 2000]
