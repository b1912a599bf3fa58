"""What is done once before any worker serves: the tables brought up to date, the catalog file applied."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from apipod_proxy.catalog.vault import Vault
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.settings import Settings
from apipod_proxy.store import Store, open_store
from apipod_proxy.store.encryption import encryption_key
from apipod_proxy.upstream.providers import PROVIDER_TYPES

if TYPE_CHECKING:
    from apipod_proxy.catalog.apply import Report

log = logging.getLogger("apipod_proxy.preparation")


async def open_settings_store(settings: Settings) -> Store:
    """The database that the settings name. Raises StoreError."""
    database = settings.database
    return await open_store(database.path, database.dsn, settings.database_schema)


async def open_vault(settings: Settings, store: Store, environment: Mapping[str, str]) -> Vault:
    """What encrypts provider keys in ``store``. Raises StoreError."""
    key = await asyncio.to_thread(
        encryption_key, settings.encryption_key, settings.data_dir, is_sqlite=store.is_sqlite
    )
    return Vault(key, environment, os.urandom)


async def migrate(store: Store) -> list[str]:
    """Bring the tables up to date, and say which steps that took."""
    done = await store.migrate()
    if done:
        log.info("The tables are up to date.", extra={"migrations": done})
    return done


async def apply_text(store: Store, vault: Vault, text: str, name: str) -> Report | None:
    """Put a catalog into the database; None where the very same text was the last one applied. Raises OperatorMistake, StoreError."""
    # Deferred: reading YAML takes 40 ms to import, and most commands and many starts do without.
    from apipod_proxy.catalog.apply import apply, digest_of, is_applied
    from apipod_proxy.catalog.document import CatalogMistakes, read_document

    digest = digest_of(text, vault)
    if await is_applied(store, digest):
        return None
    try:
        return await apply(
            store,
            vault,
            read_document(text, name, vault, base_urls()),
            new_id=lambda: secrets.token_hex(8),
            now_ms=time.time_ns() // 1_000_000,
            digest=digest,
        )
    except CatalogMistakes as mistakes:
        raise OperatorMistake(*mistakes.lines) from mistakes


async def apply_config(store: Store, vault: Vault, path: Path) -> None:
    """Put the catalog file of a server into its database, and log what that changed. Raises as ``apply_text``."""
    report = await apply_text(store, vault, await asyncio.to_thread(read_text, path), str(path))
    if report is not None:
        log.info("The catalog file is applied.", extra={"file": str(path), "changes": report.changes})
        for note in report.notes:
            log.warning(note)


def base_urls() -> dict[str, str]:
    """The provider types there are, each with its default base URL."""
    return {name: kind.base_url for name, kind in PROVIDER_TYPES.items()}


def read_text(path: Path) -> str:
    """The text of a file that the operator named. Raises OperatorMistake."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise OperatorMistake(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise OperatorMistake(f"{path} is no UTF-8 text (byte {exc.start})") from exc
