"""Keys made, listed, revoked and rotated."""

from __future__ import annotations

import itertools
import os

import pytest

from apipod_proxy.auth.keys import new_key
from apipod_proxy.catalog.keys import KeyService, Makers, duration_ms
from apipod_proxy.catalog.model import Source, key_digest
from apipod_proxy.errors import BadRequest, NoSuch
from apipod_proxy.store import Store
from tests.catalog.cases import NOW, apply_text, load_now

FILE = """
subscriptions: {pro: {}}
users:
  alice: {subscription: pro, role: admin, keys: [{key: the-key-of-alice, name: laptop, allowed_models: [m], limits: {rpm: 5}}]}
  bob: {subscription: pro}
"""


@pytest.fixture
def keys(store: Store) -> KeyService:
    ids, times = itertools.count(), itertools.count(NOW)
    return KeyService(
        store, Makers(lambda: new_key(os.urandom), lambda: f"key{next(ids)}", lambda: next(times))
    )


async def test_a_key_is_made_with_its_user_and_subscription_on_first_use(
    store: Store, keys: KeyService
) -> None:
    created = await keys.create("ci robot")
    assert created.text.startswith("apk_")
    assert created.subscription == "elite"
    snapshot = await load_now(store)
    key = snapshot.keys[key_digest(created.text) or b""]
    assert key == created.key
    assert (key.user, key.name, key.prefix, key.source, key.expires_at) == (
        "ci robot",
        "ci robot",
        created.text[:12],
        Source.ADMIN,
        None,
    )
    assert snapshot.users["ci robot"].subscription == "elite"
    assert snapshot.subscriptions["elite"].source is Source.ADMIN


async def test_a_key_of_the_same_name_belongs_to_the_same_user_if_the_subscription_fits(
    store: Store, keys: KeyService
) -> None:
    await apply_text(store, FILE)
    made = [
        await keys.create("bob", "pro"),
        await keys.create("bob", "elite"),
        await keys.create("bob", "elite"),
    ]
    assert [created.key.user for created in made] == ["bob", "bob-2", "bob-2"]
    assert len((await load_now(store)).keys) == 4


async def test_a_key_never_gets_the_rights_of_an_admin_by_its_name(store: Store, keys: KeyService) -> None:
    await apply_text(store, FILE)
    assert (await keys.create("alice", "pro")).key.user == "alice-2"
    assert (await keys.create("second", user="alice")).key.user == "alice"


async def test_a_key_for_a_user_needs_the_user(keys: KeyService) -> None:
    with pytest.raises(NoSuch, match="There is no user 'carol'"):
        await keys.create("x", user="carol")


async def test_a_key_lives_as_long_as_it_was_given(keys: KeyService) -> None:
    created = await keys.create("x", expires_in="30d")
    assert created.key.expires_at is not None
    assert created.key.expires_at - NOW in range(30 * 86_400_000, 30 * 86_400_000 + 10)


@pytest.mark.parametrize("name", ["", " x", "x\n", "\x00", "x" * 201])
async def test_odd_names_are_refused(keys: KeyService, name: str) -> None:
    for arguments in ((name,), ("x", name)):
        with pytest.raises(BadRequest, match="printable characters"):
            await keys.create(*arguments)
    assert await keys.list() == []


async def test_keys_are_listed_oldest_first(store: Store, keys: KeyService) -> None:
    await apply_text(store, FILE)
    first, second = await keys.create("first"), await keys.create("second")
    assert [key.name for key in await keys.list()] == ["laptop", "first", "second"]
    assert first.text not in repr(await keys.list())
    assert second.key in await keys.list()


@pytest.mark.parametrize("by", ["id", "prefix", "name", "text"])
async def test_a_key_is_revoked_by_any_of_its_names(store: Store, keys: KeyService, by: str) -> None:
    created = await keys.create("robot")
    what = {"id": created.key.id, "prefix": created.key.prefix, "name": "robot", "text": created.text}[by]
    revoked = await keys.revoke(what)
    assert not revoked.active
    key = (await load_now(store)).keys[created.key.digest]
    assert (key.active, key.revoked_at) == (False, revoked.revoked_at)
    version = (await load_now(store)).version
    assert (await keys.revoke(what)).revoked_at == revoked.revoked_at
    assert (await load_now(store)).version >= version


async def test_a_key_of_a_file_can_be_revoked_too(store: Store, keys: KeyService) -> None:
    await apply_text(store, FILE)
    assert (await keys.revoke("the-key-of-alice")).name == "laptop"
    assert not next(iter((await load_now(store)).keys.values())).active


async def test_a_name_of_several_keys_is_refused_with_their_ids(keys: KeyService) -> None:
    one, two = await keys.create("robot"), await keys.create("robot")
    with pytest.raises(BadRequest) as caught:
        await keys.revoke("robot")
    assert one.key.id in str(caught.value)
    assert two.key.id in str(caught.value)
    await keys.revoke(one.key.id)
    assert (await keys.revoke("robot")).id == two.key.id


@pytest.mark.parametrize("what", ["nobody", "", "\x00", "\ud800", "apk_" + "x" * 43])
async def test_a_key_that_there_is_not_is_told_without_repeating_it(keys: KeyService, what: str) -> None:
    await keys.create("robot")
    with pytest.raises(NoSuch) as caught:
        await keys.revoke(what)
    assert "x" * 43 not in str(caught.value)


async def test_a_rotated_key_may_all_that_the_old_one_might(store: Store, keys: KeyService) -> None:
    await apply_text(store, FILE)
    old = (await keys.list())[0]
    created = await keys.rotate("laptop")
    snapshot = await load_now(store)
    key = snapshot.keys[key_digest(created.text) or b""]
    assert (key.user, key.name, key.allowed_models, key.limits) == (
        old.user,
        old.name,
        old.allowed_models,
        old.limits,
    )
    assert (key.source, created.subscription) == (Source.ADMIN, "pro")
    assert key.active and not snapshot.keys[old.digest].active
    assert (await apply_text(store, FILE)).changes == 0
    with pytest.raises(BadRequest, match="is not active"):
        await keys.rotate(old.id)


async def test_an_expired_key_is_not_rotated_into_one_that_never_works(store: Store) -> None:
    now = [NOW]
    keys = KeyService(store, Makers(lambda: new_key(os.urandom), lambda: os.urandom(8).hex(), lambda: now[0]))
    created = await keys.create("x", expires_in=60)
    now[0] += 60_000
    with pytest.raises(BadRequest, match=f"'x' .{created.key.prefix}. has expired; make a new one instead"):
        await keys.rotate("x")
    assert len(await keys.list()) == 1


async def test_whoever_follows_the_keys_is_told_of_each_change(keys: KeyService) -> None:
    told: list[int] = []

    async def changed() -> None:
        told.append(1)

    keys.changed = changed
    created = await keys.create("x")
    rotated = await keys.rotate(created.text)
    await keys.revoke(rotated.text)
    assert len(told) == 3


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (None, None),
        (1, 1000),
        (3600.0, 3_600_000),
        ("90", 90_000),
        ("30d", 2_592_000_000),
        (" 2w ", 1_209_600_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
    ],
)
def test_durations_are_seconds_or_carry_their_unit(value: object, milliseconds: int | None) -> None:
    assert duration_ms(value) == milliseconds


@pytest.mark.parametrize(
    "value",
    [0, -5, "0d", "soon", "5y", "1.5h", 1.5, True, [], {}, 10**12, "9" * 30, float("inf"), float("nan"), ""],
)
def test_other_durations_are_refused(value: object) -> None:
    with pytest.raises(BadRequest) as caught:
        duration_ms(value)
    assert caught.value.path == "$.expires_in"
