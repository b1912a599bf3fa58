"""What the catalog asks of a database is what the store gives."""

from __future__ import annotations

from apipod_proxy.catalog.ports import Database, Row, Session
from apipod_proxy.store import Store


async def test_a_store_is_a_database(store: Store) -> None:
    database: Database = store
    assert 0 < database.poll_seconds <= 5
    async with database.reading() as opened:
        session: Session = opened
        row: Row | None = await session.fetch_one("read_state")
        assert row is not None
        version, catalog_version, limits, applied, born = row
        assert (version, catalog_version, limits, applied) == (1, 1, "", "")
        assert (len(row), row[2]) == (5, "")
        assert born > 0
        assert await session.fetch_one("find_user", name="nobody") is None
