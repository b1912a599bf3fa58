"""Why a request would go where it goes: the ranking of its candidates with every reason, drawn without drawing."""

from __future__ import annotations

import json
from math import inf, isinf
from typing import NamedTuple, assert_never

from apipod_proxy.catalog.model import Strategy
from apipod_proxy.errors import MissingCapability
from apipod_proxy.route.capabilities import NO_NEEDS, PREFERENCES, Needs, names_of
from apipod_proxy.route.health import Health
from apipod_proxy.route.index import Option, Pair, Plan
from apipod_proxy.route.router import Router, fitting, is_spare
from apipod_proxy.route.strategies import EXPLORE, expected_seconds, price_of, rendezvous

# Proxies commonly take header lines of 8 KB with everything in them.
HEADER_BYTES = 4096


class Ranked(NamedTuple):
    """One candidate. ``chance`` is that of being asked first, ``usable`` whether it is drawn at all; ``reasons`` are for people."""

    model: str
    provider: str
    account: str
    upstream_model: str
    usable: bool
    chance: float
    reasons: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {**self._asdict(), "chance": round(self.chance, 4), "reasons": list(self.reasons)}


class Explanation(NamedTuple):
    """``candidates`` best first; ``dropped`` are targets of the route that no request can reach now."""

    requested: str
    route: str
    strategy: str
    candidates: tuple[Ranked, ...]
    dropped: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            **self._asdict(),
            "candidates": [c.as_dict() for c in self.candidates],
            "dropped": list(self.dropped),
        }

    def as_header(self) -> str:
        """The same as JSON in ASCII, short enough for a header: candidates that do not fit are counted as ``more``."""
        told = self.as_dict()
        ranked = [candidate.as_dict() for candidate in self.candidates]
        for kept in range(len(ranked), -1, -1):
            told["candidates"] = ranked[:kept]
            if kept < len(ranked):
                told["more"] = len(ranked) - kept
            text = json.dumps(told, separators=(",", ":"))
            if len(text) <= HEADER_BYTES:
                return text
        return json.dumps({"requested": "", "more": len(ranked)}, separators=(",", ":"))


class _Standing(NamedTuple):
    option: Option
    pair: Pair
    why_not: str | None
    cost: tuple[float, ...]
    """What the strategy ranks by, less is better; empty where chance decides."""
    reasons: list[str]


def explain(router: Router, plan: Plan, needs: Needs = NO_NEEDS, affinity: int | None = None) -> Explanation:
    """The ranking for one request of ``plan``. Changes nothing: no probe is taken and nothing counts as used."""
    now = router.now()
    able = {id(option) for option in _able(plan, needs)}
    standings = []
    for option in plan.options:
        lack = None if id(option) in able else _lack(option, needs)
        for pair in option.pairs:
            cost, reasons = _rank(router, plan, option, pair, needs, now)
            why_not = lack or router.health.obstacle(pair, now)
            if why_not is not None:
                reasons.insert(0, why_not)
            standings.append(_Standing(option, pair, why_not, cost, reasons))
    chances = _chances(plan, standings, affinity)

    def place(at: int) -> tuple[bool, float, tuple[float, ...], float]:
        standing = standings[at]
        return standing.why_not is not None, -chances[at], standing.cost, -standing.option.weight

    return Explanation(
        plan.requested,
        plan.route,
        plan.strategy.value,
        tuple(_ranked(standings[at], chances[at]) for at in sorted(range(len(standings)), key=place)),
        tuple(f"{dropped.target} {dropped.reason}" for dropped in plan.dropped),
    )


def _rank(
    router: Router, plan: Plan, option: Option, pair: Pair, needs: Needs, now: float
) -> tuple[tuple[float, ...], list[str]]:
    """What the strategy goes by, and that in words."""
    cost: tuple[float, ...] = ()
    match plan.strategy:
        case Strategy.WEIGHTED:
            reasons = [f"weight {option.weight:g}"]
        case Strategy.EVEN:
            reasons = ["every account of every model alike"]
        case Strategy.PRIORITY:
            context = option.ability.context_window
            used = router.last_used.get(option.model.id)
            cost = (option.priority, inf if context is None else context, -inf if used is None else used)
            reasons = [
                f"priority {option.priority}",
                "context not known" if context is None else f"context {context}",
                "never used" if used is None else f"used {now - used:.0f} s ago",
            ]
        case Strategy.COST:
            price = price_of(option, needs)
            cost = (price,)
            reasons = ["no price known" if isinf(price) else f"expected cost {price:.0f} nano-dollars"]
        case Strategy.LATENCY:
            speed = router.health.speed(pair, now)
            cost = (expected_seconds(speed, _best(plan, router.health, now)),)
            reasons = [
                "speed not known" if speed.ttft is None else f"first content after {speed.ttft:.3f} s",
                f"{speed.errors:.1%} errors over {speed.weight:.1f} recent results",
            ]
        case _:
            assert_never(plan.strategy)
    if len(option.pairs) > 1:
        reasons.append(f"account weight {pair.weight:g} of {sum(other.weight for other in option.pairs):g}")
    return cost, reasons


def _able(plan: Plan, needs: Needs) -> tuple[Option, ...]:
    try:
        return fitting(plan, needs)
    except MissingCapability:
        # A refusal is an explanation too: every candidate then says what it lacks.
        return ()


def _lack(option: Option, needs: Needs) -> str:
    lacking = option.ability.lacks(needs)
    if lacking & ~PREFERENCES:
        return f"lacks {', '.join(names_of(lacking & ~PREFERENCES))}"
    if lacking and option.ability.serves(needs):
        return f"lacks {', '.join(names_of(lacking))}, which others have"
    return f"its context of {option.ability.context_window} is too small for {needs.input_tokens} tokens"


def _chances(plan: Plan, standings: list[_Standing], affinity: int | None) -> list[float]:
    """That each is the first to be asked."""
    usable = [standing for standing in standings if standing.why_not is None]
    if plan.strategy in (Strategy.EVEN, Strategy.LATENCY):
        usable = [standing for standing in usable if not is_spare(standing.option, standing.pair)] or usable
    drawn = {id(standing) for standing in usable}
    if plan.strategy in (Strategy.WEIGHTED, Strategy.EVEN):
        shares = _option_shares(plan, usable)
    elif plan.strategy is Strategy.LATENCY:
        best = min(usable, key=lambda standing: standing.cost, default=None)
        # The fastest pair leads, but for the share that goes to any pair at random.
        chances = [EXPLORE / len(usable) if id(standing) in drawn else 0.0 for standing in standings]
        return [
            chance + (1 - EXPLORE if standing is best else 0)
            for chance, standing in zip(chances, standings, strict=True)
        ]
    else:
        first = min(usable, key=lambda standing: standing.cost, default=None)
        shares = {} if first is None else {first.option.model.id: 1.0}
    return [
        _share(plan, standing, usable, affinity) * shares.get(standing.option.model.id, 0.0)
        if id(standing) in drawn
        else 0.0
        for standing in standings
    ]


def _option_shares(plan: Plan, usable: list[_Standing]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for standing in usable:
        if plan.strategy is Strategy.EVEN:
            weights[standing.option.model.id] = weights.get(standing.option.model.id, 0.0) + 1.0
        else:
            weights[standing.option.model.id] = standing.option.weight
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1.0)
    total = sum(weights.values())
    return {model: weight / total for model, weight in weights.items()}


def _share(plan: Plan, standing: _Standing, usable: list[_Standing], affinity: int | None) -> float:
    """Of the accounts of its model."""
    peers = [other.pair for other in usable if other.option is standing.option]
    if affinity is not None:
        if next(rendezvous(peers, affinity)) is not standing.pair:
            return 0.0
        standing.reasons.append("the account of this conversation")
        return 1.0
    total = sum(peer.weight for peer in peers)
    if plan.strategy is Strategy.EVEN or total <= 0:
        return 1.0 / len(peers)
    return standing.pair.weight / total


def _best(plan: Plan, health: Health, now: float) -> float:
    speeds = (health.speed(pair, now).ttft for pair in plan.pairs)
    return min((speed for speed in speeds if speed is not None), default=0.0)


def _ranked(standing: _Standing, chance: float) -> Ranked:
    candidate = standing.pair.candidate
    return Ranked(
        candidate.model.name,
        candidate.provider.name,
        candidate.account.name,
        candidate.upstream_model,
        standing.why_not is None,
        chance,
        tuple(standing.reasons),
    )
