"""The catalog as it stands in the database, and the watcher that keeps this process's snapshot of it current."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from apipod_proxy.catalog.model import (
    EMPTY_SNAPSHOT,
    Account,
    ApiKey,
    Model,
    Provider,
    Route,
    Snapshot,
    Subscription,
    Target,
    User,
)
from apipod_proxy.catalog.ports import Database, Listener, Session
from apipod_proxy.catalog.rows import Decoder
from apipod_proxy.catalog.vault import NotOurs, Vault
from apipod_proxy.errors import StoreError

logger = logging.getLogger("apipod_proxy.catalog")

WITHOUT_NOTICE_SECONDS = 0.5
"""How often the version is asked for while nobody tells of changes, though the database could."""


class CatalogUnreadable(StoreError):
    """The rows cannot be turned into a catalog; ``problem`` is one line that holds no secret."""


class Loaded(NamedTuple):
    """``catalog_version`` is the last version that changed more than users and keys, ``born`` when the database was made."""

    snapshot: Snapshot
    catalog_version: int
    born: int = 0


NOTHING_LOADED = Loaded(EMPTY_SNAPSHOT, 0)


class _Catalog(NamedTuple):
    providers: dict[str, Provider]
    models: dict[str, Model]
    subscriptions: dict[str, Subscription]


async def load(
    session: Session, vault: Vault, before: Loaded = NOTHING_LOADED, *, strict: bool = True
) -> Loaded:
    """What the database holds now: users and keys by what changed since ``before``, the catalog whole if it changed.

    Not ``strict``: a key that cannot be decrypted stays as it is stored, in place of CatalogUnreadable.
    """
    state = await session.fetch_one("read_state")
    if state is None:
        raise CatalogUnreadable("the database has lost its version row")
    version, catalog_version, limits, _, born = state
    if born != before.born or version < before.snapshot.version:
        # The first load, or another database, or an older state of this one, was put in its place.
        before = NOTHING_LOADED
    if version == before.snapshot.version:
        return before
    since = before.snapshot.version
    decoder = Decoder()
    catalog: _Catalog | Snapshot = before.snapshot
    try:
        if catalog_version > before.catalog_version:
            catalog = await _load_catalog(session, vault, decoder, strict=strict)
        users = await _load_users(session, decoder, before.snapshot, since)
        keys = await _load_keys(session, decoder, before.snapshot, since)
    except (ValueError, TypeError, LookupError) as exc:
        # Somebody else wrote into these tables.
        raise CatalogUnreadable(f"a row of the catalog makes no sense: {exc}") from exc
    snapshot = Snapshot(
        version,
        catalog.providers,
        catalog.models,
        catalog.subscriptions,
        users,
        keys,
        decoder.limits(limits),
    )
    return Loaded(snapshot, catalog_version, born)


async def _load_users(session: Session, decoder: Decoder, before: Snapshot, since: int) -> dict[str, User]:
    users = dict(before.users)
    for row in await session.fetch("read_users", since=since):
        user = decoder.user(row)
        if row[8]:
            users.pop(user.name, None)
        else:
            users[user.name] = user
    return users


async def _load_keys(session: Session, decoder: Decoder, before: Snapshot, since: int) -> dict[bytes, ApiKey]:
    keys = dict(before.keys)
    for key, deleted in decoder.keys(await session.fetch("read_keys", since=since)):
        if deleted:
            keys.pop(key.digest, None)
        else:
            keys[key.digest] = key
    return keys


async def _load_catalog(session: Session, vault: Vault, decoder: Decoder, *, strict: bool) -> _Catalog:
    provider_rows = await session.fetch("read_providers")
    names = {row[0]: row[1] for row in provider_rows}
    accounts: defaultdict[str, list[Account]] = defaultdict(list)
    for row in await session.fetch("read_accounts"):
        provider = names[row[1]]
        try:
            api_key = vault.account_key(row[4], row[3])
        except NotOurs as exc:
            if strict:
                raise CatalogUnreadable(
                    f"the key of account '{row[2]}' of provider '{provider}' cannot be decrypted: {exc}"
                ) from exc
            api_key = row[3]
        accounts[row[1]].append(decoder.account(row, provider, api_key))
    targets: defaultdict[str, list[Target]] = defaultdict(list)
    for row in await session.fetch("read_targets"):
        targets[row[0]].append(decoder.target(row))
    routes: defaultdict[str, dict[str, Route]] = defaultdict(dict)
    for row in await session.fetch("read_routes"):
        routes[row[1]][row[2]] = decoder.route(row, targets[row[0]])
    models = (decoder.model(row) for row in await session.fetch("read_models"))
    return _Catalog(
        {row[1]: decoder.provider(row, accounts[row[0]]) for row in provider_rows},
        {model.name: model for model in models},
        {
            row[1]: decoder.subscription(row, routes[row[0]])
            for row in await session.fetch("read_subscriptions")
        },
    )


class CatalogStatus(NamedTuple):
    """``error`` is why the last load failed, else None; ``seconds_old`` is how long ago the last one succeeded."""

    version: int
    error: str | None
    seconds_old: float


class CatalogWatcher:
    """Keeps ``snapshot`` current. It is replaced whole; a load that fails keeps the last good one."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._subscribers: list[Callable[[Snapshot], None]] = []
        # Of the last load
        self._loaded = NOTHING_LOADED
        self._error: str | None = None
        self._loaded_at = clock()
        # Of the task
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._listener: Listener | None = None
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<CatalogWatcher v{self.snapshot.version} {self._error or 'current'}>"

    @property
    def snapshot(self) -> Snapshot:
        return self._loaded.snapshot

    def subscribe(self, callback: Callable[[Snapshot], None]) -> None:
        """Have ``callback`` called with every new snapshot, beginning with the one there is."""
        self._subscribers.append(callback)
        callback(self.snapshot)

    def status(self) -> CatalogStatus:
        return CatalogStatus(self.snapshot.version, self._error, self._clock() - self._loaded_at)

    async def start(self) -> None:
        """The first load, whose errors are raised; from then on changes are followed."""
        await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="catalog-watcher")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._hang_up()

    async def refresh(self) -> None:
        """Load what changed, now; raises what stands in the way."""
        async with self._turn:
            try:
                async with self._database.reading() as session:
                    loaded = await load(session, self._vault, self._loaded)
            except Exception as exc:
                self._error = _reason(exc)
                raise
            self._error = None
            self._loaded_at = self._clock()
            if loaded is not self._loaded:
                self._loaded = loaded
                for callback in self._subscribers:
                    callback(loaded.snapshot)

    async def catch_up(self) -> None:
        """As ``refresh``, but never raises: for whoever wrote to the database, and sees its own writes after it."""
        failing = self._error
        try:
            await self.refresh()
        except Exception:  # whatever it is, the last good snapshot goes on serving
            if self._error != failing:
                logger.warning(
                    "the catalog cannot be loaded, the last one stays", extra={"error": self._error}
                )
        else:
            if failing is not None:
                logger.info("the catalog is current again", extra={"version": self.snapshot.version})

    async def _follow(self) -> None:
        while True:
            # First listen, then load: what is announced in between is not missed.
            await self._listen()
            await self.catch_up()
            await self._rest()

    async def _listen(self) -> None:
        try:
            if self._listener is not None:
                await self._listener.check()
        except Exception as exc:  # whatever it is, a new one is needed
            logger.debug("changes of the catalog are no longer told of", extra={"error": _reason(exc)})
            await self._hang_up()
        try:
            if self._listener is None:
                self._listener = await self._database.listen(self._wake.set, self._lost)
        except Exception as exc:  # polling goes on without it, and faster
            logger.debug("changes of the catalog are not told of", extra={"error": _reason(exc)})

    async def _hang_up(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            try:
                await listener.close()
            except Exception as exc:  # it is going away in any case
                logger.debug("the listener did not close", extra={"error": _reason(exc)})

    def _lost(self) -> None:
        self._listener = None
        self._wake.set()

    async def _rest(self) -> None:
        seconds = self._database.poll_seconds
        if self._listener is None:
            seconds = min(seconds, WITHOUT_NOTICE_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass  # time to ask for the version
        self._wake.clear()


def _reason(exc: Exception) -> str:
    """What may be logged of an error; those of the database say more than their sentence for clients."""
    return str(getattr(exc, "problem", exc)) or type(exc).__name__
