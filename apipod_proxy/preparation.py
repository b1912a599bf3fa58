"""What is done once before any worker serves: the tables brought up to date, the catalog file applied."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from apipod_proxy.auth.keys import new_key
from apipod_proxy.catalog.keys import Makers
from apipod_proxy.catalog.takeover.signs import may_be_foreign
from apipod_proxy.catalog.vault import Vault
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.settings import DatabaseUrl, Settings, parse_database_url
from apipod_proxy.store import Store, open_store
from apipod_proxy.store.dsn import shown
from apipod_proxy.store.encryption import encryption_key
from apipod_proxy.upstream.providers import PROVIDER_TYPES

if TYPE_CHECKING:
    from apipod_proxy.catalog.apply import Report

log = logging.getLogger("apipod_proxy.preparation")

CREDENTIALS = "credentials.json"
"""Stands beside the models.json of the gateway that has one."""


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

    # Deferred for the same reason.
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
    found = await asyncio.to_thread(read_catalog, path, vault.environment)
    for note in found.notes:
        log.info(note)
    report = await apply_text(store, vault, found.text, str(path))
    if report is not None:
        log.info("The catalog file is applied.", extra={"file": str(path), "changes": report.changes})
        for note in report.notes:
            log.warning(note)


def base_urls() -> dict[str, str]:
    """The provider types there are, each with its default base URL."""
    return {name: kind.base_url for name, kind in PROVIDER_TYPES.items()}


class CatalogText(NamedTuple):
    """A catalog, and lines on what it was made of where the file was another gateway's."""

    text: str
    notes: list[str]


def read_catalog(path: Path, environment: Mapping[str, str]) -> CatalogText:
    """The catalog in a file, or the one that another gateway's file amounts to. Raises OperatorMistake."""
    text = read_text(path)
    if not may_be_foreign(text):
        return CatalogText(text, [])
    # Deferred: few files are another gateway's.
    from apipod_proxy.catalog.document import CatalogMistakes

    # Deferred for the same reason.
    from apipod_proxy.catalog.takeover.recognise import take_file

    beside = path.parent / CREDENTIALS
    credentials = read_text(beside) if beside != path and beside.is_file() else None
    try:
        taken = take_file(text, str(path), credentials, base_urls(), environment)
    except CatalogMistakes as mistakes:
        raise OperatorMistake(*mistakes.lines) from mistakes
    return CatalogText(text, []) if taken is None else CatalogText(taken.text(), taken.notes)


async def read_database(place: str, environment: Mapping[str, str]) -> CatalogText:
    """The catalog that an older apipod database amounts to; ``place`` is its URL, or a SQLite file. Raises OperatorMistake, StoreError."""
    # Deferred: it is done once in the life of an installation.
    from apipod_proxy.catalog.document import CatalogMistakes

    # Deferred for the same reason.
    from apipod_proxy.catalog.takeover.apipod import TABLES, take_tables

    # Deferred for the same reason.
    from apipod_proxy.store.foreign import read_tables

    try:
        database = parse_database_url(place) if "://" in place else DatabaseUrl(Path(place), "")
    except ValueError as error:
        raise OperatorMistake(f"--from: allowed: {error}, or a SQLite file") from error
    tables = await read_tables(database.path, database.dsn, TABLES)
    name = str(database.path) if database.path is not None else shown(database.dsn)
    try:
        taken = take_tables(tables, name, base_urls(), environment)
    except CatalogMistakes as mistakes:
        raise OperatorMistake(*mistakes.lines) from mistakes
    return CatalogText(taken.text(), taken.notes)


def makers() -> Makers:
    """Keys and ids from the system's randomness, times from its clock."""
    return Makers(
        key=lambda: new_key(os.urandom),
        id=lambda: secrets.token_hex(8),
        now_ms=lambda: time.time_ns() // 1_000_000,
    )


def read_text(path: Path) -> str:
    """The text of a file that the operator named. Raises OperatorMistake."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise OperatorMistake(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise OperatorMistake(f"{path} is no UTF-8 text (byte {exc.start})") from exc
