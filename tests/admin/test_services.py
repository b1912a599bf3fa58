"""What the admin API is given fits what it asks for."""

from __future__ import annotations

from apipod_proxy.admin import AdminServices
from apipod_proxy.store import GROUPINGS, Store
from tests.admin.app import start


async def test_the_services_of_the_program_are_those_of_the_api(store: Store) -> None:
    fixture = await start(store)
    await fixture.client.close()
    await fixture.watcher.close()
    assert "secret" in AdminServices._fields
    assert {"model", "user", "key", "provider"} <= set(GROUPINGS)
