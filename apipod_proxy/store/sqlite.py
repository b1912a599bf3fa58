"""The SQLite driver: a file in WAL mode, one connection that writes and two that read, each in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import aiosqlite

from apipod_proxy.errors import StoreError, StoreUnavailable
from apipod_proxy.store.base import Listener, Row, Session, Store
from apipod_proxy.store.statements import Library, for_rows
from apipod_proxy.store.usage import Value

BUSY_SECONDS = 10.0
"""How long a writer waits for another process to finish; a migration is the longest."""

READERS = 2
"""So that a long sum over the usage log does not hold up who asks for the version."""

_AWAY = ("locked", "busy", "unable to open", "disk i/o", "full", "readonly", "read-only", "removed")

ROWS_AT_ONCE = (100, 10, 1)
"""Rows of one INSERT, where many are appended. Between two statements the thread lets go of the interpreter and has to wait for it,
which under load costs more than the rows do."""


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Foreign exceptions end here."""
    try:
        yield
    except sqlite3.Error as exc:
        text = str(exc)
        kind = StoreUnavailable if any(word in text.lower() for word in _AWAY) else StoreError
        raise kind(f"{place}: {text}") from exc
    except (UnicodeEncodeError, OverflowError) as exc:
        raise StoreError(f"{place}: {exc}") from exc
    except ValueError as exc:
        # What aiosqlite raises on a connection that was closed.
        raise StoreUnavailable(f"{place}: {exc}") from exc


class Moved(sqlite3.OperationalError):
    """The file that is open is no longer the one of its name."""


class Reader(sqlite3.Connection):
    """A connection that begins nothing on a file that was removed or replaced: SQLite would go on with it, and nobody else would see it."""

    def __init__(self, path: str, *args: Any, **keywords: Any) -> None:
        super().__init__(path, *args, **keywords)
        self._path = Path(path)
        self._file = self._found()

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql.startswith("BEGIN") and self._found() != self._file:
            raise Moved("the file was removed or replaced")
        return super().execute(sql, parameters)

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class Writer(Reader):
    """The connection that writes; it lives in a thread, where every call of it costs the event loop two switches."""

    def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        """Within a transaction as ever. Outside of one it is one by itself: tuples for an INSERT of named parameters, all or none."""
        if self.in_transaction:
            return super().executemany(sql, rows)
        left = list(rows)
        self.execute("BEGIN IMMEDIATE")
        try:
            for size in ROWS_AT_ONCE:
                whole = len(left) - len(left) % size
                for start in range(0, whole, size):
                    self.execute(for_rows(sql, size), list(chain.from_iterable(left[start : start + size])))
                del left[:whole]
            self.commit()
        except BaseException:
            self.rollback()
            raise
        return self.cursor()


class SqliteSession(Session):
    def __init__(self, connection: aiosqlite.Connection, library: Library, place: str) -> None:
        self._connection = connection
        self._library = library
        self._place = place

    async def fetch(self, name: str, /, **parameters: object) -> Sequence[Row]:
        with translated(self._place):
            rows = await self._connection.execute_fetchall(self._library.statements[name].sql, parameters)
        return list(rows)

    async def execute(self, name: str, /, **parameters: object) -> None:
        await self.fetch(name, **parameters)

    async def execute_many(self, name: str, rows: Sequence[Mapping[str, object]], /) -> None:
        if rows:
            with translated(self._place):
                cursor = await self._connection.executemany(self._library.statements[name].sql, rows)
                await cursor.close()

    async def announce(self) -> None:
        """Nobody can listen: the version row is polled."""

    async def run(self, sql: str) -> None:
        with translated(self._place):
            await self._connection.execute_fetchall(sql)

    async def tables(self) -> frozenset[str]:
        with translated(self._place):
            rows = await self._connection.execute_fetchall(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')"
            )
        return frozenset(row[0] for row in rows)


@dataclass(slots=True)
class _Seat:
    """Who holds it has its connection alone, for one transaction; the connection is replaced when the file was."""

    connection: aiosqlite.Connection
    writes: bool


Free = asyncio.Queue[_Seat]


class SqliteStore(Store):
    is_sqlite = True
    poll_seconds = 0.25

    def __init__(self, library: Library, path: Path, seats: list[_Seat]) -> None:
        super().__init__(library)
        self.place = str(path)
        self._path = path
        self._seats = seats
        # Those that are free. A connection has one transaction at a time.
        self._writers: Free = asyncio.Queue()
        self._readers: Free = asyncio.Queue()
        for seat in seats:
            (self._writers if seat.writes else self._readers).put_nowait(seat)

    def __repr__(self) -> str:
        return f"<SqliteStore {self.place}>"

    @classmethod
    async def open(cls, library: Library, path: Path) -> SqliteStore:
        """Opens the file, made if it is not there; raises StoreUnavailable, StoreError."""
        place = str(path)
        try:
            await asyncio.to_thread(_make, path)
        except OSError as exc:
            raise StoreUnavailable(f"{place}: the folder cannot be made ({exc.strerror})") from exc
        seats: list[_Seat] = []
        with translated(place):
            # Tried here first: where aiosqlite cannot open it, its thread ends some time later and tells a loop that may be closed by then.
            await asyncio.to_thread(_try, path)
            try:
                for number in range(1 + READERS):
                    seats.append(_Seat(await _connect(path, writes=number == 0), number == 0))
            except BaseException:
                for seat in seats:
                    await seat.connection.close()
                raise
        return cls(library, path, seats)

    def reading(self) -> AbstractAsyncContextManager[Session]:
        return self._transaction(self._readers, "BEGIN")

    def writing(self) -> AbstractAsyncContextManager[Session]:
        return self._transaction(self._writers, "BEGIN IMMEDIATE")

    @asynccontextmanager
    async def _transaction(self, free: Free, begin: str) -> AsyncIterator[Session]:
        seat = await free.get()
        try:
            with translated(self.place):
                try:
                    await seat.connection.execute_fetchall(begin)
                except Moved:
                    await self._open_again(seat)
                    await seat.connection.execute_fetchall(begin)
            yield SqliteSession(seat.connection, self.library, self.place)
            with translated(self.place):
                await seat.connection.commit()
        except BaseException:
            # Also after a cancellation, when the thread may still have work to do: rolling back queues up behind it. Where
            # nothing was begun it does nothing.
            with translated(self.place):
                await asyncio.shield(asyncio.ensure_future(seat.connection.rollback()))
            raise
        finally:
            free.put_nowait(seat)

    async def _open_again(self, seat: _Seat) -> None:
        """Go on with the file that has the name now; raises Moved while there is none, which is not made here."""
        if not await asyncio.to_thread(self._path.exists):
            raise Moved("the file was removed")
        left, seat.connection = seat.connection, await _connect(self._path, writes=seat.writes)
        await left.close()

    async def _append(self, name: str, rows: Sequence[tuple[Value, ...]]) -> None:
        if not rows:
            return
        seat = await self._writers.get()
        sql = self.library.statements[name].sql
        try:
            with translated(self.place):
                # After a cancellation the thread goes on: whoever is next waits for it there.
                try:
                    await seat.connection.executemany(sql, rows)
                except Moved:
                    await self._open_again(seat)
                    await seat.connection.executemany(sql, rows)
        finally:
            self._writers.put_nowait(seat)

    @asynccontextmanager
    async def _migrating(self) -> AsyncIterator[Callable[[], AbstractAsyncContextManager[Session]]]:
        # BEGIN IMMEDIATE is the lock: one process at a time looks what is pending and runs it.
        yield self.writing

    async def listen(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> Listener | None:
        return None

    async def close(self) -> None:
        for seat in self._seats:
            await seat.connection.close()


def _make(path: Path) -> None:
    """The folder, and an empty file for its owner alone: what clients said is in it. The files beside it get the same mode from SQLite."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        pass  # it is there and keeps the mode that it has, or SQLite tells what is wrong


def _try(path: Path) -> None:
    sqlite3.connect(path).close()


async def _connect(path: Path, *, writes: bool) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, factory=Writer if writes else Reader
    )
    if writes:
        try:
            await _set_up(connection)
        except BaseException:
            await connection.close()
            raise
    return connection


async def _set_up(connection: aiosqlite.Connection) -> None:
    for attempt in range(100):
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as exc:
            # The one statement that does not wait for its turn by itself, when several processes start at once.
            if "locked" not in str(exc) or attempt == 99:
                raise
            await asyncio.sleep(0.05)
    # FULL: an acknowledged usage row outlives a power cut. Writes come in batches, so a sync each is cheap.
    await connection.execute_fetchall("PRAGMA synchronous = FULL")
    await connection.execute_fetchall("PRAGMA foreign_keys = ON")
