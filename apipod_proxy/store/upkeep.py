"""What has to be done to a database now and then: usage is summed up by the hour, so that totals stay quick to read; what is old goes."""

from __future__ import annotations

import asyncio
import logging

from apipod_proxy.errors import StoreError
from apipod_proxy.store.base import Store, now_ms
from apipod_proxy.store.responses import ResponseTable

logger = logging.getLogger("apipod_proxy.store")

LOCK = "upkeep"
EVERY_SECONDS = 60.0
DAY_MS = 86_400_000
SETTLED_MS = 300_000
"""Rows are left out of the sums for this long: a batch may be slow, and the clocks of replicas may differ."""


class Upkeep:
    """One task per process; of all processes on a database one does the work. ``owner`` tells this one from the others.

    ``keep_days``: how long rows of usage are kept; 0: for ever.
    """

    def __init__(
        self, store: Store, owner: str, every_seconds: float = EVERY_SECONDS, keep_days: int = 0
    ) -> None:
        self._store = store
        self._owner = owner
        self._every = every_seconds
        self._keep_days = keep_days
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="store-upkeep")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def run_once(self, now: int) -> bool:
        """Whether it was this process's turn. ``now`` in epoch milliseconds. Raises StoreError."""
        # The lease is shorter than the time between two turns: who takes it next is whoever comes first.
        if not await self._store.take_lock(LOCK, self._owner, now, int(self._every * 900)):
            return False
        await self._store.sum_usage(now - SETTLED_MS)
        await ResponseTable(self._store).delete_expired(now)
        if self._keep_days:
            await self._store.delete_usage(now - self._keep_days * DAY_MS)
        return True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.run_once(now_ms())
            except StoreError as exc:
                # Totals are right without it, only slower, and what has expired is found by nobody.
                logger.debug("upkeep failed", extra={"error": exc.problem})
