"""``apply`` and ``export``: the catalog as a file, in and out."""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from apipod_proxy.catalog.loader import load
from apipod_proxy.commands.common import facts, loaded
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.preparation import apply_text, read_catalog, read_database
from apipod_proxy.settings import Loaded


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    given = loaded(arguments, environ)
    if arguments.command == "apply":
        if (arguments.file is None) == (arguments.source is None):
            raise OperatorMistake("apply takes a catalog file, or --from and a database; one of both")
        return asyncio.run(_apply(given, arguments.file, arguments.source))
    return asyncio.run(_export(given, secrets=arguments.secrets, output=arguments.output))


async def _apply(given: Loaded, path: Path | None, source: str | None) -> int:
    if path is not None:
        found = await asyncio.to_thread(read_catalog, path, given.environment)
    else:
        assert source is not None
        found = await read_database(source, given.environment)
    async with facts(given) as (store, vault):
        report = await apply_text(store, vault, found.text, str(path or "the database"))
    for note in found.notes:
        print(note)
    print("\n".join(report.lines()) if report is not None else "nothing changed")
    return 0


async def _export(given: Loaded, *, secrets: bool, output: Path | None) -> int:
    # Deferred: writing YAML is what this command alone does.
    from apipod_proxy.catalog.export import export_yaml

    async with facts(given) as (store, vault), store.reading() as session:
        snapshot = (await load(session, vault, strict=secrets)).snapshot
        text = export_yaml(snapshot, vault, secrets=secrets)
    if output is None:
        sys.stdout.write(text)
    else:
        await asyncio.to_thread(_write_private, output, text)
    return 0


def _write_private(path: Path, text: str) -> None:
    """Digests and encrypted keys are no secrets, but nobody else's business either."""
    try:
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError as error:
        raise OperatorMistake(f"{path} cannot be written: {error.strerror}") from error
