"""Which of several options comes next. Each function takes what is left, removes one and returns it; nothing is sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf, log
from typing import TypeVar

from apipod_proxy.route.capabilities import Needs
from apipod_proxy.route.health import Speed
from apipod_proxy.route.index import Option, Pair

Random = Callable[[], float]
"""Uniform in [0, 1)."""

# One draw in this many by latency goes to a pair at random, so that one which has become fast is found out.
EXPLORE = 0.05

# What is known of a pair counts as if this many results had said that it is as fast as the best of its peers.
PRIOR = 0.5

# An attempt that fails costs about as much time as one that succeeds, and then the next candidate's; errors also cost the reader's trust.
ERROR_WEIGHT = 4.0

_MASK = (1 << 64) - 1
_RANGE = float(1 << 64) + 2
# Beyond every distance of an account that has a weight.
_LAST = 1e300

Weighted = TypeVar("Weighted", Option, Pair)


def take_weighted(left: list[Weighted], random: Random) -> Weighted:
    """One by relative weight; weight 0 only when nothing else is left (then all alike)."""
    if len(left) == 1:
        return left.pop()
    total = 0.0
    for item in left:
        total += item.weight
    if total <= 0:
        return left.pop(int(random() * len(left)))
    point = random() * total
    chosen = 0
    for place, item in enumerate(left):
        if item.weight > 0:
            chosen = place
            point -= item.weight
            if point < 0:
                break
    return left.pop(chosen)


def take_priority(left: list[Option], last_used: dict[str, float]) -> Option:
    """The lowest priority number, then the smallest context, then the one least recently used."""

    def rank(option: Option) -> tuple[int, float, float]:
        return option.priority, option.ability.context_window or inf, last_used.get(option.model.id, -inf)

    return _take_least(left, rank)


def take_cheapest(left: list[Option], needs: Needs, random: Random) -> Option:
    """The lowest price for this request; options without a price come last, equal ones by chance."""

    def rank(option: Option) -> tuple[float, float]:
        return price_of(option, needs), random()

    return _take_least(left, rank)


def price_of(option: Option, needs: Needs) -> float:
    """Nano-dollars that the request is expected to cost there; infinite where no price is known."""
    price = option.model.price
    if price is None:
        return inf
    # Without sizes the usual mix of a chat decides: about three tokens in for one out.
    return price.input * (needs.input_tokens or 3) + price.output * (
        needs.output_tokens or needs.input_tokens / 3 or 1
    )


def expected_seconds(speed: Speed, best: float) -> float:
    """What asking a pair is expected to cost, seconds to the first content with failures counted in; ``best`` is its peers' best."""
    if speed.ttft is None and not speed.weight:
        return 0.0
    ttft = best if speed.ttft is None else speed.ttft
    ttft = (ttft * speed.weight + best * PRIOR) / (speed.weight + PRIOR)
    errors = speed.errors * speed.weight / (speed.weight + PRIOR)
    return ttft * (1 + ERROR_WEIGHT * errors) + errors


def rendezvous(pairs: Iterable[Pair], affinity: int) -> Iterator[Pair]:
    """``pairs`` in the order of a conversation: the same in every process, by weight over many conversations.

    An account that comes or goes moves only the conversations that were on it. Weight 0 comes last.
    """
    left = [(_distance(pair, affinity), pair) for pair in pairs]
    # The first is nearly always the only one that is asked for.
    first = min(left, key=_first_of)
    yield first[1]
    left.remove(first)
    left.sort(key=_first_of)
    for _, pair in left:
        yield pair


def _first_of(entry: tuple[float, Pair]) -> float:
    return entry[0]


def _distance(pair: Pair, affinity: int) -> float:
    """Weighted rendezvous hashing: the least of exponential variables whose rates are the weights."""
    # Seeds and affinities are hashes, so one multiplication mixes them well enough: its high bits depend on all of both.
    point = ((((pair.seed ^ affinity) * 0x9E3779B97F4A7C15) & _MASK) + 1) / _RANGE
    return -log(point) / pair.weight if pair.weight > 0 else _LAST * (1 + point)


def _take_least(left: list[Option], rank: Callable[[Option], tuple[float, ...]]) -> Option:
    place = min(range(len(left)), key=lambda at: rank(left[at]))
    return left.pop(place)
