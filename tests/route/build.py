"""Small catalogs in a few words, and a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from apipod_proxy.catalog.model import (
    Account,
    ApiKey,
    Breaker,
    Candidate,
    Model,
    Price,
    Provider,
    Route,
    Snapshot,
    Strategy,
    Subscription,
    Target,
)
from apipod_proxy.route.health import Health
from apipod_proxy.route.index import RouteIndex
from apipod_proxy.route.router import Router

NO_OPTIONS: Mapping[str, str] = {}


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def account(provider: str, name: str, *, weight: float = 1, active: bool = True, key: str = "k") -> Account:
    return Account(f"{provider}:{name}", provider, name, key, weight, active=active)


def provider(
    name: str,
    *accounts: Account,
    active: bool = True,
    breaker: Breaker | None = None,
    options: Mapping[str, str] = NO_OPTIONS,
) -> Provider:
    pool = accounts or (account(name, "main"),)
    return Provider(
        name, name, "openai", "http://x", pool, breaker=breaker or Breaker(), options=options, active=active
    )


def pool(name: str, size: int) -> Provider:
    return provider(name, *(account(name, f"a{number}") for number in range(size)))


def model(
    name: str,
    provider: str,
    upstream: str | None = None,
    *,
    active: bool = True,
    capabilities: Iterable[str] | None = None,
    context: int | None = None,
    output: int | None = None,
    price: tuple[int, int] | None = None,
) -> Model:
    return Model(
        f"id-{name}",
        name,
        provider,
        upstream or name,
        price=None if price is None else Price(*price),
        capabilities=None if capabilities is None else frozenset(capabilities),
        context_window=context,
        max_output=output,
        active=active,
    )


def target(name: str, weight: float = 1, priority: int = 0) -> Target:
    return Target(name, None, weight, priority)


def star(provider: str, weight: float = 1) -> Target:
    return Target(None, provider, weight)


def route(name: str, *targets: Target, strategy: Strategy = Strategy.WEIGHTED) -> Route:
    return Route(f"route-{name}", name, strategy, targets)


def snapshot(
    providers: Iterable[Provider],
    models: Iterable[Model],
    routes: Iterable[Route] = (),
    *,
    active: bool = True,
) -> Snapshot:
    subscription = Subscription(
        "sub", "pro", {entry.requested_name: entry for entry in routes}, active=active
    )
    return Snapshot(
        1,
        {entry.name: entry for entry in providers},
        {entry.name: entry for entry in models},
        {"pro": subscription},
        {},
        {},
    )


def key(models: Iterable[str] | None = None, providers: Iterable[str] | None = None) -> ApiKey:
    return ApiKey(
        "key",
        "alice",
        "laptop",
        b"",
        allowed_models=None if models is None else frozenset(models),
        allowed_providers=None if providers is None else frozenset(providers),
    )


def router(catalog: Snapshot, *, seed: int = 1, clock: Clock | None = None) -> Router:
    return Router(RouteIndex(catalog), Health(), Random(seed).random, clock or Clock())


def names(candidates: Iterable[Candidate]) -> list[str]:
    """``model@account`` of each."""
    return [f"{candidate.model.name}@{candidate.account.name}" for candidate in candidates]
