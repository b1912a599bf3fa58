"""The levels of limits over a restart: saved every second, and counted up from the usage log before the first request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from apipod_proxy.catalog.model import LimitTable, Snapshot
from apipod_proxy.errors import StoreError
from apipod_proxy.limit.backend import Limits
from apipod_proxy.limit.model import WINDOW_KINDS, Row
from apipod_proxy.store import Store
from apipod_proxy.usage.budgets import SCOPES, losers_of, owners, reseed, windows

log = logging.getLogger("apipod_proxy.levels")

SAVE_SECONDS = 1.0
FORGET_MILLISECONDS = 40 * 86_400_000
"""A little more than the longest window."""


class Levels:
    """Carries what was used over from one process to the next. ``clock`` gives epoch seconds."""

    def __init__(self, store: Store, limits: Limits, clock: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._changed: dict[tuple[str, str, str], Row] = {}
        """What is not written down yet."""

    async def restore(self, snapshot: Snapshot) -> None:
        """Take over what earlier processes saved, and what the usage log says of the running windows. Raises StoreError."""
        self._limits.seed(Row(*row) for row in await self._store.read_levels())
        if has_windows(snapshot):
            self._limits.seed(await self.totals(snapshot))

    async def totals(self, snapshot: Snapshot) -> list[Row]:
        """What the usage log says of the running day and month."""
        names = owners(snapshot)
        found: list[Row] = []
        for window in windows(int(self._clock() * 1000)):
            losers = losers_of(await self._store.retried_attempts(window.since), snapshot)
            for scope in SCOPES:
                # Who was refused has spent nothing, however often it came.
                totals = await self._store.total_usage(scope, window.since, asked=True)
                found += (Row(*used) for used in reseed(window, scope, totals, names[scope], losers))
        return found

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="levels")

    async def close(self) -> None:
        """Save a last time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await self._try_to_save()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            await self._try_to_save()

    async def _try_to_save(self) -> None:
        try:
            await self.save()
        except StoreError as error:
            # The usage log knows the windows too; only the debts of buckets depend on this, and they pass in a minute.
            log.debug("Levels could not be saved.", extra={"reason": error.problem})

    async def save(self) -> None:
        """Write down what changed since the last time."""
        for rows in self._limits.snapshot():
            self._changed.update((row[:3], row) for row in rows)
            # With a day's counters of ten thousand keys, streams would stand still every second.
            await asyncio.sleep(0)
        if self._changed:
            rows = list(self._changed.values())
            await self._store.save_levels(rows, int(self._clock() * 1000) - FORGET_MILLISECONDS)
            self._changed.clear()


def has_windows(snapshot: Snapshot) -> bool:
    """Whether any limit counts by day or month: only these have to be counted up."""
    return any(kind in table for table in _tables(snapshot) for kind in WINDOW_KINDS)


def _tables(snapshot: Snapshot) -> Iterable[LimitTable]:
    yield snapshot.limits
    for provider in snapshot.providers.values():
        yield provider.limits
        for account in provider.accounts:
            yield account.limits
    for model in snapshot.models.values():
        yield model.limits
    for subscription in snapshot.subscriptions.values():
        yield subscription.limits
        yield subscription.user_limits
    for user in snapshot.users.values():
        yield user.limits
    for key in snapshot.keys.values():
        yield key.limits
