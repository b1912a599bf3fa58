"""Draws, verdicts and health together, as the gateway uses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.catalog.model import Breaker, Candidate, Strategy
from apipod_proxy.errors import (
    Kind,
    NoCandidate,
    Unreachable,
    UpstreamBroken,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)
from apipod_proxy.route.classify import classify
from apipod_proxy.route.router import Router
from tests.route.build import Clock, model, names, pool, provider, route, router, snapshot, target


def serve(draws: Router, clock: Clock, fails: Callable[[Candidate], UpstreamError | None]) -> list[str]:
    """One request as the gateway serves it: the outcome of each attempt."""
    attempts: list[str] = []
    for candidate in draws.candidates("pro", "x"):
        error = fails(candidate)
        if error is None:
            draws.health.succeeded(candidate, 0.2, clock.now)
            return [*attempts, f"{candidate.model.name} ok"]
        verdict = classify(error, candidate.provider)
        draws.health.failed(candidate, verdict, clock.now)
        attempts.append(f"{candidate.model.name} {verdict.reason}")
    return attempts


FAULTS: list[UpstreamError] = [
    UpstreamStatus(500),
    UpstreamStatus(429, kind=Kind.RATE_LIMIT),
    UpstreamStatus(429, kind=Kind.RATE_LIMIT, retry_after=30),
    UpstreamStatus(529, kind=Kind.OVERLOADED),
    UpstreamStatus(401, kind=Kind.AUTHENTICATION),
    UpstreamTimeout("first_byte", 120),
    Unreachable("connect"),
    UpstreamBroken("half an event"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_with_two_healthy_alternatives_nobody_notices_a_failing_provider(fault: UpstreamError) -> None:
    catalog = snapshot(
        [provider("p"), provider("q"), provider("r")],
        [model("a", "p"), model("b", "q"), model("c", "r")],
        [route("x", target("a", 8), target("b", 1), target("c", 1))],
    )
    clock = Clock()
    draws = router(catalog, clock=clock)
    asked = 0
    for _ in range(3000):
        clock.now += 0.02
        attempts = serve(draws, clock, lambda candidate: fault if candidate.model.name == "a" else None)
        assert attempts[-1] in ("b ok", "c ok")
        asked += len(attempts) - 1
    # Five failures open the breaker, and in a minute two probes find it as it was.
    assert asked <= 7
    clock.now += 31
    back = [serve(draws, clock, lambda candidate: None) for _ in range(200)]
    if not classify(fault).disables:
        assert back.count(["a ok"]) > 100


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_history_of_failures_makes_a_draw_break_its_promises(data: st.DataObject) -> None:
    catalog = snapshot(
        [pool("p", 2), provider("q", breaker=Breaker(2, 10))],
        [model("a", "p"), model("b", "q")],
        [route("x", target("a"), target("b"), strategy=data.draw(st.sampled_from(list(Strategy))))],
    )
    clock = Clock()
    draws = router(catalog, seed=data.draw(st.integers(0, 100)), clock=clock)
    plan = draws.index.resolve("pro", "x")
    for _ in range(data.draw(st.integers(1, 40))):
        clock.now += data.draw(st.sampled_from([0.0, 0.5, 8.0, 40.0]))
        drawn = []
        try:
            for candidate in draws.draw(plan, affinity=data.draw(st.sampled_from([None, 7]))):
                drawn.append(names([candidate])[0])
                parked = draws.health._pairs.get((candidate.account.id, candidate.model.id))
                assert parked is None or parked.parked_until <= clock.now
                fate = data.draw(st.sampled_from([None, "skip", "gone", *FAULTS]))
                if fate is None:
                    draws.health.succeeded(candidate, 0.1, clock.now)
                    break
                if fate == "skip":
                    draws.health.skipped(candidate)
                elif isinstance(fate, UpstreamError):
                    draws.health.failed(candidate, classify(fate), clock.now)
        except NoCandidate as refused:
            assert not drawn
            assert refused.retry_after is not None
            assert 1 <= refused.retry_after <= 3600
            clock.now += refused.retry_after
            # What was told is true: somebody can be asked then.
            assert next(draws.draw(plan)) is not None
        else:
            assert drawn
            assert len(drawn) == len(set(drawn))
