"""Accounts of providers taken out of service, and put back, by an admin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from apipod_proxy.catalog import rows
from apipod_proxy.catalog.ports import Database
from apipod_proxy.errors import NoSuch


@dataclass(slots=True)
class AccountService:
    """``changed`` is awaited after each change, so that this process sees it at once."""

    database: Database
    changed: Callable[[], Awaitable[None]] | None = None

    async def set_active(self, provider: str, account: str, active: bool) -> str:
        """Switch the account on or off, everywhere and until it is switched again or a changed file says otherwise; its id.

        Raises NoSuch.
        """
        identity = rows.id_of("account", provider, account)
        async with self.database.writing() as session:
            await session.fetch_one("bump_version", whole=1)
            if not await session.fetch("set_account_active", id=identity, active=int(active)):
                raise NoSuch("account", f"{provider}/{account}")
            await session.announce()
        if self.changed is not None:
            await self.changed()
        return identity
