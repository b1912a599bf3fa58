"""The catalog as a file that, applied, changes nothing. Defaults are left out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

import yaml

from apipod_proxy.catalog.document import DEFAULT_ACCOUNT
from apipod_proxy.catalog.model import (
    Account,
    ApiKey,
    Breaker,
    LimitTable,
    Model,
    PoolSize,
    Price,
    Provider,
    Retries,
    Role,
    Route,
    Snapshot,
    Source,
    Strategy,
    Subscription,
    Target,
    Timeouts,
    User,
)
from apipod_proxy.catalog.references import escape
from apipod_proxy.catalog.vault import Vault

Tree = dict[str, Any]


class _Raw(str):
    """Text that already is as a file has it: a reference that is meant as one."""

    __slots__ = ()


def export_yaml(snapshot: Snapshot, vault: Vault, *, secrets: bool = False) -> str:
    """The whole catalog as YAML. ``secrets``: provider keys in plain text, in place of ``${NAME}`` or ``encrypted:``."""
    tree = _plain(export_tree(snapshot, vault, secrets=secrets))
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(tree, Dumper=dumper, sort_keys=False, allow_unicode=True, width=200))


def export_tree(snapshot: Snapshot, vault: Vault, *, secrets: bool = False) -> Tree:
    """The same as tables and lists."""
    keys: dict[str, list[ApiKey]] = {}
    for key in snapshot.keys.values():
        keys.setdefault(key.user, []).append(key)
    return _some(
        limits=_limits(snapshot.limits),
        providers={name: _provider(each, vault, secrets) for name, each in snapshot.providers.items()},
        models={name: _model(each) for name, each in snapshot.models.items()},
        subscriptions={name: _subscription(each) for name, each in snapshot.subscriptions.items()},
        users={name: _user(each, keys.get(name, [])) for name, each in sorted(snapshot.users.items())},
    )


def _some(**fields: Any) -> Tree:
    """The fields that say something: no None, nothing empty but the empty table that stands for itself."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


def _limits(limits: LimitTable) -> Tree:
    return {
        kind: limit.limit if limit.burst == limit.limit else {"limit": limit.limit, "burst": limit.burst}
        for kind, limit in limits.items()
    }


def _differing(values: NamedTuple, default: NamedTuple) -> Tree:
    usual = default._asdict()
    return {name: value for name, value in values._asdict().items() if value != usual[name]}


def _common(thing: Provider | Model | Subscription | User | ApiKey) -> Tree:
    return _some(
        active=None if thing.active else False, source="admin" if thing.source is Source.ADMIN else None
    )


def _provider(provider: Provider, vault: Vault, secrets: bool) -> Tree:
    accounts = [_account(account, vault, secrets) for account in provider.accounts]
    alone = (
        len(accounts) == 1
        and not accounts[0].keys() - {"name", "api_key"}
        and accounts[0]["name"] == DEFAULT_ACCOUNT
    )
    tree = _some(
        type=provider.type,
        base_url=provider.base_url,
        api_key=accounts[0].get("api_key") if alone else None,
        accounts=None if alone else accounts,
        timeouts=_differing(provider.timeouts, Timeouts()),
        retries=_differing(provider.retries, Retries()),
        breaker=_differing(provider.breaker, Breaker()),
        pool=_differing(provider.pool, PoolSize()),
        headers=dict(provider.headers),
        options=dict(provider.options),
        limits=_limits(provider.limits),
    )
    if not provider.accounts:
        tree["accounts"] = []
    return tree | _common(provider)


def _account(account: Account, vault: Vault, secrets: bool) -> Tree:
    if secrets:
        key: str = account.api_key
    elif account.origin:
        key = _Raw(account.origin)
    else:
        key = vault.encrypt(account.api_key)
    return _some(
        name=account.name,
        api_key=key,
        weight=None if account.weight == 1 else account.weight,
        limits=_limits(account.limits),
        active=None if account.active else False,
    )


def _model(model: Model) -> Tree:
    return (
        _some(
            provider=model.provider,
            upstream_model=None if model.upstream_model == model.name else model.upstream_model,
            limits=_limits(model.limits),
            price=None if model.price is None else _price(model.price),
            context_window=model.context_window,
            max_output=model.max_output,
        )
        | ({} if model.capabilities is None else {"capabilities": sorted(model.capabilities)})
        | _common(model)
    )


def _price(price: Price) -> Tree:
    return {name: nano / 1000 for name, nano in price._asdict().items() if nano is not None}


def _subscription(subscription: Subscription) -> Tree:
    return _some(
        limits=_limits(subscription.limits),
        user_limits=_limits(subscription.user_limits),
        routes={name: _route(route) for name, route in subscription.routes.items()},
    ) | _common(subscription)


def _route(route: Route) -> Tree:
    return _some(
        strategy=None if route.strategy is Strategy.WEIGHTED else route.strategy,
        max_wait=route.max_wait or None,
        hedge=route.hedge or None,
        targets=[_target(target) for target in route.targets],
    )


def _target(target: Target) -> Tree:
    return _some(
        model=target.model,
        provider=target.provider,
        weight=None if target.weight == 1 else target.weight,
        priority=target.priority or None,
    )


def _user(user: User, keys: list[ApiKey]) -> Tree:
    return _some(
        subscription=user.subscription,
        role=None if user.role is Role.MEMBER else user.role,
        limits=_limits(user.limits),
        expires_at=_time(user.expires_at),
        keys=[_key(key) for key in sorted(keys, key=lambda key: (key.created_at, key.name, key.digest))],
    ) | _common(user)


def _key(key: ApiKey) -> Tree:
    tree = _some(
        sha256=key.digest.hex(),
        prefix=key.prefix,
        name=key.name,
        limits=_limits(key.limits),
        expires_at=_time(key.expires_at),
    )
    for name, allowed in (
        ("allowed_models", key.allowed_models),
        ("allowed_providers", key.allowed_providers),
    ):
        if allowed is not None:
            tree[name] = sorted(allowed)
    return tree | _common(key)


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    # Added up in whole numbers: a float of a late year has no exact milliseconds.
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds").replace(
        "+00:00", "Z"
    )


def _plain(value: Any) -> Any:
    """What the dumper knows: whole floats as whole numbers, texts with their ``${`` marked as no reference."""
    if isinstance(value, Mapping):
        return {str(name): _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
