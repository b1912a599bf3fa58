from __future__ import annotations

import stat
from pathlib import Path

import pytest

from apipod_proxy.errors import StoreError
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.preparation import (
    apply_config,
    apply_text,
    base_urls,
    makers,
    migrate,
    open_settings_store,
    open_vault,
    read_text,
)
from apipod_proxy.settings import Settings


def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, database_url=f"sqlite:///{folder / 'proxy.db'}")


async def test_a_fresh_folder_gets_tables_and_a_private_key(tmp_path: Path) -> None:
    store = await open_settings_store(settings(tmp_path))
    try:
        assert (await migrate(store))[0] == "0001_initial"
        assert await migrate(store) == []
        vault = await open_vault(settings(tmp_path), store, {"A": "b"})
        again = await open_vault(settings(tmp_path), store, {})
        assert again.decrypt(vault.encrypt("secret")) == "secret"
        assert stat.S_IMODE((tmp_path / "encryption.key").stat().st_mode) == 0o600
    finally:
        await store.close()


async def test_a_catalog_is_applied_once_and_a_mistake_changes_nothing(tmp_path: Path) -> None:
    store = await open_settings_store(settings(tmp_path))
    try:
        await migrate(store)
        vault = await open_vault(settings(tmp_path), store, {})
        text = "providers: {local: {type: simulator}}"
        report = await apply_text(store, vault, text, "c.yaml")
        assert report is not None
        assert report.changes == 2
        assert await apply_text(store, vault, text, "c.yaml") is None
        with pytest.raises(OperatorMistake) as refused:
            await apply_text(store, vault, "a: 1\nb: 2", "c.yaml")
        assert len(refused.value.lines) == 2
        path = tmp_path / "c.yaml"
        path.write_text(text + "\nmodels: {m: {provider: local}}")
        await apply_config(store, vault, path)
        async with store.reading() as session:
            assert len(await session.fetch("read_models")) == 1
    finally:
        await store.close()


async def test_a_database_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "proxy.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError):
        store = await open_settings_store(settings(tmp_path))
        await migrate(store)


def test_files_of_the_operator_are_read_or_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbflimits: {}")
    assert read_text(tmp_path / "bom.yaml") == "limits: {}"
    (tmp_path / "latin.yaml").write_bytes(b"caf\xe9: x")
    with pytest.raises(OperatorMistake, match=r"is no UTF-8 text \(byte 3\)"):
        read_text(tmp_path / "latin.yaml")
    with pytest.raises(OperatorMistake, match="cannot be read"):
        read_text(tmp_path)


def test_every_provider_type_is_offered_with_its_base_url() -> None:
    assert base_urls()["openai"] == "https://api.openai.com/v1"
    assert base_urls()["openai_compatible"] == ""


def test_keys_and_ids_are_fresh_each_time() -> None:
    made = makers()
    assert made.key().startswith("apk_")
    assert made.id() != made.id()
    assert made.now_ms() > 1_700_000_000_000
