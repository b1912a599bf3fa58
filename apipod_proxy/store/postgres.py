"""The PostgreSQL driver: a small asyncpg pool, the tables in a schema of their own."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from apipod_proxy.errors import StoreError, StoreUnavailable
from apipod_proxy.store.base import Listener, Row, Session, Store
from apipod_proxy.store.dsn import ConnectArguments, connect_arguments, shown
from apipod_proxy.store.statements import Library
from apipod_proxy.store.usage import Value

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

POOL_SIZE = 4
"""Connections of one worker. Nothing on the request path needs one."""

STATEMENT_SECONDS = 30.0
CHECK_SECONDS = 5.0
MIGRATION_SECONDS = 300.0

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that went away in the middle of a statement
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.ReadOnlySQLTransactionError,
)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Foreign exceptions end here."""
    try:
        yield
    except (asyncpg.InvalidAuthorizationSpecificationError, ValueError, OverflowError) as exc:
        # ValueError: a URL or a value that the driver cannot take; some of its kinds are InterfaceErrors too.
        raise StoreError(f"{place}: {exc}") from exc
    except _AWAY as exc:
        raise StoreUnavailable(f"{place}: {str(exc) or type(exc).__name__}") from exc
    except asyncpg.PostgresError as exc:
        raise StoreError(f"{place}: {exc}") from exc


class PostgresSession(Session):
    def __init__(self, connection: Connection, library: Library, place: str, schema: str) -> None:
        self._connection = connection
        self._library = library
        self._place = place
        self._schema = schema

    async def fetch(self, name: str, /, **parameters: object) -> Sequence[Row]:
        statement = self._library.statements[name]
        with translated(self._place):
            rows = await self._connection.fetch(
                statement.sql, *[parameters[key] for key in statement.parameters]
            )
        return cast("Sequence[Row]", rows)

    async def execute(self, name: str, /, **parameters: object) -> None:
        await self.fetch(name, **parameters)

    async def execute_many(self, name: str, rows: Sequence[Mapping[str, object]], /) -> None:
        if rows:
            statement = self._library.statements[name]
            with translated(self._place):
                await self._connection.executemany(
                    statement.sql, [[row[key] for key in statement.parameters] for row in rows]
                )

    async def announce(self) -> None:
        with translated(self._place):
            await self._connection.execute("SELECT pg_notify($1, '')", channel(self._schema))

    async def run(self, sql: str) -> None:
        with translated(self._place):
            await self._connection.execute(sql, timeout=MIGRATION_SECONDS)

    async def tables(self) -> frozenset[str]:
        with translated(self._place):
            rows = await self._connection.fetch(
                "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
                " WHERE nspname = $1 AND relkind IN ('r', 'p', 'v', 'm', 'f')",
                self._schema,
            )
        return frozenset(row[0] for row in rows)


class PostgresListener:
    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], place: str) -> None:
        self._connection = connection
        self._place = place

    async def check(self) -> None:
        with translated(self._place):
            await self._connection.execute("SELECT 1", timeout=CHECK_SECONDS)

    async def close(self) -> None:
        try:
            with translated(self._place):
                await self._connection.close(timeout=2)
        finally:
            # Where the server no longer answers, closing politely fails.
            self._connection.terminate()


class PostgresStore(Store):
    is_sqlite = False
    poll_seconds = 5.0

    def __init__(
        self, library: Library, pool: Pool, arguments: ConnectArguments, schema: str, place: str
    ) -> None:
        super().__init__(library)
        self.place = place
        self._pool = pool
        self._arguments = arguments
        self._schema = schema

    def __repr__(self) -> str:
        return f"<PostgresStore {self.place}>"

    @classmethod
    async def open(cls, library: Library, url: str, schema: str) -> PostgresStore:
        """Connects; raises StoreUnavailable, StoreError."""
        place = f"{shown(url)} (schema {schema})"
        with translated(place):
            arguments = connect_arguments(url)
            pool = await asyncpg.create_pool(
                **_connect_keywords(arguments, schema),
                min_size=1,
                max_size=POOL_SIZE,
                command_timeout=STATEMENT_SECONDS,
                max_inactive_connection_lifetime=300.0,
            )
            try:
                path = await pool.fetchval("SHOW search_path")
            except BaseException:
                pool.terminate()
                raise
        if path != f'"{schema}"':
            pool.terminate()
            raise StoreError(
                f"{place}: the search_path is {path}; a pooler in front of the server must let it pass"
            )
        return cls(library, pool, arguments, schema, place)

    @asynccontextmanager
    async def _transaction(self, *, writing: bool) -> AsyncIterator[Session]:
        with translated(self.place):
            connection = await self._pool.acquire(timeout=self._arguments.timeout)
        try:
            async with self._begun(connection, writing=writing) as session:
                yield session
        finally:
            with translated(self.place):
                await self._pool.release(connection)

    @asynccontextmanager
    async def _begun(self, connection: Connection, *, writing: bool) -> AsyncIterator[Session]:
        isolation: Any = "read_committed" if writing else "repeatable_read"
        transaction = connection.transaction(isolation=isolation, readonly=not writing)
        with translated(self.place):
            await transaction.start()
        try:
            yield PostgresSession(connection, self.library, self.place, self._schema)
        except BaseException:
            try:
                await transaction.rollback()
            except (*_AWAY, asyncpg.PostgresError):
                pass  # the connection is gone, and what was begun on it with it
            raise
        with translated(self.place):
            await transaction.commit()

    def reading(self) -> AbstractAsyncContextManager[Session]:
        return self._transaction(writing=False)

    def writing(self) -> AbstractAsyncContextManager[Session]:
        return self._transaction(writing=True)

    async def _append(self, name: str, rows: Sequence[tuple[Value, ...]]) -> None:
        if not rows:
            return
        with translated(self.place):
            async with self._pool.acquire(timeout=self._arguments.timeout) as connection:
                # Outside of a transaction this is one by itself, and two round trips shorter.
                await connection.executemany(self.library.statements[name].sql, rows)

    @asynccontextmanager
    async def _migrating(self) -> AsyncIterator[Callable[[], AbstractAsyncContextManager[Session]]]:
        with translated(self.place):
            connection = await asyncpg.connect(**_connect_keywords(self._arguments, self._schema))
        try:
            with translated(self.place):
                # Held by the session: it ends with the connection, whatever happens to this process.
                await connection.execute(
                    "SELECT pg_advisory_lock($1)", _lock_number(self._schema), timeout=MIGRATION_SECONDS
                )
                there = await connection.fetchval(
                    "SELECT 1 FROM pg_namespace WHERE nspname = $1", self._schema
                )
                if there is None:
                    await connection.execute(f'CREATE SCHEMA "{self._schema}"')
            yield lambda: self._begun(connection, writing=True)
        finally:
            with translated(self.place):
                await connection.close(timeout=5)

    async def listen(self, on_change: Callable[[], None], on_lost: Callable[[], None]) -> Listener | None:
        with translated(self.place):
            connection = await asyncpg.connect(
                **_connect_keywords(self._arguments, self._schema), command_timeout=STATEMENT_SECONDS
            )
            try:
                connection.add_termination_listener(lambda *_: on_lost())
                await connection.add_listener(channel(self._schema), lambda *_: on_change())
            except BaseException:
                connection.terminate()
                raise
        return PostgresListener(connection, self.place)

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), 5)
        except TimeoutError:
            self._pool.terminate()


def _connect_keywords(arguments: ConnectArguments, schema: str) -> dict[str, Any]:
    return {
        "dsn": arguments.dsn,
        "timeout": arguments.timeout,
        "statement_cache_size": arguments.statement_cache_size,
        "server_settings": {"search_path": f'"{schema}"'},
    }


def channel(schema: str) -> str:
    return f"{schema[:50]}_changed"


def _lock_number(schema: str) -> int:
    """An advisory lock is a number; this one is ours with near certainty, and differs by schema."""
    return (0x61706F64 << 32) | zlib.crc32(schema.encode())
