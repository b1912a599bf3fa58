"""Responses that clients may go on from, on both drivers."""

from __future__ import annotations

from apipod_proxy.store import Store
from apipod_proxy.store.base import now_ms
from apipod_proxy.store.responses import ResponseTable, StoredResponse
from apipod_proxy.store.upkeep import Upkeep

NOW = 1_000_000


def turn(
    name: str, previous: str | None = None, owner: str = "ann", expires_at: int = NOW + 10
) -> StoredResponse:
    return StoredResponse(name, owner, previous, NOW, expires_at, f'["{name}"]', f'{{"id":"{name}"}}')


async def test_a_conversation_is_read_from_its_first_turn_on(store: Store) -> None:
    table = ResponseTable(store)
    await table.put([turn("a"), turn("b", "a")])
    await table.put([turn("c", "b"), turn("other", "b")])
    assert await table.conversation("c", "ann", NOW) == ['["a"]', '["b"]', '["c"]']
    assert await table.conversation("a", "ann", NOW) == ['["a"]']
    assert await table.conversation("unknown", "ann", NOW) is None


async def test_a_turn_that_was_written_before_is_left_as_it_is(store: Store) -> None:
    table = ResponseTable(store)
    await table.put([turn("a")])
    await table.put([turn("a")._replace(response="{}")])
    assert await table.response("a", "ann", NOW) == '{"id":"a"}'


async def test_only_its_owner_finds_a_response(store: Store) -> None:
    table = ResponseTable(store)
    await table.put([turn("a"), turn("b", "a", owner="bob")])
    assert await table.conversation("a", "bob", NOW) is None
    assert await table.response("a", "bob", NOW) is None
    assert not await table.delete("a", "bob", NOW)
    # Nor the turns of somebody else, by a turn of one's own.
    assert await table.conversation("b", "bob", NOW) is None


async def test_nobody_goes_on_from_what_is_deleted_or_came_after_it(store: Store) -> None:
    table = ResponseTable(store)
    await table.put([turn("a"), turn("b", "a"), turn("c", "b")])
    assert await table.delete("b", "ann", NOW)
    assert not await table.delete("b", "ann", NOW)
    assert await table.conversation("c", "ann", NOW) is None
    assert await table.conversation("a", "ann", NOW) == ['["a"]']


async def test_a_conversation_lives_as_long_as_its_last_turn(store: Store) -> None:
    table = ResponseTable(store)
    await table.put([turn("a", expires_at=NOW + 10), turn("alone", expires_at=NOW + 10)])
    await table.put([turn("b", "a", expires_at=NOW + 20)])
    await table.delete_expired(NOW + 15)
    assert await table.conversation("b", "ann", NOW + 15) == ['["a"]', '["b"]']
    assert await table.response("alone", "ann", NOW) is None


async def test_upkeep_deletes_what_has_expired(store: Store) -> None:
    table, now = ResponseTable(store), now_ms()
    await table.put([turn("old", expires_at=now - 1), turn("new", expires_at=now + 60_000)])
    assert await table.response("old", "ann", now) is None
    assert await Upkeep(store, "one").run_once(now)
    assert await table.response("old", "ann", 0) is None
    assert await table.response("new", "ann", now) is not None
