"""The snapshot of the database, and how it is kept current."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from apipod_proxy.auth.keys import new_key
from apipod_proxy.catalog.keys import KeyService, Makers
from apipod_proxy.catalog.loader import NOTHING_LOADED, CatalogUnreadable, CatalogWatcher, load
from apipod_proxy.catalog.model import Snapshot
from apipod_proxy.errors import StoreError
from apipod_proxy.store import Store, open_store
from tests.catalog.cases import FULL, NOW, apply_text, make_vault
from tests.stores import Opener

RANDOM = iter(range(1, 10**9))


def service(store: Store) -> KeyService:
    return KeyService(
        store,
        Makers(
            lambda: new_key(lambda n: next(RANDOM).to_bytes(n)), lambda: f"key{next(RANDOM)}", lambda: NOW
        ),
    )


async def until(condition: Callable[[], object], seconds: float = 1.0) -> None:
    """A second is what a change may take to be seen everywhere."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def watcher(open_another: Opener, store: Store) -> AsyncIterator[CatalogWatcher]:
    """Of another process than ``store``."""
    watcher = CatalogWatcher(await open_another(), make_vault())
    await watcher.start()
    yield watcher
    await watcher.close()


async def test_a_change_by_another_process_is_seen_within_a_second(
    watcher: CatalogWatcher, store: Store
) -> None:
    seen: list[Snapshot] = []
    watcher.subscribe(seen.append)
    await apply_text(store, FULL)
    await until(lambda: "gpt-4o" in watcher.snapshot.models)
    created = await service(store).create("robot", "pro")
    await until(lambda: created.key.digest in watcher.snapshot.keys)
    await service(store).revoke(created.text)
    await until(lambda: not watcher.snapshot.keys[created.key.digest].active)
    await apply_text(store, FULL.replace("gpt-4o:", "gpt-4.1:").replace("model: gpt-4o", "model: gpt-4.1"))
    await until(lambda: "gpt-4.1" in watcher.snapshot.models)
    assert [snapshot.version for snapshot in seen] == sorted({snapshot.version for snapshot in seen})
    assert seen[-1] is watcher.snapshot


async def test_ones_own_writes_are_seen_at_once(store: Store) -> None:
    watcher = CatalogWatcher(store, make_vault())
    await watcher.refresh()
    keys = KeyService(store, service(store).makers, watcher.catch_up)
    created = await keys.create("robot")
    assert watcher.snapshot.keys[created.key.digest].user == "robot"
    assert watcher.snapshot.subscriptions["elite"].routes == {}
    await keys.revoke(created.key.id)
    assert not watcher.snapshot.keys[created.key.digest].active


async def test_keys_and_users_come_by_what_changed_and_the_catalog_only_if_it_changed(store: Store) -> None:
    await apply_text(store, FULL)
    watcher = CatalogWatcher(store, make_vault())
    await watcher.refresh()
    before = watcher.snapshot
    await service(store).create("robot", "pro")
    await watcher.refresh()
    after = watcher.snapshot
    assert after.version > before.version
    assert after.models is before.models
    assert after.providers is before.providers
    assert after.users["alice"] is before.users["alice"]
    assert all(after.keys[digest] is key for digest, key in before.keys.items())
    assert len(after.keys) == len(before.keys) + 1
    await watcher.refresh()
    assert watcher.snapshot is after


async def test_a_load_that_fails_keeps_the_last_good_one_and_says_so(
    watcher: CatalogWatcher, store: Store
) -> None:
    await apply_text(store, FULL)
    await until(lambda: "gpt-4o" in watcher.snapshot.models)
    good = watcher.snapshot
    assert watcher.status().error is None
    await break_a_row(store, "'no json'")
    await until(lambda: watcher.status().error is not None)
    assert watcher.snapshot is good
    assert repr(watcher).startswith(f"<CatalogWatcher v{good.version} a row of the catalog makes no sense")
    with pytest.raises(CatalogUnreadable) as caught:
        await watcher.refresh()
    assert caught.value.problem.startswith("a row of the catalog makes no sense: ")
    await break_a_row(store, "'[5, 60, 30]'")
    await until(lambda: watcher.status().error is None, 2)
    assert watcher.snapshot.providers["openai"].timeouts.connect == 5
    assert watcher.status().version == watcher.snapshot.version > good.version


async def test_another_database_in_the_place_of_the_one_that_was_read_is_read_whole(
    watcher: CatalogWatcher, store: Store
) -> None:
    await apply_text(store, FULL)
    await until(lambda: "gpt-4o" in watcher.snapshot.models)
    before = watcher.snapshot
    async with store.writing() as session:
        # As many changes as there were in the other one, and none of them the same.
        await session.run("UPDATE apipod_migrations SET applied_at = applied_at + 1000")
        await session.run("DELETE FROM api_keys")
        await session.run("UPDATE llm_models SET name = 'other' WHERE name = 'gpt-4o'")
        await session.announce()
    await until(lambda: "other" in watcher.snapshot.models)
    assert (watcher.snapshot.version, dict(watcher.snapshot.keys)) == (before.version, {})
    async with store.writing() as session:
        await session.run("UPDATE apipod_migrations SET applied_at = applied_at - 1000")


async def break_a_row(store: Store, timeouts: str) -> None:
    async with store.writing() as session:
        await session.fetch_one("bump_version", whole=1)
        await session.run(f"UPDATE providers SET timeouts = {timeouts} WHERE name = 'openai'")
        await session.announce()


async def test_a_first_load_that_fails_is_raised(empty_store: Store) -> None:
    watcher = CatalogWatcher(empty_store, make_vault())
    with pytest.raises(StoreError):
        await watcher.start()
    await watcher.catch_up()
    error = watcher.status().error
    assert error is not None
    assert "apipod_state" in error
    await watcher.close()


async def test_a_key_that_cannot_be_decrypted_names_its_account(store: Store) -> None:
    await apply_text(store, FULL)
    async with store.reading() as session:
        with pytest.raises(CatalogUnreadable) as caught:
            await load(session, make_vault({}, b"o" * 32))
        lenient = await load(session, make_vault({}, b"o" * 32), strict=False)
    assert caught.value.problem.startswith("the key of account 'a' of provider 'pool' cannot be decrypted")
    assert lenient.snapshot.providers["openai"].accounts[0].api_key.startswith("encrypted:")


async def test_a_database_without_its_version_row_is_unreadable(store: Store) -> None:
    async with store.writing() as session:
        await session.run("DELETE FROM apipod_state")
    async with store.reading() as session:
        with pytest.raises(CatalogUnreadable):
            await load(session, make_vault())


async def test_an_older_database_in_its_place_is_loaded_whole(store: Store) -> None:
    await apply_text(store, FULL)
    async with store.reading() as session:
        loaded = await load(session, make_vault())
        ahead = loaded._replace(snapshot=Snapshot(99, {}, {}, {}, {}, {}), catalog_version=99)
        assert (await load(session, make_vault(), ahead)).snapshot == loaded.snapshot
        assert await load(session, make_vault(), loaded) is loaded


async def test_losing_the_notices_is_survived(postgres_url: str, postgres_schema: str) -> None:
    store = await open_store(None, postgres_url, postgres_schema)
    other = await open_store(None, f"{postgres_url}?application_name={postgres_schema}", postgres_schema)
    await store.migrate()
    watcher = CatalogWatcher(other, make_vault())
    await watcher.start()
    killer = await asyncpg.connect(postgres_url)
    try:
        for name in ("one", "two", "three"):
            created = await service(store).create(name)
            await until(lambda digest=created.key.digest: digest in watcher.snapshot.keys)  # type: ignore[misc]
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                postgres_schema,
            )
    finally:
        await killer.close()
        await watcher.close()
        await other.close()
        await store.close()


async def test_ten_thousand_keys_and_a_thousand_models_are_loaded(store: Store) -> None:
    await fill(store, models=1000, keys=10_000)
    async with store.reading() as session:
        loaded = await load(session, make_vault(), NOTHING_LOADED)
    assert (len(loaded.snapshot.models), len(loaded.snapshot.keys), len(loaded.snapshot.users)) == (
        1000,
        10_000,
        10_000,
    )


async def fill(store: Store, models: int, keys: int) -> None:
    await apply_text(
        store,
        "providers: {p: {type: openai, api_key: k}}\nsubscriptions: {pro: {}}\nmodels:\n"
        + "".join(
            f"  model-{n}: {{provider: p, limits: {{rpm: {n + 1}}}, price: {{input: 1, output: 2}}}}\n"
            for n in range(models)
        ),
    )
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {keys})"
    text = "CAST(i AS TEXT)"
    digest = f"SUBSTR('{'0' * 64}', 1, 64 - LENGTH({text})) || {text}"
    async with store.writing() as session:
        await session.run(
            "INSERT INTO users (id, name, subscription_id, role, limits, active, expires_at, source, deleted, version)"
            f" {numbers} SELECT 'u' || {text}, 'user' || {text}, (SELECT id FROM subscriptions), 'member', '', 1, NULL, 'file', 0, 1 FROM n"
        )
        await session.run(
            "INSERT INTO api_keys (id, user_id, name, digest, prefix, limits, allowed_models, allowed_providers, active, revoked_at,"
            f" expires_at, created_at, source, deleted, version) {numbers} SELECT 'k' || {text}, 'u' || {text}, 'laptop', {digest},"
            " 'apk_12345678', '{\"rpm\":[60,60]}', '[\"gpt-4o\"]', NULL, 1, NULL, NULL, 1, 'file', 0, 1 FROM n"
        )
