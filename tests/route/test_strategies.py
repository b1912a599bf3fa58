from __future__ import annotations

from collections import Counter
from math import inf
from random import Random

import pytest

from apipod_proxy.catalog.model import Strategy
from apipod_proxy.route.capabilities import Needs
from apipod_proxy.route.health import Speed
from apipod_proxy.route.index import Option, Pair, RouteIndex
from apipod_proxy.route.strategies import (
    expected_seconds,
    price_of,
    rendezvous,
    take_cheapest,
    take_priority,
    take_weighted,
)
from tests.route.build import account, model, provider, route, snapshot, target


def options(*weights: float, priorities: tuple[int, ...] = (), prices: tuple[int, ...] = ()) -> list[Option]:
    models = [
        model(f"m{at}", "p", price=(prices[at], 0) if at < len(prices) and prices[at] else None)
        for at in range(len(weights))
    ]
    targets = [
        target(f"m{at}", weight, priorities[at] if priorities else 0) for at, weight in enumerate(weights)
    ]
    catalog = snapshot([provider("p")], models, [route("x", *targets, strategy=Strategy.WEIGHTED)])
    return list(RouteIndex(catalog).resolve("pro", "x").options)


def pairs(*weights: float) -> list[Pair]:
    accounts = [account("p", f"a{at}", weight=weight) for at, weight in enumerate(weights)]
    catalog = snapshot([provider("p", *accounts)], [model("m", "p")])
    return list(RouteIndex(catalog).resolve("pro", "m").pairs)


def drawn(*weights: float, times: int = 6000) -> dict[str, float]:
    rng = Random(1)
    every = options(*weights)
    counts = Counter(take_weighted(list(every), rng.random).model.name for _ in range(times))
    return {name: count / times for name, count in counts.items()}


def test_weights_are_the_odds() -> None:
    shares = drawn(1, 2, 0, 5)
    assert shares["m0"] == pytest.approx(1 / 8, abs=0.02)
    assert shares["m1"] == pytest.approx(2 / 8, abs=0.02)
    assert shares["m3"] == pytest.approx(5 / 8, abs=0.02)
    assert "m2" not in shares


def test_only_zeros_are_all_alike() -> None:
    assert drawn(0, 0)["m0"] == pytest.approx(0.5, abs=0.03)


def test_what_is_taken_is_removed() -> None:
    left = options(1, 1, 0)
    taken = [take_weighted(left, lambda: 0.99).model.name for _ in range(3)]
    assert sorted(taken) == ["m0", "m1", "m2"]
    assert taken[2] == "m2"
    assert left == []


def test_rounding_up_to_the_end_takes_the_last_that_has_a_weight() -> None:
    assert take_weighted(options(1, 3, 0), lambda: 1.0).model.name == "m1"


def test_the_lowest_priority_number_is_taken_then_the_least_recently_used() -> None:
    left = options(1, 1, 1, priorities=(1, 0, 0))
    used = {"id-m1": 50.0, "id-m2": 40.0}
    assert [take_priority(left, used).model.name for _ in range(3)] == ["m2", "m1", "m0"]


def test_the_cheapest_is_taken_and_equal_ones_by_chance() -> None:
    left = options(1, 1, 1, prices=(5, 3, 0))
    assert [take_cheapest(left, Needs(), lambda: 0.5).model.name for _ in range(3)] == ["m1", "m0", "m2"]
    rng = Random(2)
    counts = Counter(
        take_cheapest(options(1, 1, prices=(3, 3)), Needs(), rng.random).model.name for _ in range(400)
    )
    assert 150 < counts["m0"] < 250


def test_a_price_that_is_not_known_is_beyond_all_others() -> None:
    assert price_of(options(1)[0], Needs(input_tokens=1)) == inf
    assert price_of(options(1, prices=(7,))[0], Needs(input_tokens=10)) == 70
    assert price_of(options(1, prices=(7,))[0], Needs()) == 21


def test_what_was_never_asked_is_tried_first() -> None:
    assert expected_seconds(Speed(None, 0.0, 0.0), 0.5) == 0


def test_slow_and_failing_pairs_are_expected_to_cost_more() -> None:
    fast = expected_seconds(Speed(0.5, 0.0, 50), 0.5)
    slow = expected_seconds(Speed(2.0, 0.0, 50), 0.5)
    failing = expected_seconds(Speed(0.5, 0.3, 50), 0.5)
    dead = expected_seconds(Speed(None, 1.0, 50), 0.5)
    assert fast < failing < slow < dead


def test_old_news_counts_less() -> None:
    fresh, stale = Speed(2.0, 0.2, 50), Speed(2.0, 0.2, 0.05)
    assert expected_seconds(stale, 0.5) < expected_seconds(fresh, 0.5)


def test_the_order_of_a_conversation_holds_every_account_once() -> None:
    every = pairs(1, 1, 1, 0, 0)
    rng = Random(3)
    for _ in range(100):
        order = list(rendezvous(every, rng.getrandbits(64)))
        assert sorted(pair.key for pair in order) == sorted(pair.key for pair in every)
        assert all(pair.weight == 0 for pair in order[3:])


def test_second_choices_spread_too() -> None:
    every = pairs(1, 1, 1, 1)
    rng = Random(4)
    counts = Counter(
        tuple(pair.key[0] for pair in list(rendezvous(every, rng.getrandbits(64)))[:2]) for _ in range(6000)
    )
    assert len(counts) == 12
    assert all(400 < count < 600 for count in counts.values())
