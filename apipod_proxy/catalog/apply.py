"""A catalog file put into the database: whole or not at all, and told what it changed.

A file creates, changes and deletes only what files made. What an admin made is named in a file only by an export, and is left as
it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from apipod_proxy import __version__
from apipod_proxy.catalog import rows
from apipod_proxy.catalog.document import CatalogMistakes, Document
from apipod_proxy.catalog.fields import did_you_mean, step
from apipod_proxy.catalog.loader import load
from apipod_proxy.catalog.model import (
    EMPTY_SNAPSHOT,
    Account,
    ApiKey,
    Model,
    Provider,
    Route,
    Snapshot,
    Source,
    Subscription,
    User,
)
from apipod_proxy.catalog.ports import Database, Session
from apipod_proxy.catalog.references import names
from apipod_proxy.catalog.vault import Vault

KINDS = ("limits", "providers", "accounts", "models", "subscriptions", "routes", "users", "keys")


class _Sourced(Protocol):
    @property
    def source(self) -> Source: ...


Thing = TypeVar("Thing", bound=_Sourced)
Name = TypeVar("Name", str, bytes)


@dataclass(slots=True)
class Report:
    """Names per kind (one of KINDS): ``created``, ``changed``, ``deleted``; ``unchanged`` is a number. ``notes`` are lines for the operator."""

    created: dict[str, list[str]] = field(default_factory=dict)
    changed: dict[str, list[str]] = field(default_factory=dict)
    deleted: dict[str, list[str]] = field(default_factory=dict)
    unchanged: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def changes(self) -> int:
        return sum(
            len(found) for kinds in (self.created, self.changed, self.deleted) for found in kinds.values()
        )

    def lines(self) -> list[str]:
        """What was done, for a terminal."""
        told = []
        for word in ("created", "changed", "deleted"):
            for kind in KINDS:
                found = getattr(self, word).get(kind)
                if not found:
                    continue
                shown = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
                told.append(f"{word} {len(found)} {kind}: {shown}")
        total = sum(self.unchanged.values())
        return [*told, f"{total} unchanged" if told else f"nothing changed ({total} unchanged)", *self.notes]

    def as_json(self) -> dict[str, object]:
        return {
            "created": self.created,
            "changed": self.changed,
            "deleted": self.deleted,
            "unchanged": self.unchanged,
            "notes": self.notes,
        }


async def apply(
    database: Database,
    vault: Vault,
    document: Document,
    *,
    new_id: Callable[[], str],
    now_ms: int,
    digest: str = "",
) -> Report:
    """Make the database hold what ``document`` says; raises CatalogMistakes, and then nothing was changed.

    ``digest`` (see ``digest_of``) lets a later start know that the same file has been applied.
    """
    async with database.reading() as session:
        plan = await _plan(session, vault, document)
    if not plan.report.changes:
        if not await is_applied(database, digest):
            async with database.writing() as session:
                await session.execute("put_applied", applied=digest)
        return plan.report
    async with database.writing() as session:
        # The lock first: what is compared now is what is changed.
        row = await session.fetch_one("bump_version", whole=1)
        assert row is not None
        plan = await _plan(session, vault, document)
        await _write(session, vault, plan, version=row[0], new_id=new_id, now_ms=now_ms)
        await session.execute("put_applied", applied=digest)
        await session.announce()
    return plan.report


async def verify(database: Database | None, vault: Vault, document: Document) -> None:
    """Raises CatalogMistakes where ``apply`` would, but for accounts in ``document.unset``. ``database`` None: one without tables yet."""
    document = replace(document, unset={})
    if database is None:
        _planned(_Plan(document, frozenset(), frozenset()), EMPTY_SNAPSHOT)
    else:
        async with database.reading() as session:
            await _plan(session, vault, document)


def digest_of(text: str, vault: Vault) -> str:
    """Stands for a file, for everything in the environment that it refers to, and for who reads it how."""
    values = [f"{name}={vault.environment.get(name, '')}" for name in names(text)]
    parts = [__version__, vault.fingerprint, text, *values]
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


async def is_applied(database: Database, digest: str) -> bool:
    """Whether the last file that was applied is the one of ``digest``, so that applying it again would change nothing."""
    async with database.reading() as session:
        state = await session.fetch_one("read_state")
    return state is not None and state[3] == digest


# What is to be done


@dataclass(slots=True)
class _Plan:
    """``put`` and ``gone`` per kind; accounts come with their provider's name and place, routes with their subscription's name."""

    document: Document
    buried: frozenset[str]
    """Digests of keys that were revoked and have no row that counts any more; made anew they stay revoked."""
    stale: frozenset[str]
    """Ids of accounts whose key is to be stored anew, whatever else is the same."""
    report: Report = field(default_factory=Report)
    mistakes: list[str] = field(default_factory=list)
    providers: list[Provider] = field(default_factory=list)
    accounts: list[tuple[Account, int]] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    routes: list[tuple[str, Route]] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    keys: list[ApiKey] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    """(statement, id), children first."""
    gone_users: list[str] = field(default_factory=list)
    gone_keys: list[bytes] = field(default_factory=list)

    def note(self, what: dict[str, list[str]], kind: str, name: str) -> None:
        what.setdefault(kind, []).append(name)

    def same(self, kind: str) -> None:
        self.report.unchanged[kind] = self.report.unchanged.get(kind, 0) + 1


async def _plan(session: Session, vault: Vault, document: Document) -> _Plan:
    have = (await load(session, vault, strict=False)).snapshot
    buried = frozenset(row[0] for row in await session.fetch("read_buried_keys"))
    return _planned(_Plan(document, buried=buried, stale=await _stale(session, vault, have)), have)


def _planned(plan: _Plan, have: Snapshot) -> _Plan:
    document = plan.document
    _plan_keys(plan, have)
    _plan_users(plan, have)
    _plan_subscriptions(plan, have)
    _plan_models(plan, have)
    _plan_providers(plan, have)
    if dict(document.limits) != dict(have.limits):
        plan.note(plan.report.changed, "limits", "of the whole proxy")
    _check_references(plan, have)
    if plan.mistakes:
        raise CatalogMistakes([f"{document.name}: {line}" for line in plan.mistakes])
    return plan


async def _stale(session: Session, vault: Vault, have: Snapshot) -> frozenset[str]:
    """Accounts whose key has become another in the environment, or whose stored key was encrypted with an older ENCRYPTION_KEY.

    This process reads the key where it comes from; those that cannot have only what is stored.
    """
    keys = {
        account.id: account.api_key
        for provider in have.providers.values()
        if provider.source is Source.FILE
        for account in provider.accounts
        if account.origin
    }
    stored = ((row[0], row[3]) for row in await session.fetch("read_accounts"))
    return frozenset(
        account for account, sealed in stored if account in keys and not vault.holds(sealed, keys[account])
    )


def _may_touch(plan: _Plan, path: str, what: str, want: _Sourced, have: _Sourced, *, same: bool) -> bool:
    """Whether a file may change ``have``; what another source holds must stay as it is."""
    if want.source is have.source is Source.FILE:
        return True
    if want.source is not have.source:
        holder = "an admin" if have.source is Source.ADMIN else "a file"
        plan.mistakes.append(
            f"{path}: {what} was made by {holder}, which alone may change it; allowed: another name"
        )
    elif not same:
        plan.mistakes.append(
            f"{path}: {what} was made by an admin and differs from this; allowed: as it is, or leaving it out"
        )
    return False


def _compare(
    plan: _Plan,
    kind: str,
    want: Mapping[str, Thing],
    have: Mapping[str, Thing],
    same: Callable[[Thing, Thing], bool],
) -> tuple[list[Thing], list[Thing]]:
    """What to put and what to delete, each noted in the report."""
    put, gone = [], []
    for name, thing in want.items():
        there = have.get(name)
        if there is None:
            plan.note(plan.report.created, kind, name)
            put.append(thing)
            continue
        equal = same(thing, there)
        if _may_touch(plan, step(kind, name), f"'{name}'", thing, there, same=equal) and not equal:
            plan.note(plan.report.changed, kind, name)
            put.append(thing)
        elif equal:
            plan.same(kind)
    for name, there in have.items():
        if name not in want and there.source is Source.FILE:
            plan.note(plan.report.deleted, kind, name)
            gone.append(there)
    return put, gone


def _plan_providers(plan: _Plan, have: Snapshot) -> None:
    def same(want: Provider, there: Provider) -> bool:
        return replace(want, id=there.id, accounts=()) == replace(there, accounts=())

    plan.providers, gone = _compare(plan, "providers", plan.document.providers, have.providers, same)
    for provider in plan.document.providers.values():
        there = have.providers.get(provider.name)
        before = len(plan.accounts), len(plan.gone)
        _plan_accounts(plan, provider.accounts, () if there is None else there.accounts)
        if (
            there is not None
            and there.source is Source.ADMIN
            and before != (len(plan.accounts), len(plan.gone))
        ):
            path = step("providers", provider.name)
            plan.mistakes.append(
                f"{path}: made by an admin, with other accounts; allowed: as it is, or leaving it out"
            )
    for provider in gone:
        plan.gone.append(("delete_provider", provider.id))
        for account in provider.accounts:
            plan.note(plan.report.deleted, "accounts", f"{provider.name}/{account.name}")


def _plan_accounts(plan: _Plan, want: tuple[Account, ...], have: tuple[Account, ...]) -> None:
    known = {account.name: (account, place) for place, account in enumerate(have)}
    for place, account in enumerate(want):
        there, old_place = known.pop(account.name, (None, 0))
        unset = plan.document.unset.get((account.provider, account.name))
        if unset is not None:
            # Not in this environment; the database knows it from where it was.
            if there is None or there.origin != account.origin or not there.api_key:
                plan.mistakes.append(unset)
                continue
            account = replace(account, api_key=there.api_key)  # noqa: PLW2901
        name = f"{account.provider}/{account.name}"
        if there is None:
            plan.note(plan.report.created, "accounts", name)
        elif replace(account, id=there.id) == there and place == old_place and there.id not in plan.stale:
            plan.same("accounts")
            continue
        else:
            plan.note(plan.report.changed, "accounts", name)
        plan.accounts.append((account, place))
    for there, _ in known.values():
        plan.note(plan.report.deleted, "accounts", f"{there.provider}/{there.name}")
        plan.gone.append(("delete_account", there.id))


def _plan_models(plan: _Plan, have: Snapshot) -> None:
    def same(want: Model, there: Model) -> bool:
        return replace(want, id=there.id) == there

    plan.models, gone = _compare(plan, "models", plan.document.models, have.models, same)
    plan.gone += [("delete_model", model.id) for model in gone]


def _plan_subscriptions(plan: _Plan, have: Snapshot) -> None:
    def same(want: Subscription, there: Subscription) -> bool:
        return replace(want, id=there.id, routes={}) == replace(there, routes={})

    plan.subscriptions, gone = _compare(
        plan, "subscriptions", plan.document.subscriptions, have.subscriptions, same
    )
    gone_routes: list[str] = []
    for subscription in plan.document.subscriptions.values():
        there = have.subscriptions.get(subscription.name)
        known = dict(there.routes) if there is not None else {}
        for requested, route in subscription.routes.items():
            old = known.pop(requested, None)
            name = f"{subscription.name}/{requested}"
            if old is None:
                plan.note(plan.report.created, "routes", name)
            elif replace(route, id=old.id) == old:
                plan.same("routes")
                continue
            else:
                plan.note(plan.report.changed, "routes", name)
            plan.routes.append((subscription.name, route))
        for requested, old in known.items():
            plan.note(plan.report.deleted, "routes", f"{subscription.name}/{requested}")
            gone_routes.append(old.id)
        if there is not None and there.source is Source.ADMIN and not _same_routes(subscription, there):
            path = step("subscriptions", subscription.name)
            plan.mistakes.append(
                f"{path}: made by an admin, with other routes; allowed: as it is, or leaving it out"
            )
    plan.gone += [("delete_route", route) for route in gone_routes]
    for subscription in gone:
        plan.gone.append(("delete_subscription", subscription.id))
        for requested in subscription.routes:
            plan.note(plan.report.deleted, "routes", f"{subscription.name}/{requested}")


def _same_routes(want: Subscription, have: Subscription) -> bool:
    return {name: replace(route, id="") for name, route in want.routes.items()} == {
        name: replace(route, id="") for name, route in have.routes.items()
    }


def _plan_users(plan: _Plan, have: Snapshot) -> None:
    def same(want: User, there: User) -> bool:
        return replace(want, id=there.id) == there

    plan.users, gone = _compare(plan, "users", plan.document.users, have.users, same)
    gone_names = {user.name for user in gone}
    left: dict[str, list[ApiKey]] = {}
    for key in have.keys.values():
        if key.user in gone_names and key.source is Source.ADMIN and key.digest not in plan.document.keys:
            left.setdefault(key.user, []).append(key)
    for user in gone:
        working = [key.prefix for key in left.get(user.name, []) if key.active]
        if working:
            plan.mistakes.append(
                f"{step('users', user.name)}: is gone from the file, but an admin made keys for it ({', '.join(working)});"
                " allowed: revoking them first, or leaving the user"
            )
        plan.gone_keys += [key.digest for key in left.get(user.name, [])]
        plan.gone_users.append(user.id)


def _plan_keys(plan: _Plan, have: Snapshot) -> None:
    for digest, key in plan.document.keys.items():
        there = have.keys.get(digest)
        name = f"{key.user}/{key.name}"
        if there is None:
            plan.note(plan.report.created, "keys", name)
            plan.keys.append(key)
            if key.active and digest.hex() in plan.buried:
                plan.report.notes.append(_stays_revoked(key, key.prefix))
            continue
        if there.revoked_at is not None:
            if key.active and key.source is there.source:
                plan.report.notes.append(_stays_revoked(key, there.prefix))
            key = replace(key, active=False)  # noqa: PLW2901
        equal = (
            replace(
                key,
                id=there.id,
                prefix=key.prefix or there.prefix,
                created_at=there.created_at,
                revoked_at=there.revoked_at,
            )
            == there
        )
        path = f"{step('users', key.user)}.keys"
        if (
            _may_touch(plan, path, f"the key '{key.name}' ({there.prefix})", key, there, same=equal)
            and not equal
        ):
            plan.note(plan.report.changed, "keys", name)
            plan.keys.append(replace(key, id=there.id, prefix=key.prefix or there.prefix))
        elif equal:
            plan.same("keys")
    for digest, there in have.keys.items():
        if digest not in plan.document.keys and there.source is Source.FILE:
            plan.note(plan.report.deleted, "keys", f"{there.user}/{there.name}")
            plan.gone_keys.append(digest)


def _stays_revoked(key: ApiKey, prefix: str) -> str:
    return f"the key {prefix} of '{key.user}' was revoked and stays so"


# What refers to what


def _check_references(plan: _Plan, have: Snapshot) -> None:
    """Names that nothing has, and what is deleted though something that stays needs it."""
    document = plan.document
    providers = _left(document.providers, have.providers)
    models = _left(document.models, have.models)
    subscriptions = _left(document.subscriptions, have.subscriptions)
    for model in _all(document.models, have.models):
        _must_be(plan, f"{step('models', model.name)}.provider", model.provider, providers)
    for subscription in _all(document.subscriptions, have.subscriptions):
        for requested, route in subscription.routes.items():
            base = step(f"{step('subscriptions', subscription.name)}.routes", requested)
            for place, target in enumerate(route.targets):
                if target.model is not None:
                    _must_be(plan, f"{base}.targets[{place}].model", target.model, models)
                elif target.provider is not None:
                    _must_be(plan, f"{base}.targets[{place}].provider", target.provider, providers)
    for user in _all(document.users, have.users):
        _must_be(plan, f"{step('users', user.name)}.subscription", user.subscription, subscriptions)


def _left(want: Mapping[str, Thing], have: Mapping[str, Thing]) -> dict[str, None]:
    """The names that there will be, in order."""
    kept = (name for name, thing in have.items() if thing.source is Source.ADMIN)
    return dict.fromkeys([*want, *kept])


def _all(want: Mapping[str, Thing], have: Mapping[str, Thing]) -> Iterable[Thing]:
    yield from want.values()
    yield from (thing for name, thing in have.items() if thing.source is Source.ADMIN and name not in want)


def _must_be(plan: _Plan, path: str, name: str, known: dict[str, None]) -> None:
    if name not in known:
        shown = ", ".join(list(known)[:10]) + (", …" if len(known) > 10 else "")
        plan.mistakes.append(
            f"{path}: found {name!r}, which there is not; {did_you_mean(name, known)}allowed: {shown or 'none yet'}"
        )


# Doing it


async def _write(
    session: Session, vault: Vault, plan: _Plan, *, version: int, new_id: Callable[[], str], now_ms: int
) -> None:
    if "limits" in plan.report.changed:
        await session.execute("put_limits", limits=rows.dump_limits(plan.document.limits))
    put = session.execute_many
    await put("put_provider", [rows.provider_columns(provider) for provider in plan.providers])
    await put(
        "put_account",
        [
            rows.account_columns(account, place, vault.encrypt(account.api_key))
            for account, place in plan.accounts
        ],
    )
    await put("put_model", [rows.model_columns(model) for model in plan.models])
    await put(
        "put_subscription", [rows.subscription_columns(subscription) for subscription in plan.subscriptions]
    )
    await put("put_route", [rows.route_columns(subscription, route) for subscription, route in plan.routes])
    await put(
        "delete_targets",
        [
            {"route_id": rows.id_of("route", subscription, route.requested_name)}
            for subscription, route in plan.routes
        ],
    )
    await put(
        "put_target",
        [
            columns
            for subscription, route in plan.routes
            for columns in rows.target_columns(subscription, route)
        ],
    )
    await put("put_user", [rows.user_columns(user, version) for user in plan.users])
    await put(
        "put_key",
        [
            rows.key_columns(replace(key, id=key.id or new_id(), created_at=now_ms), version)
            for key in plan.keys
        ],
    )
    await put("delete_key", [{"digest": digest.hex(), "version": version} for digest in plan.gone_keys])
    await put("delete_user", [{"id": user, "version": version} for user in plan.gone_users])
    order = ("delete_route", "delete_subscription", "delete_model", "delete_account", "delete_provider")
    for statement in order:
        await put(statement, [{"id": gone} for name, gone in plan.gone if name == statement])
