"""The key of provider keys."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apipod_proxy.errors import StoreError
from apipod_proxy.store.encryption import FILE_NAME, encryption_key


def test_a_configured_key_is_used_and_no_file_made(tmp_path: Path) -> None:
    assert encryption_key(b"k" * 32, tmp_path, is_sqlite=True) == b"k" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    key = encryption_key(None, folder, is_sqlite=True)
    assert len(key) == 32
    assert encryption_key(None, folder, is_sqlite=True) == key
    assert [path.name for path in folder.iterdir()] == [FILE_NAME]
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600


def test_all_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: encryption_key(None, tmp_path, is_sqlite=True), range(32)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_postgresql_demands_a_key(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        encryption_key(None, tmp_path, is_sqlite=False)
    assert caught.value.problem.startswith("ENCRYPTION_KEY is not set, and PostgreSQL demands it")


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("short", encoding="ascii")
    with pytest.raises(StoreError) as caught:
        encryption_key(None, tmp_path, is_sqlite=True)
    assert caught.value.problem == f"{tmp_path / FILE_NAME} does not hold 32 bytes in base64"
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        encryption_key(None, tmp_path / "file", is_sqlite=True)
    assert "cannot be read or made" in caught.value.problem
