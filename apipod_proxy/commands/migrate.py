"""``migrate``: the tables brought up to date, without serving."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Mapping

from apipod_proxy.commands.common import loaded
from apipod_proxy.preparation import migrate, open_settings_store
from apipod_proxy.settings import Settings


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    return asyncio.run(_run(loaded(arguments, environ).settings))


async def _run(settings: Settings) -> int:
    store = await open_settings_store(settings)
    try:
        done = await migrate(store)
    finally:
        await store.close()
    print(f"{store.place}: {', '.join(done) if done else 'up to date'}")
    return 0
