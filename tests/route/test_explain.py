from __future__ import annotations

import json
from collections import Counter

import pytest

from apipod_proxy.catalog.model import Snapshot, Strategy
from apipod_proxy.route.capabilities import THINKING, VISION, Needs
from apipod_proxy.route.classify import Action, Scope, Verdict
from apipod_proxy.route.explain import HEADER_BYTES, Explanation, explain
from apipod_proxy.route.router import Router
from tests.route.build import Clock, account, model, names, pool, provider, route, router, snapshot, target

FAILED = Verdict(Action.NEXT, "status 500", counts=True)


def catalog(strategy: Strategy) -> Snapshot:
    return snapshot(
        [provider("p", account("p", "a", weight=1), account("p", "b", weight=3)), provider("q")],
        [
            model("small", "p", context=1000, price=(10, 20), capabilities=["tools"]),
            model("large", "q", context=9000, price=(1, 2), capabilities=["tools", "vision", "thinking"]),
            model("gone", "q", active=False),
        ],
        [route("x", target("small", 20, 1), target("large", 80, 2), target("gone"), strategy=strategy)],
    )


def explained(draws: Router, needs: Needs | None = None, affinity: int | None = None) -> Explanation:
    return explain(draws, draws.index.resolve("pro", "x"), needs or Needs(), affinity)


def ranking(explanation: Explanation) -> list[tuple[str, float]]:
    return [(f"{entry.model}@{entry.account}", round(entry.chance, 3)) for entry in explanation.candidates]


def reasons(explanation: Explanation, account_name: str) -> tuple[str, ...]:
    return next(entry.reasons for entry in explanation.candidates if entry.account == account_name)


def test_a_weighted_route_is_ranked_by_chance() -> None:
    explanation = explained(router(catalog(Strategy.WEIGHTED)))
    assert (explanation.requested, explanation.route, explanation.strategy) == ("x", "x", "weighted")
    assert ranking(explanation) == [("large@main", 0.8), ("small@b", 0.15), ("small@a", 0.05)]
    assert explanation.dropped == ("gone is inactive",)
    assert reasons(explanation, "a") == ("weight 20", "account weight 1 of 4")


@pytest.mark.parametrize("strategy", [Strategy.WEIGHTED, Strategy.EVEN, Strategy.LATENCY])
def test_the_chances_are_those_of_the_draw(strategy: Strategy) -> None:
    draws = router(catalog(strategy), seed=9)
    for candidate in draws.candidates("pro", "x"):
        draws.health.succeeded(candidate, 0.1 if candidate.account.name == "b" else 0.5, draws.now())
    told = dict(ranking(explained(draws)))
    drawn = Counter(names([next(draws.candidates("pro", "x"))])[0] for _ in range(6000))
    assert sum(told.values()) == pytest.approx(1, abs=0.01)
    for name, chance in told.items():
        assert drawn[name] / 6000 == pytest.approx(chance, abs=0.03)


def test_a_route_whose_weights_are_all_zero_is_ranked_evenly() -> None:
    flat = snapshot(
        [provider("p")], [model("a", "p"), model("b", "p")], [route("x", target("a", 0), target("b", 0))]
    )
    assert ranking(explained(router(flat))) == [("a@main", 0.5), ("b@main", 0.5)]


def test_a_priority_route_tells_priority_context_and_last_use() -> None:
    clock = Clock()
    draws = router(catalog(Strategy.PRIORITY), clock=clock)
    next(draws.candidates("pro", "x"))
    clock.now += 7
    explanation = explained(draws)
    assert ranking(explanation) == [("small@b", 0.75), ("small@a", 0.25), ("large@main", 0.0)]
    assert reasons(explanation, "b")[:3] == ("priority 1", "context 1000", "used 7 s ago")
    assert reasons(explanation, "main") == ("priority 2", "context 9000", "never used")


def test_a_cost_route_tells_prices() -> None:
    explanation = explained(router(catalog(Strategy.COST)), Needs(input_tokens=100, output_tokens=50))
    assert ranking(explanation)[0] == ("large@main", 1.0)
    assert reasons(explanation, "main") == ("expected cost 200 nano-dollars",)
    unpriced = snapshot([provider("p")], [model("x", "p")], [route("x", target("x"), strategy=Strategy.COST)])
    assert reasons(explained(router(unpriced)), "main") == ("no price known",)


def test_a_latency_route_tells_speed_and_errors() -> None:
    draws = router(catalog(Strategy.LATENCY))
    large = next(c for c in draws.candidates("pro", "x") if c.model.name == "large")
    draws.health.succeeded(large, 0.25, draws.now())
    draws.health.failed(large, FAILED, draws.now())
    told = reasons(explained(draws), "main")
    assert told == ("first content after 0.250 s", "50.0% errors over 2.0 recent results")
    assert reasons(explained(draws), "a")[0] == "speed not known"


def test_what_is_out_of_service_comes_last_and_says_why() -> None:
    draws = router(catalog(Strategy.WEIGHTED))
    large = next(c for c in draws.candidates("pro", "x") if c.model.name == "large")
    draws.health.park(large, 30, Scope.PAIR, draws.now(), "status 429")
    explanation = explained(draws)
    assert ranking(explanation) == [("small@b", 0.75), ("small@a", 0.25), ("large@main", 0.0)]
    assert not explanation.candidates[2].usable
    assert reasons(explanation, "main")[0] == "parked for 30 s (status 429)"


def test_what_cannot_serve_the_request_says_what_it_lacks() -> None:
    explanation = explained(router(catalog(Strategy.WEIGHTED)), Needs(VISION))
    assert ranking(explanation)[0] == ("large@main", 1.0)
    assert reasons(explanation, "a")[0] == "lacks vision"
    explanation = explained(router(catalog(Strategy.EVEN)), Needs(input_tokens=5000))
    assert reasons(explanation, "a")[0] == "its context of 1000 is too small for 5000 tokens"
    explanation = explained(router(catalog(Strategy.WEIGHTED)), Needs(THINKING))
    assert reasons(explanation, "a")[0] == "lacks thinking, which others have"


def test_a_request_that_nobody_can_serve_is_explained_too() -> None:
    explanation = explained(router(catalog(Strategy.LATENCY)), Needs(input_tokens=50_000))
    assert not any(entry.usable for entry in explanation.candidates)
    explanation = explained(router(catalog(Strategy.COST)), Needs(input_tokens=50_000))
    assert ranking(explanation)[0][1] == 0.0


def test_a_conversation_has_one_account_of_each_model() -> None:
    draws = router(catalog(Strategy.WEIGHTED))
    explanation = explained(draws, affinity=7)
    mine = next(c.account.name for c in draws.candidates("pro", "x", affinity=7) if c.model.name == "small")
    assert dict(ranking(explanation))[f"small@{mine}"] == 0.2
    assert "the account of this conversation" in reasons(explanation, mine)


def test_explaining_takes_no_probe() -> None:
    clock = Clock()
    draws = router(catalog(Strategy.WEIGHTED), clock=clock)
    large = next(c for c in draws.candidates("pro", "x") if c.model.name == "large")
    for _ in range(5):
        draws.health.failed(large, FAILED, clock.now)
    clock.now += 30
    for _ in range(3):
        assert "large@main" in dict(ranking(explained(draws)))
    assert "large@main" in names(draws.candidates("pro", "x"))


def test_an_explanation_is_plain_data() -> None:
    told = explained(router(catalog(Strategy.WEIGHTED))).as_dict()
    assert json.loads(json.dumps(told)) == told
    assert told["candidates"] == [
        {
            "model": "large",
            "provider": "q",
            "account": "main",
            "upstream_model": "large",
            "usable": True,
            "chance": 0.8,
            "reasons": ["weight 80"],
        },
        *told["candidates"][1:],  # type: ignore[index]
    ]


def test_the_header_is_short_and_ascii() -> None:
    many = snapshot([pool("p", 60)], [model("ключ", "p")], [route("x", target("ключ"))])
    explanation = explained(router(many))
    header = explanation.as_header()
    assert header.isascii()
    assert len(header) <= HEADER_BYTES
    told = json.loads(header)
    assert len(told["candidates"]) + told["more"] == 60
    whole = explained(router(catalog(Strategy.WEIGHTED)))
    assert json.loads(whole.as_header()) == whole.as_dict()
    endless = explanation._replace(requested="x" * 9000)
    assert json.loads(endless.as_header()) == {"requested": "", "more": 60}
