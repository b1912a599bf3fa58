"""Responses that clients may go on from: each turn is a row, a conversation is the row and those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from apipod_proxy.store.base import Store


class StoredResponse(NamedTuple):
    """``items`` (a JSON array) is what this turn added; ``response`` is the answer as JSON; times are epoch milliseconds."""

    id: str
    owner: str
    previous: str | None
    created_at: int
    expires_at: int
    items: str
    response: str


class ResponseTable:
    """Every method raises StoreError; nobody but its ``owner`` finds a response, and nobody finds an expired one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, rows: Sequence[StoredResponse]) -> None:
        """Keep them all or none. The turns that they go on from are kept as long."""
        async with self._store.writing() as session:
            await session.execute_many("put_response", [row._asdict() for row in rows])
            # Sorted, so that two processes lock the rows of one conversation in one order.
            for row in sorted(rows):
                if row.previous is not None:
                    await session.execute(
                        "prolong_conversation", id=row.previous, owner=row.owner, expires_at=row.expires_at
                    )

    async def conversation(self, response_id: str, owner: str, now: int) -> list[str] | None:
        """``items`` of every turn up to this one, the first turn first; None where one of them is not there any more."""
        async with self._store.reading() as session:
            rows = await session.fetch("read_conversation", id=response_id, owner=owner, now=now)
            if not rows or rows[0][0] is not None:
                return None
            return [row[1] for row in rows]

    async def response(self, response_id: str, owner: str, now: int) -> str | None:
        """The answer as it was given."""
        async with self._store.reading() as session:
            row = await session.fetch_one("read_response", id=response_id, owner=owner, now=now)
            return None if row is None else row[0]

    async def delete(self, response_id: str, owner: str, now: int) -> bool:
        """Whether it was there."""
        async with self._store.writing() as session:
            return (
                await session.fetch_one("delete_response", id=response_id, owner=owner, now=now) is not None
            )

    async def delete_expired(self, now: int) -> None:
        async with self._store.writing() as session:
            await session.execute("delete_expired_responses", now=now)
