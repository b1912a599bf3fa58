from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from apipod_proxy.usage.outbox import Ledger, LedgerOptions
from apipod_proxy.usage.record import UsageRow
from apipod_proxy.usage.spool import REJECTED, Spool
from tests.usage.build import row

QUICK = LedgerOptions(batch=10, interval=0.005, retry_base=0.005, retry_max=0.01)


class Away(Exception):
    """What the store says when it cannot be reached."""


class Table:
    """A store that can go away, hang, and refuse rows; like a real one it ignores a request_id that it holds already."""

    def __init__(self) -> None:
        self.rows: dict[str, UsageRow] = {}
        self.batches: list[int] = []
        self.away = False
        self.hangs = False
        self.refuses: set[str] = set()

    async def insert(self, rows: Sequence[UsageRow]) -> None:
        self.batches.append(len(rows))
        if self.hangs:
            await asyncio.sleep(60)
        if self.away:
            raise Away
        if self.refuses & {entry.request_id for entry in rows}:
            raise ValueError("no such user")
        for entry in rows:
            self.rows.setdefault(entry.request_id, entry)


async def ledger(table: Table, spool: Spool | None = None, options: LedgerOptions = QUICK) -> Ledger:
    made = Ledger(table.insert, (Away,), spool, options)
    await made.start()
    return made


def rows(count: int, prefix: str = "r") -> list[UsageRow]:
    return [row(f"{prefix}{number}", ()) for number in range(count)]


async def until(table: Table, count: int) -> None:
    async with asyncio.timeout(5):
        while len(table.rows) < count:
            await asyncio.sleep(0.002)


async def test_rows_are_stored_in_batches_in_their_order() -> None:
    table = Table()
    book = await ledger(table)
    for entry in rows(25):
        book.record(entry)
    assert book.depth == 25
    assert await book.flush()
    assert list(table.rows) == [f"r{number}" for number in range(25)]
    assert table.batches == [10, 10, 5]
    assert (book.depth, book.stored) == (0, 25)
    assert await book.close() == 0


async def test_a_row_is_stored_without_being_asked_for() -> None:
    table = Table()
    book = await ledger(table)
    book.record(row())
    await until(table, 1)
    await book.close()


async def test_a_full_batch_does_not_wait_for_the_interval() -> None:
    table = Table()
    book = await ledger(table, options=LedgerOptions(batch=10, interval=60))
    for entry in rows(10):
        book.record(entry)
    await until(table, 10)
    await book.close()


async def test_closing_stores_what_is_left() -> None:
    table = Table()
    book = await ledger(table, options=LedgerOptions(interval=60))
    for entry in rows(3):
        book.record(entry)
    assert await book.close() == 0
    assert len(table.rows) == 3


async def test_rows_are_kept_while_the_store_is_away_and_stored_when_it_is_back() -> None:
    table = Table()
    table.away = True
    book = await ledger(table)
    for entry in rows(30):
        book.record(entry)
    assert not await book.flush(0.05)
    assert "failing waiting=30" in repr(book)
    assert book.depth == 30
    table.away = False
    await until(table, 30)
    assert await book.flush()
    assert "ok waiting=0" in repr(book)
    assert book.dropped == 0
    await book.close()


async def test_a_store_that_hangs_is_a_store_that_is_away() -> None:
    table = Table()
    table.hangs = True
    book = await ledger(table, options=QUICK._replace(insert_timeout=0.01))
    book.record(row())
    assert not await book.flush(0.1)
    assert book.failing
    table.hangs = False
    await until(table, 1)
    await book.close()


async def test_a_row_that_the_store_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    table = Table()
    table.refuses = {"r3"}
    book = await ledger(table, Spool(tmp_path, "0"))
    for entry in rows(10):
        book.record(entry)
    assert await book.flush()
    assert len(table.rows) == 9
    assert book.rejected == 1
    assert b"r3" in (tmp_path / REJECTED).read_bytes()
    assert await book.close() == 0


async def test_many_waiting_rows_go_to_disk_and_come_back(tmp_path: Path) -> None:
    table = Table()
    table.away = True
    spool = Spool(tmp_path, "0")
    book = await ledger(table, spool, QUICK._replace(spill=20))
    for entry in rows(100):
        book.record(entry)
    async with asyncio.timeout(5):
        while len(book._rows) > 20:
            await asyncio.sleep(0.002)
    assert spool.rows >= 80
    assert book.depth == 100
    table.away = False
    await until(table, 100)
    async with asyncio.timeout(5):
        while book.depth:
            await asyncio.sleep(0.002)
    assert await book.close() == 0
    assert list(tmp_path.iterdir()) == []
    assert book.dropped == 0


async def test_without_memory_and_disk_the_oldest_rows_are_dropped_and_counted() -> None:
    table = Table()
    table.away = True
    book = await ledger(table, options=QUICK._replace(most=50))
    for entry in rows(60):
        book.record(entry)
    assert (book.depth, book.dropped) == (50, 10)
    table.away = False
    await until(table, 50)
    assert "r9" not in table.rows
    assert "r10" in table.rows
    await book.close()


async def test_what_cannot_be_stored_at_the_end_waits_on_disk_for_the_next_start(tmp_path: Path) -> None:
    table = Table()
    table.away = True
    book = await ledger(table, Spool(tmp_path, "0"))
    for entry in rows(7):
        book.record(entry)
    assert await book.close(0.05) == 7
    table.away = False
    again = await ledger(table, Spool(tmp_path, "0"))
    await until(table, 7)
    assert table.rows["r3"] == rows(7)[3]
    async with asyncio.timeout(5):
        while again.depth:  # stored, and not yet forgotten on disk
            await asyncio.sleep(0.002)
    assert await again.flush()
    assert await again.close() == 0
    assert list(tmp_path.iterdir()) == []


async def test_without_a_disk_what_is_lost_at_the_end_is_told() -> None:
    table = Table()
    table.away = True
    book = await ledger(table)
    for entry in rows(7):
        book.record(entry)
    assert await book.close(0.05) == 7


async def test_a_ledger_that_was_never_started_closes() -> None:
    table = Table()
    book = Ledger(table.insert, (Away,))
    assert await book.close() == 0


async def test_a_flush_does_not_wait_for_rows_that_come_later() -> None:
    table = Table()
    book = await ledger(table)
    book.record(row("first", ()))
    flushing = asyncio.create_task(book.flush())
    stop = asyncio.Event()

    async def keeps_coming() -> None:
        number = 0
        while not stop.is_set():
            book.record(row(f"later{number}", ()))
            number += 1
            await asyncio.sleep(0)

    coming = asyncio.create_task(keeps_coming())
    assert await flushing
    assert "first" in table.rows
    stop.set()
    await coming
    await book.close()


async def test_without_a_writable_disk_the_ledger_lives_in_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    table = Table()
    book = await ledger(table, Spool(blocked, "0"))
    book.record(row())
    assert await book.flush()
    assert await book.close() == 0


async def test_a_disk_that_fails_holds_up_nothing(tmp_path: Path) -> None:
    class Broken(Spool):
        """A disk that takes rows and gives none back."""

        def read(self, most: int) -> list[UsageRow]:
            raise OSError(5, "Input/output error")

        def reject(self, rows: Iterable[UsageRow]) -> None:
            raise OSError(5, "Input/output error")

    table = Table()
    table.refuses = {"bad"}
    spool = Broken(tmp_path, "0")
    await asyncio.to_thread(spool.append, [row("on disk")])
    book = await ledger(table, spool)
    book.record(row("bad"))
    book.record(row("in memory"))
    await until(table, 1)
    assert set(table.rows) == {"in memory"}
    await book.close(0.05)


async def test_the_writer_outlives_errors_of_any_kind() -> None:
    class Odd(Table):
        async def insert(self, rows: Sequence[UsageRow]) -> None:
            if self.away:
                raise Unforeseen
            await super().insert(rows)

    table = Odd()
    table.away = True
    book = await ledger(table)
    book.record(row("refused"))
    await book.flush()
    assert book.rejected == 1
    table.away = False
    book.record(row("taken"))
    assert await book.flush()
    assert set(table.rows) == {"taken"}
    await book.close()


async def test_a_full_disk_keeps_rows_in_memory(tmp_path: Path) -> None:
    class Full(Spool):
        """A disk that takes nothing."""

        def append(self, rows: Iterable[UsageRow]) -> None:
            if list(rows):
                raise OSError(28, "No space left on device")

    table = Table()
    table.away = True
    book = await ledger(table, Full(tmp_path, "0"), QUICK._replace(spill=5))
    for entry in rows(30):
        book.record(entry)
    assert not await book.flush(0.05)
    assert book.depth == 30
    table.away = False
    await until(table, 30)
    table.away = True
    book.record(row("late"))
    assert await book.close(0.05) == 1


async def test_a_broken_spool_does_not_end_the_writer(tmp_path: Path) -> None:
    class Odd(Spool):
        """A queue with a fault of its own."""

        broken = True

        def read(self, most: int) -> list[UsageRow]:
            if self.broken:
                raise Unforeseen
            return super().read(most)

    table = Table()
    spool = Odd(tmp_path, "0")
    await asyncio.to_thread(spool.append, [row("on disk")])
    book = await ledger(table, spool)
    book.record(row("in memory"))
    assert not await book.flush(0.05)
    spool.broken = False
    await until(table, 2)
    assert await book.close() == 0


class Unforeseen(Exception):
    """Something that nobody has foreseen."""
