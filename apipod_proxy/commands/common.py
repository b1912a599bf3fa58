"""What several commands need: the settings, and the database open for as long as a command lasts."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from apipod_proxy.catalog.references import names
from apipod_proxy.catalog.vault import Vault
from apipod_proxy.preparation import migrate, open_settings_store, open_vault
from apipod_proxy.settings import Loaded, load, parse_addr
from apipod_proxy.store import Store
from apipod_proxy.upstream.providers import PROVIDER_TYPES


class Facts(NamedTuple):
    """The database, migrated, and what encrypts provider keys in it."""

    store: Store
    vault: Vault


def loaded(arguments: Namespace, environ: Mapping[str, str]) -> Loaded:
    """The settings of a command line; what is odd in ``.env`` is said. Raises SettingsError."""
    addr = getattr(arguments, "addr", None)
    known = [
        *_names_in_catalog(arguments),
        *(kind.key_variable for kind in PROVIDER_TYPES.values() if kind.key_variable),
    ]
    found = load(environ, parse_addr(addr) if addr else {}, arguments.env_file, known)
    for warning in found.warnings:
        print(f"apipod-proxy: {warning}", file=sys.stderr)
    return found


def _names_in_catalog(arguments: Namespace) -> list[str]:
    """What the catalog file of a command line refers to, and ``.env`` may therefore hold."""
    path = getattr(arguments, "config", None) or getattr(arguments, "file", None)
    try:
        # A pipe can be read once, and that is for the command: what came second would find an empty catalog.
        return names(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else []
    except (OSError, UnicodeDecodeError):
        return []  # the command itself says what is wrong with its file


@asynccontextmanager
async def facts(given: Loaded) -> AsyncIterator[Facts]:
    """Opens and migrates the database. Raises StoreError."""
    store = await open_settings_store(given.settings)
    try:
        await migrate(store)
        yield Facts(store, await open_vault(given.settings, store, given.environment))
    finally:
        await store.close()


def table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns that line up, for a terminal."""
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *rows]
    )
