"""Opening the database that the settings name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DRIVERS = ("asyncpg", "aiosqlite")

OPEN = """
import asyncio, sys
from pathlib import Path
from apipod_proxy.errors import StoreUnavailable
from apipod_proxy.store import open_store

async def main(path):
    try:
        store = await open_store(Path(path) if path else None, "postgresql://127.0.0.1:1/x")
        await store.close()
    except StoreUnavailable:
        pass
    print(*[name for name in ("asyncpg", "aiosqlite") if name in sys.modules])

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("driver", DRIVERS)
def test_only_the_driver_that_is_needed_is_imported(driver: str, tmp_path: Path) -> None:
    path = str(tmp_path / "proxy.db") if driver == "aiosqlite" else ""
    done = subprocess.run(
        [sys.executable, "-c", OPEN, path], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == [driver]
