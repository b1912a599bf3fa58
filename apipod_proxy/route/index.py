"""From the name that a client asks for to the plan that serves it. Built once per snapshot, plans on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import accumulate
from typing import NamedTuple

from apipod_proxy.catalog.model import (
    Account,
    ApiKey,
    Candidate,
    Model,
    Provider,
    Route,
    Snapshot,
    Strategy,
    Subscription,
    Target,
)
from apipod_proxy.errors import Forbidden, UnknownModel
from apipod_proxy.route.capabilities import EVERYTHING, Ability, ability_of

PairKey = tuple[str, str]
"""Ids of account and model: what health is kept by, so that it outlives a snapshot."""

# Clients choose what a star stands for, so the plans made of such names must not pile up.
MAX_STAR_PLANS = 4096
MAX_NARROWED = 4096

OPERATION_MARK = "\n"
"""Between the id of a model and an operation; no id holds it."""


class Pair(NamedTuple):
    """One candidate with what a draw needs of it. ``seed`` is the account's own 64 bits for rendezvous hashing."""

    candidate: Candidate
    key: PairKey
    weight: float
    seed: int


class Option(NamedTuple):
    """One model of a plan with its accounts."""

    model: Model
    provider: Provider
    weight: float
    priority: int
    ability: Ability
    pairs: tuple[Pair, ...]
    even: bool
    """All accounts weigh the same."""


class Dropped(NamedTuple):
    """A target that a plan leaves out, and why."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that is known of a requested name before a request comes. ``bounds`` are the cumulative weights of ``options``."""

    requested: str
    route: str
    """The name of the route, with its star; the requested name where a model answers to its own."""
    strategy: Strategy
    options: tuple[Option, ...]
    dropped: tuple[Dropped, ...]
    max_wait: float
    hedge: bool
    pairs: tuple[Pair, ...]
    bounds: tuple[float, ...]
    mask: int
    """What every option can do."""
    context_window: int | None
    """The smallest of all options; None where none is known."""


class Listed(NamedTuple):
    """One name that a caller may ask for; sizes are those of the largest model behind it, None where not known."""

    name: str
    providers: tuple[str, ...]
    ability: Ability


class _Seats(NamedTuple):
    provider: Provider
    ability: Ability
    pairs: tuple[Pair, ...]


class _Table:
    """The routes of one subscription."""

    __slots__ = ("catch", "exact", "plans", "star_plans", "stars")

    def __init__(self, subscription: Subscription) -> None:
        routes = subscription.routes.values()
        self.exact = {
            route.requested_name: route for route in routes if not route.requested_name.endswith("*")
        }
        prefixes = [
            (route.requested_name[:-1], route) for route in routes if route.requested_name.endswith("*")
        ]
        self.stars = sorted((star for star in prefixes if star[0]), key=lambda star: -len(star[0]))
        catches = [route for prefix, route in prefixes if not prefix]
        # No routes at all mean the same as "*": {}.
        self.catch = catches[0] if catches else (None if subscription.routes else Route("", "*"))
        self.plans: dict[str, Plan] = {}
        self.star_plans: dict[str, Plan] = {}

    def route_for(self, requested: str) -> tuple[Route, str] | None:
        """The route that takes ``requested``, and what its star stands for (the whole name where it has none)."""
        route = self.exact.get(requested)
        if route is not None:
            return route, requested
        for prefix, star in self.stars:
            if requested.startswith(prefix) and len(requested) > len(prefix):
                return star, requested[len(prefix) :]
        return None if self.catch is None else (self.catch, requested)


class RouteIndex:
    """All plans of one snapshot. Names of providers, models and subscriptions are those of the snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.version = snapshot.version
        self._snapshot = snapshot
        self._tables = {name: _Table(sub) for name, sub in snapshot.subscriptions.items() if sub.active}
        self._accounts = {name: live_accounts(provider) for name, provider in snapshot.providers.items()}
        self._seats: dict[str, _Seats] = {}
        self._narrowed: dict[tuple[Plan, frozenset[str] | None, str | None], Plan] = {}
        self._upstream: dict[tuple[str, str], list[Model]] = {}
        for model in snapshot.models.values():
            self._upstream.setdefault((model.provider, model.upstream_model), []).append(model)

    def resolve(
        self, subscription: str, requested: str, key: ApiKey | None = None, vendor: str | None = None
    ) -> Plan:
        """The plan for ``requested``. Raises UnknownModel where there is none and Forbidden where ``key`` may not use it."""
        table = self._tables.get(subscription)
        if table is None:
            raise Forbidden("The subscription of this key is not active.")
        plan = table.plans.get(requested) or table.star_plans.get(requested)
        if plan is None:
            plan = self._build(table, requested)
        if key is not None:
            if key.allowed_models is not None and not allows(key.allowed_models, requested):
                raise Forbidden(f"This key may not use the model '{requested}'.", "model_not_allowed")
            if key.allowed_providers is not None or vendor is not None:
                return self._narrow(plan, key.allowed_providers, vendor)
        elif vendor is not None:
            return self._narrow(plan, None, vendor)
        return plan

    def names(self, subscription: str, key: ApiKey | None = None) -> list[Listed]:
        """What may be asked for by name, sorted; names with a star appear as the catalog's models that they reach."""
        table = self._tables.get(subscription)
        if table is None:
            return []
        listed = []
        for name in sorted(set(self._names(table))):
            try:
                plan = self.resolve(subscription, name, key)
            except (UnknownModel, Forbidden):
                # Nothing live stands behind the name, or this key may not use it: it is not offered.
                continue
            listed.append(_listed(name, plan))
        return listed

    def _names(self, table: _Table) -> Iterator[str]:
        models = self._snapshot.models.values()
        yield from table.exact
        for prefix, route in table.stars:
            if not route.targets:
                yield from (model.name for model in models if model.name.startswith(prefix))
            providers = {target.provider for target in route.targets}
            yield from (prefix + model.upstream_model for model in models if model.provider in providers)
        if table.catch is not None:
            targets = {target.model for target in table.catch.targets}
            yield from (model.name for model in models if not targets or model.name in targets)

    def _build(self, table: _Table, requested: str) -> Plan:
        found = table.route_for(requested)
        if found is None:
            raise UnknownModel(requested)
        route, stands_for = found
        plan = self._plan(route, requested, stands_for)
        if not plan.options:
            raise UnknownModel(requested)
        if route.requested_name == requested or (not route.targets and requested in self._snapshot.models):
            table.plans[requested] = plan
        else:
            if len(table.star_plans) >= MAX_STAR_PLANS:
                table.star_plans.clear()
            table.star_plans[requested] = plan
        return plan

    def _plan(self, route: Route, requested: str, stands_for: str) -> Plan:
        options: list[Option] = []
        dropped: list[Dropped] = []
        for target in route.targets or (Target(requested, None),):
            model = self._model(target, stands_for)
            seats = self._seats_of(model) if isinstance(model, Model) else model
            if isinstance(seats, str):
                dropped.append(Dropped(target.model or f"{target.provider}/{stands_for}", seats))
                continue
            assert isinstance(model, Model)
            twin = next((place for place, option in enumerate(options) if option.model is model), None)
            if twin is not None:
                # The same model twice is one target of both weights, or it would be asked twice.
                options[twin] = options[twin]._replace(weight=options[twin].weight + target.weight)
                continue
            even = len({pair.weight for pair in seats.pairs}) == 1
            options.append(
                Option(
                    model, seats.provider, target.weight, target.priority, seats.ability, seats.pairs, even
                )
            )
        name = route.requested_name if route.targets else requested
        return _plan_of(requested, name, route, options, dropped)

    def _model(self, target: Target, stands_for: str) -> Model | str:
        """The model of ``target``, or the reason why there is none."""
        if target.model is not None:
            return self._snapshot.models.get(target.model) or "is not in the catalog"
        name = target.provider or ""
        if name not in self._snapshot.providers:
            return "its provider is not in the catalog"
        # A model that the catalog knows keeps its limits and its price whatever name it is reached by.
        known = self._upstream.get((name, stands_for))
        if known:
            return next((model for model in known if model.active), known[0])
        made_up = f"{name}/{stands_for}"
        return Model(made_up, made_up, name, stands_for)

    def _seats_of(self, model: Model) -> _Seats | str:
        """Who can serve ``model``, or the reason why nobody can."""
        # A made-up name may be that of a catalog model by chance, so the object decides what is cached.
        catalogued = self._snapshot.models.get(model.name) is model
        if catalogued and model.name in self._seats:
            return self._seats[model.name]
        if not model.active:
            return "is inactive"
        provider = self._snapshot.providers.get(model.provider)
        if provider is None:
            return "its provider is not in the catalog"
        if not provider.active:
            return f"its provider {provider.name} is inactive"
        accounts = self._accounts[provider.name]
        if not accounts:
            return f"its provider {provider.name} has no active account"
        pairs = tuple(
            Pair(
                Candidate(provider, account, model, model.upstream_model),
                (account.id, model.id),
                account.weight,
                seed_of(account.id),
            )
            for account in accounts
        )
        seats = _Seats(provider, ability_of(model), pairs)
        if catalogued:
            self._seats[model.name] = seats
        return seats

    def _narrow(self, plan: Plan, providers: frozenset[str] | None, vendor: str | None) -> Plan:
        """``plan`` with the options of the allowed providers, and of ``vendor`` alone where one is named."""
        cached = self._narrowed.get((plan, providers, vendor))
        if cached is not None:
            return cached
        if vendor is not None and providers is not None and vendor not in providers:
            raise Forbidden(f"This key may not use the provider '{vendor}'.", "provider_not_allowed")
        options = [
            option for option in plan.options if providers is None or option.provider.name in providers
        ]
        if not options:
            raise Forbidden(
                f"This key may not use any provider of '{plan.requested}'.", "provider_not_allowed"
            )
        options = [option for option in options if vendor is None or option.provider.name == vendor]
        if not options:
            raise UnknownModel(plan.requested, vendor)
        narrowed = _with_options(plan, options)
        if len(self._narrowed) >= MAX_NARROWED:
            self._narrowed.clear()
        self._narrowed[plan, providers, vendor] = narrowed
        return narrowed


def allows(allowed: Iterable[str], name: str) -> bool:
    """Whether ``name`` is one of ``allowed``, whose entries may end in a star."""
    return any(name == entry or (entry.endswith("*") and name.startswith(entry[:-1])) for entry in allowed)


def seed_of(account_id: str) -> int:
    """64 bits of an account, the same in every process."""
    return int.from_bytes(blake2b(account_id.encode(), digest_size=8).digest(), "little")


def live_accounts(provider: Provider) -> tuple[Account, ...]:
    """Those that may be asked."""
    # A provider on one's own machine needs no key, and so may come without an account.
    if not provider.accounts:
        return (Account(provider.id, provider.name, "default"),)
    return tuple(account for account in provider.accounts if account.active)


def _plan_of(
    requested: str, name: str, route: Route, options: list[Option], dropped: Iterable[Dropped]
) -> Plan:
    plan = Plan(
        requested=requested,
        route=name,
        strategy=route.strategy,
        options=(),
        dropped=tuple(dropped),
        max_wait=route.max_wait,
        hedge=route.hedge,
        pairs=(),
        bounds=(),
        mask=EVERYTHING,
        context_window=None,
    )
    return _with_options(plan, options)


def _with_options(plan: Plan, options: list[Option]) -> Plan:
    mask = EVERYTHING
    for option in options:
        mask &= option.ability.mask
    contexts = [option.ability.context_window for option in options]
    return replace(
        plan,
        options=tuple(options),
        pairs=tuple(pair for option in options for pair in option.pairs),
        bounds=tuple(accumulate(option.weight for option in options)),
        mask=mask,
        context_window=min((context for context in contexts if context is not None), default=None),
    )


def for_operation(plan: Plan, name: str, serves: Callable[[Option], bool]) -> Plan:
    """``plan`` for what is no completion: the options that ``serves`` takes, which may be none.

    Its pairs have ids of their own, so that a model which cannot do this keeps its good health for what it can do.
    """
    return _with_options(plan, [_of_operation(option, name) for option in plan.options if serves(option)])


def _of_operation(option: Option, name: str) -> Option:
    model = replace(option.model, id=f"{option.model.id}{OPERATION_MARK}{name}")
    pairs = tuple(
        pair._replace(candidate=replace(pair.candidate, model=model), key=(pair.key[0], model.id))
        for pair in option.pairs
    )
    return option._replace(model=model, pairs=pairs)


def label_of(candidate: Candidate) -> str:
    """The model's name, with the operation where it is none of completions."""
    operation = candidate.model.id.partition(OPERATION_MARK)[2]
    return f"{candidate.model.name} ({operation})" if operation else candidate.model.name


def is_for_operation(candidate: Candidate) -> bool:
    """Whether ``candidate`` stands in a plan of ``for_operation``."""
    return OPERATION_MARK in candidate.model.id


def _listed(name: str, plan: Plan) -> Listed:
    mask = 0
    for option in plan.options:
        mask |= option.ability.mask
    abilities: Mapping[str, list[int]] = {
        size: [value for option in plan.options if (value := getattr(option.ability, size)) is not None]
        for size in ("context_window", "max_output")
    }
    ability = Ability(
        mask, max(abilities["context_window"], default=None), max(abilities["max_output"], default=None)
    )
    return Listed(name, tuple(dict.fromkeys(option.provider.name for option in plan.options)), ability)
