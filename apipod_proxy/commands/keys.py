"""``keys create|list|revoke|rotate``."""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from datetime import UTC, datetime

from apipod_proxy.catalog.keys import DEFAULT_SUBSCRIPTION, CreatedKey, KeyService
from apipod_proxy.catalog.model import ApiKey
from apipod_proxy.commands.common import facts, loaded, table
from apipod_proxy.errors import BadRequest, NoSuch
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.preparation import makers
from apipod_proxy.settings import Loaded
from apipod_proxy.store import Store

GIVEN_AS = {"$.name": "NAME", "$.subscription": "--subscription", "$.expires_in": "--expires-in"}
"""What a field of a request is called on the command line."""

REMEDIES = {
    "key": "`apipod-proxy keys list` shows those that there are.",
    "user": "Users come from the catalog file; without --user, one of the key's own name is made.",
}


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    try:
        return asyncio.run(_run(arguments, loaded(arguments, environ)))
    except NoSuch as error:
        raise OperatorMistake(f"{error} {REMEDIES[error.what]}") from error
    except BadRequest as error:
        where = GIVEN_AS.get(error.path or "")
        raise OperatorMistake(f"{where}: {error.problem}" if where else error.problem) from error


async def _run(arguments: Namespace, given: Loaded) -> int:
    async with facts(given) as (store, _):
        keys = KeyService(store, makers())
        if arguments.action == "create":
            if arguments.user is not None and arguments.subscription is not None:
                raise OperatorMistake(
                    "only one of --user and --subscription: a user who exists keeps the own subscription"
                )
            subscription = DEFAULT_SUBSCRIPTION if arguments.subscription is None else arguments.subscription
            new = arguments.user is None and not await _is_there(store, subscription)
            _show_once(await keys.create(arguments.name, subscription, arguments.expires_in, arguments.user))
            if new:
                # A slip of the pen would otherwise open everything, unseen.
                print(
                    f"The subscription '{subscription}' is new: every model by its own name, and no limits.",
                    file=sys.stderr,
                )
        elif arguments.action == "rotate":
            _show_once(await keys.rotate(arguments.key))
        elif arguments.action == "revoke":
            revoked = await keys.revoke(arguments.key)
            print(f"The key '{revoked.name}' ({revoked.prefix}) of {revoked.user} is revoked.")
        else:
            found = await keys.list()
            _show([key for key in found if arguments.user in (None, key.user)])
    return 0


async def _is_there(store: Store, subscription: str) -> bool:
    async with store.reading() as session:
        return await session.fetch_one("find_subscription", name=subscription) is not None


def _show_once(made: CreatedKey) -> None:
    """The key alone on stdout, for scripts; what people want to know on stderr."""
    ends = f", until {_moment(made.key.expires_at)}" if made.key.expires_at else ""
    print(f"A key for {made.key.user} in {made.subscription}{ends}. It is shown this once:", file=sys.stderr)
    print(made.text)


def _show(keys: list[ApiKey]) -> None:
    now = time.time_ns() // 1_000_000
    rows = [
        (
            key.id,
            key.prefix,
            key.name,
            key.user,
            state_of(key, now),
            _moment(key.created_at),
            _moment(key.expires_at),
        )
        for key in keys
    ]
    print(table(("ID", "PREFIX", "NAME", "USER", "STATE", "CREATED", "EXPIRES"), rows))


def state_of(key: ApiKey, now_ms: int) -> str:
    """active | revoked | inactive (as its file says) | expired."""
    if key.revoked_at is not None:
        return "revoked"
    if not key.active:
        return "inactive"
    return "expired" if key.expires_at is not None and key.expires_at <= now_ms else "active"


def _moment(epoch_ms: int | None) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if epoch_ms else "-"
