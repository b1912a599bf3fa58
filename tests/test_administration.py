"""The admin API as the program puts it together: all of tests/admin runs on it."""

from __future__ import annotations

from pathlib import Path

from apipod_proxy.store import open_store
from tests.admin.app import start


async def test_an_answer_of_the_assembled_api_sees_its_own_write(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "proxy.db")
    await store.migrate()
    admin = await start(store)
    try:
        made = await admin.ask("POST", "/admin/create-key", 201, json={"name": "u"})
        listed = await admin.ask("GET", "/admin/keys")
        assert [key["id"] for key in listed["keys"]] == [made["id"]]
    finally:
        await admin.client.close()
        await admin.watcher.close()
        await store.close()
