"""Accounts of providers taken out of service, and put back, by an admin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from apipod_proxy.catalog import rows
from apipod_proxy.catalog.ports import Database
from apipod_proxy.errors import NoSuch


@dataclass(slots=True)
class AccountService:
    """``changed`` is awaited after each change, so that this process sees it at once; all others see it in the catalog."""

    database: Database
    changed: Callable[[], Awaitable[None]] | None = None

    async def set_active(self, provider: str, account: str, active: bool) -> None:
        """Switch the account on or off, everywhere and until it is switched again or a changed file says otherwise. Raises NoSuch.

        One that is on and switched on again is noted as such: so every process hears of it that holds a refusal against the account.
        """
        identity = rows.id_of("account", provider, account)
        async with self.database.writing() as session:
            row = await session.fetch_one("bump_version", whole=1)
            assert row is not None
            if active:
                found = await session.fetch("enable_account", id=identity, version=row[0])
            else:
                found = await session.fetch("disable_account", id=identity)
            if not found:
                raise NoSuch("account", f"{provider}/{account}")
            await session.announce()
        if self.changed is not None:
            await self.changed()
