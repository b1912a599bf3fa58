"""The interface of both drivers, and what they share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from apipod_proxy.errors import StoreError
from apipod_proxy.store import usage
from apipod_proxy.store.statements import Library, Migration

SUMMED = "summed"
"""The mark before which the hourly sums hold everything that was booked."""


class Row(Protocol):
    """The columns of a row, in the order of its statement."""

    def __getitem__(self, place: int, /) -> Any: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


class Session(ABC):
    """Statements by name, inside one transaction. A name or parameter that is unknown is a KeyError: a mistake in this program."""

    @abstractmethod
    async def fetch(self, name: str, /, **parameters: object) -> Sequence[Row]: ...

    @abstractmethod
    async def execute(self, name: str, /, **parameters: object) -> None: ...

    @abstractmethod
    async def execute_many(self, name: str, rows: Sequence[Mapping[str, object]], /) -> None: ...

    @abstractmethod
    async def announce(self) -> None:
        """Tell everybody who listens, once this transaction is committed, that the catalog or the keys changed."""

    @abstractmethod
    async def run(self, sql: str) -> None:
        """One statement of a migration."""

    @abstractmethod
    async def tables(self) -> frozenset[str]:
        """The tables that are there, whoever made them."""

    async def fetch_one(self, name: str, /, **parameters: object) -> Row | None:
        rows = await self.fetch(name, **parameters)
        return rows[0] if rows else None


class Listener(Protocol):
    async def check(self) -> None:
        """Raises if the server no longer answers: a connection that died in silence tells of nothing, its end included."""

    async def close(self) -> None: ...


class Store(ABC):
    """A database. ``poll_seconds``: how often its version has to be asked for, so that a change is seen within a second."""

    place: str
    """Where it is, in words that may be shown."""
    poll_seconds: float
    is_sqlite: bool

    def __init__(self, library: Library) -> None:
        self.library = library

    @abstractmethod
    def reading(self) -> AbstractAsyncContextManager[Session]:
        """One consistent view for as long as it is open."""

    @abstractmethod
    def writing(self) -> AbstractAsyncContextManager[Session]:
        """One transaction: committed at the end, rolled back when an exception (or a cancellation) leaves it."""

    @abstractmethod
    async def listen(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> Listener | None:
        """Have ``on_change`` called at every announcement, ``on_lost`` once if that ends; None where there are no announcements."""

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def _append(self, name: str, rows: Sequence[tuple[usage.Value, ...]]) -> None:
        """Run an INSERT for each of ``rows``, all or none; values stand in the order of its parameters."""

    @abstractmethod
    def _migrating(self) -> AbstractAsyncContextManager[Callable[[], AbstractAsyncContextManager[Session]]]:
        """Keeps other processes from migrating; gives what opens one transaction."""

    # Migrations

    async def migrate(self) -> list[str]:
        """Bring the schema up to date; the names of the migrations that were run. Any number of processes may call it at once."""
        async with self.reading() as session:
            if not await self._pending(session):
                return []
        done: list[str] = []
        async with self._migrating() as transaction:
            while True:
                async with transaction() as session:
                    pending = await self._pending(session)
                    if not pending:
                        return done
                    await self._run(session, pending[0])
                done.append(_full_name(pending[0]))

    async def pending(self) -> list[str]:
        """The names of the migrations that ``migrate`` would run."""
        async with self.reading() as session:
            return [_full_name(migration) for migration in await self._pending(session)]

    async def _pending(self, session: Session) -> tuple[Migration, ...]:
        tables = await session.tables()
        known = self.library.migrations
        applied: set[int] = set()
        if "apipod_migrations" in tables:
            applied = {row[0] for row in await session.fetch("read_migrations")}
        newer = sorted(applied - {migration.number for migration in known})
        if newer:
            raise StoreError(
                f"{self.place} was migrated by a newer version of this program (migration {newer[-1]:04d})"
            )
        foreign = sorted(tables & self.library.tables)
        if not applied and foreign:
            raise StoreError(
                f"{self.place} holds tables of another program ({', '.join(foreign)}); nothing was changed: name another"
                f" {'file' if self.is_sqlite else 'schema in DATABASE_SCHEMA'}"
            )
        return tuple(migration for migration in known if migration.number not in applied)

    async def _run(self, session: Session, migration: Migration) -> None:
        for statement in migration.statements:
            await session.run(statement)
        now = time.time_ns() // 1_000_000
        await session.execute("put_migration", number=migration.number, name=migration.name, applied_at=now)

    # Locks of periodic jobs

    async def take_lock(self, name: str, owner: str, now: int, milliseconds: int) -> bool:
        """Whether ``owner`` now holds the lock, until it expires or is dropped; taking it again renews it."""
        async with self.writing() as session:
            row = await session.fetch_one(
                "take_lock", name=name, owner=owner, now=now, expires_at=now + milliseconds
            )
            return row is not None

    async def drop_lock(self, name: str, owner: str) -> None:
        async with self.writing() as session:
            await session.execute("drop_lock", name=name, owner=owner)

    # Usage

    async def insert_usage(self, rows: Sequence[tuple[usage.Value, ...]]) -> None:
        """Append rows, all or none: values in the order of USAGE_COLUMNS, booleans as 0 or 1.

        A row whose request id is there already is left alone, so a batch may be sent again.
        """
        await self._append("insert_usage", usage.booked(rows, now_ms()))

    async def read_usage(self, since: int, until: int, most: int, last_id: str = "") -> list[dict[str, Any]]:
        """Rows that started in [since, until), newest first, as column → value.

        For the next page ``until`` and ``last_id`` are ``started_at`` and ``request_id`` of the last row.
        """
        async with self.reading() as session:
            rows = await session.fetch("read_usage", since=since, until=until, last_id=last_id, most=most)
            return [dict(zip(usage.USAGE_COLUMNS, list(row), strict=True)) for row in rows]

    async def total_usage(
        self, grouping: str, since: int, until: int = usage.FAR, *, asked: bool = False
    ) -> list[usage.UsageTotal]:
        """Sums per owner of ``grouping`` (one of GROUPINGS) over what started in [since, until). The owner of "proxy" is "".

        With ``asked`` without the requests that were refused before any candidate was asked.
        """
        if grouping not in usage.GROUPINGS:
            raise ValueError(f"{grouping!r} is not one of {', '.join(usage.GROUPINGS)}")
        first_hour, last_hour = usage.whole_hours(since, until)
        async with self.reading() as session:
            rows = await session.fetch(
                "total_usage",
                grouping=grouping,
                since=since,
                until=until,
                first_hour=first_hour,
                last_hour=last_hour,
                summed=await _mark(session, SUMMED),
                asked=int(asked),
            )
        totals = [usage.UsageTotal(*list(row)) for row in rows]
        return [total._replace(owner="") for total in totals] if grouping == "proxy" else totals

    async def sum_usage(self, until: int) -> None:
        """Add what was booked before ``until`` (epoch milliseconds) to the hourly sums, from which totals are read then.

        Whoever books must not be so late that a row with an earlier time is committed after this.
        """
        async with self.writing() as session:
            since = await _mark(session, SUMMED)
            if since < until:
                await session.execute("sum_usage", since=since, until=until)
                await session.execute("put_mark", name=SUMMED, value=until)

    async def retried_attempts(self, since: int) -> list[str]:
        """``attempts`` (JSON) of the requests since then that took more than one."""
        async with self.reading() as session:
            return [row[0] for row in await session.fetch("retried_attempts", since=since)]

    async def delete_usage(self, before: int, most: int = 10_000, slices: int = 100) -> None:
        """Forget the rows that started before; their sums stay. ``most`` at a time, so that whoever books waits for none of it long."""
        for _ in range(slices):
            async with self.writing() as session:
                row = await session.fetch_one("end_of_slice", before=before, most=most)
                await session.execute("delete_usage", before=before if row is None else int(row[0]) + 1)
            if row is None:
                return

    # Levels of limits

    async def read_levels(self) -> list[tuple[str, str, str, int, int]]:
        """(scope, owner, kind, value, at) as they were saved."""
        async with self.reading() as session:
            return [(row[0], row[1], row[2], row[3], row[4]) for row in await session.fetch("read_levels")]

    async def save_levels(
        self, rows: Sequence[tuple[str, str, str, int, int]], forget_before: int = 0
    ) -> None:
        """Keep the levels, and forget those that were last saved for a time before ``forget_before``."""
        names = ("scope", "owner", "kind", "value", "at")
        async with self.writing() as session:
            # Sorted, so that two processes that save at once lock the rows in one order.
            await session.execute_many(
                "put_level", [dict(zip(names, row, strict=True)) for row in sorted(rows)]
            )
            await session.execute("delete_levels", before=forget_before)


def _full_name(migration: Migration) -> str:
    return f"{migration.number:04d}_{migration.name}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _mark(session: Session, name: str) -> int:
    row = await session.fetch_one("read_mark", name=name)
    assert row is not None
    return int(row[0])
