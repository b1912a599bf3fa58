"""The ledger: rows are taken in at once and stored in batches by one task. No row is lost while there is memory or disk for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

from apipod_proxy.usage.record import UsageRow
from apipod_proxy.usage.spool import Spool

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

Insert = Callable[[Sequence[UsageRow]], Awaitable[None]]
"""Stores rows, all or none, and ignores those whose request_id is there already."""


class LedgerOptions(NamedTuple):
    """Rows and seconds. ``batch`` rows are stored at once, at the latest ``interval`` after the first of them.

    From ``spill`` waiting rows on the oldest go to a file; beyond ``most`` they are dropped and counted, as long as the disk fails too.
    """

    batch: int = 500
    interval: float = 0.25
    spill: int = 200_000
    most: int = 1_000_000
    insert_timeout: float = 30.0
    retry_base: float = 0.25
    retry_max: float = 5.0


class Ledger:
    """One per worker. ``unavailable`` are the errors after which the same rows are tried again, for as long as it takes.

    An error of another type is the fault of a row: the rows are then stored one by one, and what the store refuses goes to a file
    of its own beside the spool. ``spool`` is None where nothing can be kept on disk.
    """

    def __init__(
        self,
        insert: Insert,
        unavailable: tuple[type[Exception], ...],
        spool: Spool | None = None,
        options: LedgerOptions | None = None,
    ) -> None:
        self._insert = insert
        self._unavailable: tuple[type[Exception], ...] = (*unavailable, TimeoutError)
        self._spool = spool
        self.options = options or LedgerOptions()
        self._batch = self.options.batch
        self._rows: deque[UsageRow] = deque()
        self._due = asyncio.Event()
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # One thread, so that what a cancelled writer left running is over before the files are closed.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="usage-spool")
        self._recorded = 0
        self._done = 0
        self.stored = 0
        self.dropped = 0
        self.rejected = 0
        self.failing = False
        """Whether the last attempt to store failed for want of the store."""

    def __repr__(self) -> str:
        state = "failing" if self.failing else "ok"
        return f"<Ledger {state} waiting={self.depth} stored={self.stored} dropped={self.dropped}>"

    @property
    def depth(self) -> int:
        """Rows that are not stored yet, those on disk included."""
        return len(self._rows) + (0 if self._spool is None else self._spool.rows)

    async def start(self) -> None:
        """Takes over what an earlier process left in the spool, and starts the writer."""
        if self._spool is not None:
            try:
                left = await self._on_disk(self._spool.open)
            except OSError:
                logger.exception("usage cannot be kept on disk, only in memory")
                self._spool, left = None, 0
            if left:
                logger.info("usage rows of an earlier run are waiting to be stored", extra={"rows": left})
        self._task = asyncio.create_task(self._run(), name="usage-writer")

    def record(self, row: UsageRow) -> None:
        """Takes ``row`` in; stores nothing, waits for nothing, raises nothing."""
        rows = self._rows
        rows.append(row)
        self._recorded += 1
        if len(rows) >= self._batch:
            self._due.set()
            if len(rows) > self.options.most:
                rows.popleft()
                self._done += 1
                self.dropped += 1

    async def flush(self, seconds: float = 10.0) -> bool:
        """Stores what has been recorded until now; whether that was done within ``seconds``."""
        goal = self._recorded
        try:
            async with asyncio.timeout(seconds):
                while self._done < goal:
                    self._settled.clear()
                    self._due.set()
                    await self._settled.wait()
        except TimeoutError:
            return False
        return self._spool is None or self._spool.rows == 0

    async def close(self, seconds: float = 10.0) -> int:
        """Stores what is left, within ``seconds``, and spools the rest; how many rows are on disk or lost."""
        if self._task is not None:
            if not self.failing or self._spool is None:
                await self.flush(seconds)
            self._task.cancel()
            try:
                await self._task
            except asyncio.CancelledError:
                if not self._task.cancelled():
                    raise
            self._task = None
        left = list(self._rows)
        self._rows.clear()
        if self._spool is None:
            if left:
                logger.error("usage rows are lost, the store is away", extra={"rows": len(left)})
            return len(left)
        waiting = len(left) + self._spool.rows
        if waiting:
            logger.warning("usage rows are kept on disk until the next start", extra={"rows": waiting})
        try:
            await self._on_disk(self._spool.close, left)
        except OSError:
            logger.exception("usage rows are lost, the disk does not take them", extra={"rows": len(left)})
        self._disk.shutdown(wait=False)
        return waiting

    async def _on_disk(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work, *arguments)

    # The writer

    async def _run(self) -> None:
        delay = self.options.retry_base
        while True:
            await self._pause(self.options.interval if not self.failing else delay)
            try:
                await self._drain()
            except self._unavailable as exc:
                delay = min(delay * 2, self.options.retry_max) if self.failing else self.options.retry_base
                if not self.failing:
                    logger.warning(
                        "usage cannot be stored, rows are kept", extra={"reason": type(exc).__name__}
                    )
                self.failing = True
                await self._spill()
            except Exception:
                # Whatever it is, the writer goes on: rows that are kept can be stored later, rows of a dead writer cannot.
                logger.exception("the usage writer failed and goes on")
                self.failing = True
            else:
                if self.failing:
                    logger.info("usage is stored again", extra={"rows": self.stored})
                self.failing = False
            self._settled.set()

    async def _pause(self, seconds: float) -> None:
        if self.failing:
            # The store is away: a full batch is no reason to hurry.
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._due.wait()
        except TimeoutError:
            pass  # nobody hurries: the interval is over
        self._due.clear()

    async def _drain(self) -> None:
        """Stores all rows that are waiting, the oldest first. Raises what ``unavailable`` names."""
        try:
            await self._drain_spool()
        except OSError:
            # A bad disk must not hold up the rows that are in memory.
            logger.exception("usage rows on disk cannot be read")
        while self._rows:
            batch, dropped = list(islice(self._rows, self._batch)), self.dropped
            await self._store(batch)
            # The bound may have dropped some of them meanwhile, the oldest first.
            left = max(0, len(batch) - (self.dropped - dropped))
            for _ in range(left):
                self._rows.popleft()
            self._done += left
            self._settled.set()

    async def _drain_spool(self) -> None:
        while self._spool is not None and self._spool.rows:
            batch = await self._on_disk(self._spool.read, self._batch)
            await self._store(batch)
            await self._on_disk(self._spool.forget)

    async def _store(self, batch: list[UsageRow]) -> None:
        if not batch:
            return
        try:
            await self._insert_in_time(batch)
        except self._unavailable:
            raise
        except Exception:
            logger.exception("a batch of usage was refused, its rows are stored one by one")
            await self._one_by_one(batch)
        else:
            self.stored += len(batch)

    async def _one_by_one(self, batch: list[UsageRow]) -> None:
        refused = []
        for row in batch:
            try:
                await self._insert_in_time([row])
                self.stored += 1
            except self._unavailable:
                raise
            except Exception:
                logger.exception("a usage row was refused", extra={"request_id": row.request_id})
                refused.append(row)
        if refused:
            self.rejected += len(refused)
            if self._spool is not None:
                try:
                    await self._on_disk(self._spool.reject, refused)
                except OSError:
                    logger.exception("refused usage rows cannot be kept on disk")

    async def _insert_in_time(self, rows: Sequence[UsageRow]) -> None:
        async with asyncio.timeout(self.options.insert_timeout):
            await self._insert(rows)

    async def _spill(self) -> None:
        """Moves the oldest rows to disk while memory is short of its bound."""
        if self._spool is None:
            return
        while len(self._rows) > self.options.spill:
            batch = list(islice(self._rows, self.options.spill // 2))
            try:
                await self._on_disk(self._spool.append, batch)
            except OSError:
                logger.exception("usage cannot be kept on disk either")
                return
            for row in batch:
                if self._rows and self._rows[0] is row:
                    self._rows.popleft()
                    self._done += 1
