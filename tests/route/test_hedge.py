from __future__ import annotations

from random import Random

import pytest

from apipod_proxy.route import hedge as hedge_module
from apipod_proxy.route.hedge import EDGES, ENOUGH, SHORTEST, Hedges, Latency


def test_the_percentile_is_within_a_tenth_of_the_true_one() -> None:
    rng = Random(1)
    latency = Latency()
    times = [rng.lognormvariate(0, 0.7) for _ in range(500)]
    for seconds in times:
        latency.observe(seconds)
    p95 = latency.p95()
    assert p95 is not None
    assert p95 == pytest.approx(sorted(times)[475], rel=0.15)
    assert latency.p95() == p95


def test_too_few_times_say_nothing() -> None:
    latency = Latency()
    for _ in range(ENOUGH - 1):
        latency.observe(1.0)
    assert latency.p95() is None
    latency.observe(1.0)
    assert latency.p95() == pytest.approx(1.0, rel=0.11)


def test_later_times_weigh_more() -> None:
    latency = Latency()
    for _ in range(2000):
        latency.observe(10.0)
    for _ in range(2000):
        latency.observe(0.5)
    assert latency.p95() == pytest.approx(0.5, rel=0.11)


@pytest.mark.parametrize(("seconds", "told"), [(0.0001, EDGES[0]), (1e9, EDGES[-1])])
def test_times_off_the_scale_are_at_its_ends(seconds: float, told: float) -> None:
    latency = Latency()
    for _ in range(100):
        latency.observe(seconds)
    assert latency.p95() == told


def test_a_request_is_late_after_the_percentile_of_its_route() -> None:
    hedges = Hedges()
    assert hedges.delay("x") is None
    for _ in range(100):
        hedges.observe("x", 2.0)
        hedges.observe("fast", 0.011)
    assert hedges.delay("x") == pytest.approx(2.0, rel=0.11)
    assert hedges.delay("fast") == SHORTEST
    assert hedges.delay("y") is None


def test_at_most_one_request_in_twenty_is_hedged_however_late_they_are() -> None:
    hedges = Hedges()
    allowed = 0
    for _ in range(2000):
        hedges.delay("x")
        allowed += hedges.allowed("x")
    assert allowed == 100


def test_the_memory_of_routes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedge_module, "MAX_ROUTES", 5)
    hedges = Hedges()
    for number in range(50):
        hedges.delay(f"route{number}")
    assert len(hedges._routes) <= 5
