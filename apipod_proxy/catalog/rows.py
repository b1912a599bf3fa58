"""Objects of the catalog as rows, and back. JSON is text, booleans are 0 and 1, absent texts are empty."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import orjson

from apipod_proxy.catalog.model import (
    NO_LIMITS,
    NO_STRINGS,
    Account,
    ApiKey,
    Breaker,
    Limit,
    LimitTable,
    Model,
    PoolSize,
    Price,
    Provider,
    Retries,
    Role,
    Route,
    Source,
    Strategy,
    Subscription,
    Target,
    Timeouts,
    User,
)
from apipod_proxy.catalog.ports import Row

Columns = dict[str, object]


def id_of(kind: str, *names: str) -> str:
    """The id of what has these names. It follows from them, so counters kept elsewhere fit again after a database was made anew."""
    text = "\x00".join((kind, *names)).encode()
    return f"{kind}_{hashlib.blake2b(text, digest_size=10).hexdigest()}"


def _dump(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


# Limits and other small tables


def dump_limits(limits: LimitTable) -> str:
    return _dump({kind: tuple(limit) for kind, limit in limits.items()}) if limits else ""


def load_limits(text: str) -> LimitTable:
    if not text:
        return NO_LIMITS
    return {kind: Limit(*pair) for kind, pair in orjson.loads(text).items()}


def _dump_strings(strings: Mapping[str, str]) -> str:
    return _dump(dict(strings)) if strings else ""


def _load_strings(text: str) -> Mapping[str, str]:
    return orjson.loads(text) if text else NO_STRINGS


def _dump_set(names: frozenset[str] | None) -> str | None:
    return None if names is None else _dump(sorted(names))


def _load_set(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(orjson.loads(text))


class Decoder:
    """Rows → objects. Equal texts become one object, which for thousands of keys saves time and memory."""

    def __init__(self) -> None:
        self._limits: dict[str, LimitTable] = {}
        self._sets: dict[str, frozenset[str] | None] = {}

    def limits(self, text: str) -> LimitTable:
        found = self._limits.get(text)
        if found is None:
            found = self._limits[text] = load_limits(text)
        return found

    def names(self, text: str | None) -> frozenset[str] | None:
        if text is None:
            return None
        found = self._sets.get(text)
        if found is None:
            found = self._sets[text] = _load_set(text)
        return found

    def account(self, row: Row, provider: str, api_key: str) -> Account:
        identity, _, name, _, origin, weight, limits, active, enabled = row
        return Account(
            identity, provider, name, api_key, weight, self.limits(limits), bool(active), origin, enabled
        )

    def provider(self, row: Row, accounts: Iterable[Account]) -> Provider:
        return Provider(
            id=row[0],
            name=row[1],
            type=row[2],
            base_url=row[3],
            accounts=tuple(accounts),
            timeouts=Timeouts(*orjson.loads(row[4])),
            retries=Retries(*orjson.loads(row[5])),
            breaker=Breaker(*orjson.loads(row[6])),
            pool=PoolSize(*orjson.loads(row[7])),
            headers=_load_strings(row[8]),
            options=_load_strings(row[9]),
            limits=self.limits(row[10]),
            active=bool(row[11]),
            source=Source(row[12]),
        )

    def model(self, row: Row) -> Model:
        return Model(
            id=row[0],
            name=row[1],
            provider=row[2],
            upstream_model=row[3],
            limits=self.limits(row[4]),
            price=None if row[5] is None else Price(row[5], row[6], row[7], row[8], row[9]),
            capabilities=self.names(row[10]),
            context_window=row[11],
            max_output=row[12],
            active=bool(row[13]),
            source=Source(row[14]),
        )

    def route(self, row: Row, targets: Iterable[Target]) -> Route:
        identity, _, requested, strategy, max_wait, hedge = row
        return Route(identity, requested, Strategy(strategy), tuple(targets), max_wait, bool(hedge))

    def target(self, row: Row) -> Target:
        return Target(*tuple(row)[1:])

    def subscription(self, row: Row, routes: Mapping[str, Route]) -> Subscription:
        identity, name, limits, user_limits, active, source = row
        return Subscription(
            identity,
            name,
            routes,
            self.limits(limits),
            self.limits(user_limits),
            bool(active),
            Source(source),
        )

    def user(self, row: Row) -> User:
        identity, name, subscription, role, limits, active, expires_at, source, _ = row
        return User(
            identity,
            name,
            subscription or "",
            Role(role),
            self.limits(limits),
            bool(active),
            expires_at,
            Source(source),
        )

    def keys(self, rows: Iterable[Row]) -> Iterator[tuple[ApiKey, bool]]:
        """Each with whether it is deleted."""
        limits, names, sources = self.limits, self.names, {source.value: source for source in Source}
        for row in rows:
            identity, user, name, digest, prefix, limit_text, models, providers, *rest = row
            active, revoked_at, expires_at, created_at, source, deleted = rest
            key = ApiKey(
                identity,
                user,
                name,
                bytes.fromhex(digest),
                prefix,
                limits(limit_text),
                names(models),
                names(providers),
                revoked_at is None and bool(active),
                expires_at,
                created_at,
                sources[source],
                revoked_at,
            )
            yield key, bool(deleted)


# Objects → columns


def provider_columns(provider: Provider) -> Columns:
    return {
        "id": id_of("provider", provider.name),
        "name": provider.name,
        "type": provider.type,
        "base_url": provider.base_url,
        "timeouts": _dump(tuple(provider.timeouts)),
        "retries": _dump(tuple(provider.retries)),
        "breaker": _dump(tuple(provider.breaker)),
        "pool": _dump(tuple(provider.pool)),
        "headers": _dump_strings(provider.headers),
        "options": _dump_strings(provider.options),
        "limits": dump_limits(provider.limits),
        "active": int(provider.active),
        "source": provider.source.value,
    }


def account_columns(account: Account, place: int, sealed: str) -> Columns:
    return {
        "id": id_of("account", account.provider, account.name),
        "provider_id": id_of("provider", account.provider),
        "name": account.name,
        "place": place,
        "api_key": sealed,
        "origin": account.origin,
        "weight": float(account.weight),
        "limits": dump_limits(account.limits),
        "active": int(account.active),
    }


def model_columns(model: Model) -> Columns:
    price = model.price
    return {
        "id": id_of("model", model.name),
        "name": model.name,
        "provider_id": id_of("provider", model.provider),
        "upstream_model": model.upstream_model,
        "limits": dump_limits(model.limits),
        "price_input": price and price.input,
        "price_output": price and price.output,
        "price_cached_input": price and price.cached_input,
        "price_cache_write": price and price.cache_write,
        "price_reasoning": price and price.reasoning,
        "capabilities": _dump_set(model.capabilities),
        "context_window": model.context_window,
        "max_output": model.max_output,
        "active": int(model.active),
        "source": model.source.value,
    }


def subscription_columns(subscription: Subscription) -> Columns:
    return {
        "id": id_of("subscription", subscription.name),
        "name": subscription.name,
        "limits": dump_limits(subscription.limits),
        "user_limits": dump_limits(subscription.user_limits),
        "active": int(subscription.active),
        "source": subscription.source.value,
    }


def route_columns(subscription: str, route: Route) -> Columns:
    return {
        "id": id_of("route", subscription, route.requested_name),
        "subscription_id": id_of("subscription", subscription),
        "requested_name": route.requested_name,
        "strategy": route.strategy.value,
        "max_wait": float(route.max_wait),
        "hedge": int(route.hedge),
    }


def target_columns(subscription: str, route: Route) -> list[Columns]:
    return [
        {
            "id": id_of("target", subscription, route.requested_name, str(place)),
            "route_id": id_of("route", subscription, route.requested_name),
            "place": place,
            "llm_model_id": None if target.model is None else id_of("model", target.model),
            "provider_id": None if target.provider is None else id_of("provider", target.provider),
            "weight": float(target.weight),
            "priority": target.priority,
        }
        for place, target in enumerate(route.targets)
    ]


def user_columns(user: User, version: int) -> Columns:
    return {
        "id": id_of("user", user.name),
        "name": user.name,
        "subscription_id": id_of("subscription", user.subscription),
        "role": user.role.value,
        "limits": dump_limits(user.limits),
        "active": int(user.active),
        "expires_at": user.expires_at,
        "source": user.source.value,
        "version": version,
    }


def key_columns(key: ApiKey, version: int) -> Columns:
    """``key.id`` is made anew by whoever creates a key: one that follows from the key would tell something of it."""
    return {
        "id": key.id,
        "user_id": id_of("user", key.user),
        "name": key.name,
        "digest": key.digest.hex(),
        "prefix": key.prefix,
        "limits": dump_limits(key.limits),
        "allowed_models": _dump_set(key.allowed_models),
        "allowed_providers": _dump_set(key.allowed_providers),
        "active": int(key.active),
        "revoked_at": key.revoked_at,
        "expires_at": key.expires_at,
        "created_at": key.created_at,
        "source": key.source.value,
        "version": version,
    }
