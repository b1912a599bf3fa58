"""Candidates, best first: drawn lazily and without replacement, another account first, then another model of the route."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from math import ceil

from apipod_proxy.catalog.model import ApiKey, Candidate, Strategy
from apipod_proxy.errors import NoCandidate
from apipod_proxy.route.capabilities import NO_NEEDS, Needs, missing
from apipod_proxy.route.health import Health
from apipod_proxy.route.index import Option, Pair, Plan, RouteIndex
from apipod_proxy.route.strategies import (
    EXPLORE,
    Random,
    expected_seconds,
    rendezvous,
    take_cheapest,
    take_priority,
    take_weighted,
)

Clock = Callable[[], float]
"""Monotonic seconds."""

# The longest wait that is told to a client, so that it does not give up on what an admin may mend.
LONGEST_WAIT = 3600

# When each model was last drawn by priority; more names than this can only come from behind stars.
MAX_LAST_USED = 10_000


class Router:
    """Draws for one process. A new snapshot is taken over by setting ``index``; draws under way keep the old one."""

    def __init__(self, index: RouteIndex, health: Health, rng: Random, clock: Clock) -> None:
        self.index = index
        self.health = health
        self._random = rng
        self._clock = clock
        self.last_used: dict[str, float] = {}
        """When each model was last drawn by priority, by its id."""

    def candidates(
        self,
        subscription: str,
        requested: str,
        needs: Needs = NO_NEEDS,
        *,
        vendor: str | None = None,
        affinity: int | None = None,
        key: ApiKey | None = None,
    ) -> Iterator[Candidate]:
        """``draw`` of the plan that ``index.resolve`` gives; raises what both raise."""
        return self.draw(self.index.resolve(subscription, requested, key, vendor), needs, affinity)

    def draw(self, plan: Plan, needs: Needs = NO_NEEDS, affinity: int | None = None) -> Iterator[Candidate]:
        """The candidates of ``plan``, best first. Raises MissingCapability at once where none can serve ``needs``.

        Raises NoCandidate on the first step where every one is parked, disabled or open. A candidate that is drawn and then not
        asked is reported to ``health.skipped``.
        """
        options = fitting(plan, needs)
        if len(plan.pairs) == 1:
            return self._only(plan, plan.pairs[0])
        return self._walk(plan, options, needs, affinity)

    def now(self) -> float:
        """The time that health is kept in."""
        return self._clock()

    def wait(self, plan: Plan) -> float:
        """Seconds until the first candidate of ``plan`` is expected to be usable; 0 where one is."""
        now = self._clock()
        return min(self.health.wait_of(pair, now) for pair in plan.pairs)

    def _only(self, plan: Plan, pair: Pair) -> Iterator[Candidate]:
        if self.health.admits(pair, self._clock()):
            yield pair.candidate
        else:
            yield self._last_resort(plan, plan.pairs)

    def _walk(
        self, plan: Plan, options: tuple[Option, ...], needs: Needs, affinity: int | None
    ) -> Iterator[Candidate]:
        health, clock = self.health, self._clock
        yielded = False
        for pair in self._order(plan, options, needs, affinity):
            # The clock is read for each step, because attempts take place between them.
            if health.admits(pair, clock()):
                yielded = True
                if plan.strategy is Strategy.PRIORITY:
                    self._touch(pair.candidate.model.id)
                yield pair.candidate
        if not yielded:
            yield self._last_resort(plan, [pair for option in options for pair in option.pairs])

    def _order(
        self, plan: Plan, options: tuple[Option, ...], needs: Needs, affinity: int | None
    ) -> Iterator[Pair]:
        """Every pair once. Pairs that are out of service are among them, so the draw over the others keeps its proportions."""
        left = list(options)
        strategy = plan.strategy
        if strategy is Strategy.WEIGHTED:
            if options is plan.options and plan.bounds[-1] > 0:
                # The first draw, which is nearly always the last one, finds its place among precomputed bounds.
                yield from self._accounts(left.pop(self._first(plan)), affinity)
            while left:
                yield from self._accounts(take_weighted(left, self._random), affinity)
        elif strategy is Strategy.PRIORITY:
            while left:
                yield from self._accounts(take_priority(left, self.last_used), affinity)
        elif strategy is Strategy.COST:
            while left:
                yield from self._accounts(take_cheapest(left, needs, self._random), affinity)
        else:
            yield from self._by_pair(plan, left, affinity)

    def _first(self, plan: Plan) -> int:
        place = bisect_right(plan.bounds, self._random() * plan.bounds[-1])
        # Rounding may give the upper bound itself, and what stands there may have weight 0.
        return place if place < len(plan.bounds) else plan.bounds.index(plan.bounds[-1])

    def _accounts(self, option: Option, affinity: int | None) -> Iterable[Pair]:
        pairs = option.pairs
        if len(pairs) == 1:
            return pairs
        if affinity is not None:
            return rendezvous(pairs, affinity)
        return self._by_weight(option)

    def _by_weight(self, option: Option) -> Iterator[Pair]:
        left = list(option.pairs)
        if option.even:
            # Accounts mostly weigh the same, and then no total is needed.
            while left:
                yield left.pop(int(self._random() * len(left)))
        while left:
            yield take_weighted(left, self._random)

    def _by_pair(self, plan: Plan, options: list[Option], affinity: int | None) -> Iterator[Pair]:
        """Strategies that weigh pairs, not models: after a pair the other accounts of its model come first. Weight 0 comes last."""
        drawn: list[Pair] = []
        spare: list[Pair] = []
        for option in options:
            for pair in option.pairs:
                (spare if is_spare(option, pair) else drawn).append(pair)
        for left in (drawn, spare):
            yield from self._among(plan, left, affinity)

    def _among(self, plan: Plan, left: list[Pair], affinity: int | None) -> Iterator[Pair]:
        while left:
            first = self._even(left) if plan.strategy is Strategy.EVEN else self._fastest(left)
            model = first.candidate.model
            same = [pair for pair in left if pair.candidate.model is model]
            left = [pair for pair in left if pair.candidate.model is not model]
            if affinity is not None:
                yield from rendezvous(same, affinity)
                continue
            yield first
            same.remove(first)
            while same:
                pair = self._even(same) if plan.strategy is Strategy.EVEN else self._fastest(same)
                same.remove(pair)
                yield pair

    def _even(self, left: list[Pair]) -> Pair:
        """One by chance among those in service (all, where none is)."""
        pair = left[int(self._random() * len(left))]
        now = self._clock()
        if self.health.usable(pair, now):
            return pair
        usable = [pair for pair in left if self.health.usable(pair, now)]
        return usable[int(self._random() * len(usable))] if usable else pair

    def _fastest(self, left: list[Pair]) -> Pair:
        if self._random() < EXPLORE:
            return self._even(left)
        now = self._clock()
        speeds = [(self.health.speed(pair, now), pair) for pair in left]
        best = min((speed.ttft for speed, _ in speeds if speed.ttft is not None), default=0.0)
        ranked = [
            (not self.health.usable(pair, now), expected_seconds(speed, best), self._random(), pair)
            for speed, pair in speeds
        ]
        return min(ranked, key=lambda entry: entry[:3])[3]

    def _touch(self, model: str) -> None:
        if len(self.last_used) >= MAX_LAST_USED:
            self.last_used.clear()
        self.last_used[model] = self._clock()

    def _last_resort(self, plan: Plan, pairs: Iterable[Pair]) -> Candidate:
        """Nobody is in service: whose breaker is open longest, else a refused credential that is due for a trial."""
        now = self._clock()
        pairs = list(pairs)
        pair = self.health.open_longest(pairs, now) or self.health.credential_probe(pairs, now)
        if pair is not None:
            return pair.candidate
        wait = min(self.health.wait_of(pair, now) for pair in pairs)
        raise NoCandidate(plan.requested, min(max(1, ceil(wait)), LONGEST_WAIT))


def is_spare(option: Option, pair: Pair) -> bool:
    """Whether ``pair`` is meant for the time when nothing else is left."""
    return option.weight <= 0 or pair.weight <= 0


def fitting(plan: Plan, needs: Needs) -> tuple[Option, ...]:
    """The options of ``plan`` that can serve ``needs``, those that have what is merely preferred where there are any."""
    if not needs.mask & ~plan.mask and (
        plan.context_window is None or needs.input_tokens <= plan.context_window
    ):
        return plan.options
    able = tuple(option for option in plan.options if option.ability.serves(needs)) or tuple(
        option for option in plan.options if option.ability.may_serve(needs)
    )
    if not able:
        raise missing(plan.requested, needs, [option.ability for option in plan.options])
    return tuple(option for option in able if not option.ability.lacks(needs)) or able
