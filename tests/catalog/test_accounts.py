"""Accounts switched off and on."""

from __future__ import annotations

import pytest

from apipod_proxy.catalog.accounts import AccountService
from apipod_proxy.errors import NoSuch
from apipod_proxy.store import Store
from tests.catalog.cases import FULL, apply_text, load_now


async def test_an_account_is_switched_until_a_file_says_otherwise(store: Store) -> None:
    await apply_text(store, FULL)
    told: list[int] = []

    async def changed() -> None:
        told.append(1)

    accounts = AccountService(store, changed)
    await accounts.set_active("pool", "a", False)
    (a, _) = (await load_now(store)).providers["pool"].accounts
    assert (a.active, told) == (False, [1])
    assert (await apply_text(store, FULL)).changed == {"accounts": ["pool/a"]}
    assert (await load_now(store)).providers["pool"].accounts[0].active


async def test_an_account_that_is_on_can_be_enabled_again_and_no_file_undoes_that(store: Store) -> None:
    await apply_text(store, FULL)
    assert [account.enabled for account in (await load_now(store)).providers["pool"].accounts] == [0, 0]
    await AccountService(store).set_active("pool", "a", True)
    before = await load_now(store)
    assert [account.enabled for account in before.providers["pool"].accounts] == [before.version, 0]
    # It is no change that a file would take back, and what a file changes leaves it.
    assert not (await apply_text(store, FULL)).changed
    await AccountService(store).set_active("pool", "a", False)
    assert (await apply_text(store, FULL)).changed == {"accounts": ["pool/a"]}
    assert (await load_now(store)).providers["pool"].accounts[0].enabled == before.version


async def test_an_account_that_there_is_not_is_told(store: Store) -> None:
    before = (await load_now(store)).version
    with pytest.raises(NoSuch, match="There is no account 'pool/x'"):
        await AccountService(store).set_active("pool", "x", True)
    assert (await load_now(store)).version == before
