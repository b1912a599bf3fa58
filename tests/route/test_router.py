from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.catalog.model import Snapshot, Strategy
from apipod_proxy.errors import (
    Kind,
    MissingCapability,
    NoCandidate,
    Unreachable,
    UpstreamStatus,
)
from apipod_proxy.route import router as router_module
from apipod_proxy.route.capabilities import STREAMING, THINKING, TOOLS, VISION, Needs
from apipod_proxy.route.classify import Action, Scope, Verdict, classify
from apipod_proxy.route.explain import explain
from tests.route.build import (
    Clock,
    account,
    model,
    names,
    pool,
    provider,
    route,
    router,
    snapshot,
    star,
    target,
)

FAILED = Verdict(Action.NEXT, "status 500", counts=True)


def split() -> Snapshot:
    return snapshot(
        [provider("p")],
        [model("sonnet", "p"), model("flash", "p")],
        [route("x", target("sonnet", 20), target("flash", 80))],
    )


def test_weights_are_kept_over_ten_thousand_draws() -> None:
    draws = router(split())
    counts = Counter(next(draws.candidates("pro", "x")).model.name for _ in range(10_000))
    assert abs(counts["sonnet"] / 10_000 - 0.2) < 0.02


def test_weights_are_relative() -> None:
    catalog = snapshot(
        [provider("p")],
        [model("a", "p"), model("b", "p"), model("c", "p")],
        [route("x", target("a", 0.5), target("b", 1.5), target("c", 3))],
    )
    draws = router(catalog)
    counts = Counter(next(draws.candidates("pro", "x")).model.name for _ in range(10_000))
    assert [round(counts[name] / 10_000, 1) for name in "abc"] == [0.1, 0.3, 0.6]


def test_every_candidate_comes_once() -> None:
    catalog = snapshot(
        [pool("p", 3), provider("q")],
        [model("a", "p"), model("b", "q")],
        [route("x", target("a"), target("b"))],
    )
    draws = router(catalog)
    for _ in range(50):
        drawn = names(draws.candidates("pro", "x"))
        assert sorted(drawn) == ["a@a0", "a@a1", "a@a2", "b@main"]


def test_another_account_comes_before_another_model() -> None:
    catalog = snapshot(
        [pool("p", 3)], [model("a", "p"), model("b", "p")], [route("x", target("a"), target("b"))]
    )
    for strategy_seed in range(30):
        drawn = [
            candidate.model.name for candidate in router(catalog, seed=strategy_seed).candidates("pro", "x")
        ]
        assert drawn in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3)


def test_weight_zero_is_drawn_only_when_nothing_else_is_left() -> None:
    catalog = snapshot(
        [provider("p", account("p", "spare", weight=0), account("p", "main"))],
        [model("last", "p"), model("first", "p")],
        [route("x", target("last", 0), target("first", 1))],
    )
    for seed in range(20):
        drawn = names(router(catalog, seed=seed).candidates("pro", "x"))
        assert drawn == ["first@main", "first@spare", "last@main", "last@spare"]


@pytest.mark.parametrize("strategy", [Strategy.EVEN, Strategy.LATENCY])
def test_weight_zero_comes_last_where_weights_are_no_odds(strategy: Strategy) -> None:
    catalog = snapshot(
        [provider("p", account("p", "spare", weight=0), account("p", "main"))],
        [model("last", "p"), model("first", "p")],
        [route("x", target("last", 0), target("first", 1), strategy=strategy)],
    )
    for seed in range(20):
        draws = router(catalog, seed=seed)
        every = list(draws.candidates("pro", "x"))
        assert names(every)[0] == "first@main"
        told = explain(draws, draws.index.resolve("pro", "x"))
        assert [entry.chance for entry in told.candidates] == pytest.approx([1, 0, 0, 0])
        draws.health.park(every[0], 60, Scope.PAIR, 1000.0)
        assert len(names(draws.candidates("pro", "x"))) == 3


def test_weights_that_are_all_zero_are_all_alike() -> None:
    catalog = snapshot(
        [provider("p")], [model("a", "p"), model("b", "p")], [route("x", target("a", 0), target("b", 0))]
    )
    draws = router(catalog)
    counts = Counter(next(draws.candidates("pro", "x")).model.name for _ in range(2000))
    assert 900 < counts["a"] < 1100


def test_rounding_at_the_upper_end_does_not_reach_a_weight_of_zero() -> None:
    catalog = snapshot(
        [provider("p")], [model("a", "p"), model("b", "p")], [route("x", target("a", 3), target("b", 0))]
    )
    draws = router(catalog)
    draws._random = lambda: 1.0
    assert next(draws.candidates("pro", "x")).model.name == "a"


def test_accounts_are_drawn_by_weight() -> None:
    catalog = snapshot(
        [provider("p", account("p", "a", weight=1), account("p", "b", weight=3))], [model("m", "p")]
    )
    draws = router(catalog)
    counts = Counter(next(draws.candidates("pro", "m")).account.name for _ in range(10_000))
    assert abs(counts["a"] / 10_000 - 0.25) < 0.02


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.floats(0, 10)), min_size=1, max_size=5),
    st.sampled_from(list(Strategy)),
    st.integers(0, 1000),
    st.one_of(st.none(), st.integers(0, 2**64 - 1)),
)
def test_any_plan_is_drawn_whole_and_without_replacement(
    shape: list[tuple[int, float]], strategy: Strategy, seed: int, affinity: int | None
) -> None:
    catalog = snapshot(
        [pool(f"p{at}", accounts) for at, (accounts, _) in enumerate(shape)],
        [model(f"m{at}", f"p{at}") for at in range(len(shape))],
        [route("x", *(target(f"m{at}", weight) for at, (_, weight) in enumerate(shape)), strategy=strategy)],
    )
    drawn = names(router(catalog, seed=seed).candidates("pro", "x", affinity=affinity))
    assert len(drawn) == len(set(drawn)) == sum(accounts for accounts, _ in shape)


# Even


def test_even_gives_every_pair_of_account_and_model_the_same_share() -> None:
    catalog = snapshot(
        [pool("gemini", 18), pool("openai", 1)],
        [model(f"g{number}", "gemini") for number in range(6)]
        + [model(f"o{number}", "openai") for number in range(6)],
        [
            route(
                "x",
                *(target(f"g{number}") for number in range(6)),
                *(target(f"o{number}") for number in range(6)),
                strategy=Strategy.EVEN,
            )
        ],
    )
    draws = router(catalog, seed=7)
    counts = Counter(names([next(draws.candidates("pro", "x"))])[0] for _ in range(20_000))
    assert len(counts) == 114
    assert max(abs(count / 20_000 - 1 / 114) for count in counts.values()) < 0.003


def test_even_spreads_over_what_is_left_when_a_pair_is_out_of_service() -> None:
    catalog = snapshot(
        [pool("p", 2)],
        [model("a", "p"), model("b", "p")],
        [route("x", target("a"), target("b"), strategy=Strategy.EVEN)],
    )
    draws = router(catalog)
    down = next(c for c in draws.candidates("pro", "x") if names([c]) == ["a@a0"])
    draws.health.park(down, 60, Scope.PAIR, 1000.0)
    counts = Counter(names([next(draws.candidates("pro", "x"))])[0] for _ in range(3000))
    assert set(counts) == {"a@a1", "b@a0", "b@a1"}
    assert all(abs(count / 3000 - 1 / 3) < 0.04 for count in counts.values())


# Priority


def test_priority_takes_the_lowest_number_first() -> None:
    catalog = snapshot(
        [provider("p")],
        [model("a", "p"), model("b", "p"), model("c", "p")],
        [
            route(
                "x",
                target("a", priority=2),
                target("b", priority=0),
                target("c", priority=1),
                strategy=Strategy.PRIORITY,
            )
        ],
    )
    assert [c.model.name for c in router(catalog).candidates("pro", "x")] == ["b", "c", "a"]


def test_priority_then_takes_the_smallest_context_that_fits() -> None:
    catalog = snapshot(
        [provider("p")],
        [model("wide", "p", context=100_000), model("narrow", "p", context=1000), model("unknown", "p")],
        [route("x", target("wide"), target("unknown"), target("narrow"), strategy=Strategy.PRIORITY)],
    )
    draws = router(catalog)
    assert [c.model.name for c in draws.candidates("pro", "x")] == ["narrow", "wide", "unknown"]
    large = draws.candidates("pro", "x", Needs(input_tokens=5000))
    assert [c.model.name for c in large] == ["wide", "unknown"]


def test_priority_then_takes_the_least_recently_used() -> None:
    catalog = snapshot(
        [provider("p")],
        [model("a", "p"), model("b", "p"), model("c", "p")],
        [route("x", target("a"), target("b"), target("c"), strategy=Strategy.PRIORITY)],
    )
    clock = Clock()
    draws = router(catalog, clock=clock)
    drawn = []
    for _ in range(6):
        clock.now += 1
        drawn.append(next(draws.candidates("pro", "x")).model.name)
    assert drawn == ["a", "b", "c", "a", "b", "c"]


def test_the_memory_of_last_uses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "MAX_LAST_USED", 5)
    catalog = snapshot(
        [provider("p"), provider("q")], [], [route("p/*", star("p"), star("q"), strategy=Strategy.PRIORITY)]
    )
    draws = router(catalog)
    for number in range(50):
        next(draws.candidates("pro", f"p/{number}"))
    assert len(draws.last_used) <= 5


# Latency and cost


def test_latency_prefers_the_fast_and_goes_on_trying_the_others() -> None:
    catalog = snapshot(
        [provider("slow"), provider("fast")],
        [model("a", "slow"), model("b", "fast")],
        [route("x", target("a"), target("b"), strategy=Strategy.LATENCY)],
    )
    clock = Clock()
    draws = router(catalog, clock=clock)
    counts: Counter[str] = Counter()
    for _ in range(1000):
        clock.now += 0.01
        candidate = next(draws.candidates("pro", "x"))
        counts[candidate.model.name] += 1
        draws.health.succeeded(candidate, 1.0 if candidate.model.name == "a" else 0.2, clock.now)
    assert counts["b"] > 900
    assert counts["a"] > 5


def test_latency_counts_errors_against_a_fast_provider() -> None:
    catalog = snapshot(
        [provider("flaky"), provider("steady")],
        [model("a", "flaky"), model("b", "steady")],
        [route("x", target("a"), target("b"), strategy=Strategy.LATENCY)],
    )
    clock = Clock()
    draws = router(catalog, clock=clock)
    counts: Counter[str] = Counter()
    for attempt in range(1000):
        clock.now += 0.01
        candidate = next(draws.candidates("pro", "x"))
        counts[candidate.model.name] += 1
        if candidate.model.name == "a" and attempt % 2:
            draws.health.failed(candidate, FAILED, clock.now)
        else:
            draws.health.succeeded(candidate, 0.2 if candidate.model.name == "a" else 0.3, clock.now)
    assert counts["b"] > 700


def test_latency_comes_back_to_a_provider_that_has_become_fast() -> None:
    catalog = snapshot(
        [provider("p"), provider("q")],
        [model("a", "p"), model("b", "q")],
        [route("x", target("a"), target("b"), strategy=Strategy.LATENCY)],
    )
    clock = Clock()
    draws = router(catalog, clock=clock)
    speeds = {"a": 5.0, "b": 1.0}
    counts: Counter[str] = Counter()
    for step in range(3000):
        clock.now += 0.5
        if step == 1000:
            speeds["a"] = 0.1
        candidate = next(draws.candidates("pro", "x"))
        if step >= 2000:
            counts[candidate.model.name] += 1
        draws.health.succeeded(candidate, speeds[candidate.model.name], clock.now)
    assert counts["a"] > 900


def test_cost_takes_the_cheapest_that_can_serve_and_the_unpriced_last() -> None:
    catalog = snapshot(
        [provider("p")],
        [
            model("unpriced", "p"),
            model("dear", "p", price=(2500, 10_000)),
            model("cheap", "p", price=(100, 400), capabilities=[]),
        ],
        [route("x", target("unpriced"), target("dear"), target("cheap"), strategy=Strategy.COST)],
    )
    draws = router(catalog)
    assert [c.model.name for c in draws.candidates("pro", "x")] == ["cheap", "dear", "unpriced"]
    assert [c.model.name for c in draws.candidates("pro", "x", Needs(TOOLS))] == ["dear", "unpriced"]


def test_cost_depends_on_the_size_of_the_request() -> None:
    catalog = snapshot(
        [provider("p")],
        [model("input-heavy", "p", price=(10, 1)), model("output-heavy", "p", price=(1, 10))],
        [route("x", target("input-heavy"), target("output-heavy"), strategy=Strategy.COST)],
    )
    draws = router(catalog)
    long_in = Needs(input_tokens=1000, output_tokens=10)
    long_out = Needs(input_tokens=10, output_tokens=1000)
    assert next(draws.candidates("pro", "x", long_in)).model.name == "output-heavy"
    assert next(draws.candidates("pro", "x", long_out)).model.name == "input-heavy"


# Affinity


def test_a_conversation_stays_with_its_account() -> None:
    catalog = snapshot([pool("p", 5)], [model("m", "p")])
    rng = Random(3)
    for _ in range(20):
        affinity = rng.getrandbits(64)
        orders = {
            tuple(names(router(catalog, seed=seed).candidates("pro", "m", affinity=affinity)))
            for seed in range(5)
        }
        assert len(orders) == 1


def test_conversations_spread_over_the_accounts_by_weight() -> None:
    catalog = snapshot(
        [provider("p", *(account("p", f"a{weight}", weight=weight) for weight in (0, 1, 2, 5)))],
        [model("m", "p")],
    )
    rng = Random(4)
    draws = router(catalog)
    counts = Counter(
        next(draws.candidates("pro", "m", affinity=rng.getrandbits(64))).account.name for _ in range(8000)
    )
    assert set(counts) == {"a1", "a2", "a5"}
    assert [round(counts[f"a{weight}"] / 1000) for weight in (1, 2, 5)] == [1, 2, 5]


def test_conversations_with_close_hashes_spread_too() -> None:
    draws = router(snapshot([pool("p", 4)], [model("m", "p")]))
    counts = Counter(
        next(draws.candidates("pro", "m", affinity=number)).account.name for number in range(4000)
    )
    assert all(800 < counts[f"a{number}"] < 1200 for number in range(4))


def test_only_conversations_of_a_lost_account_move() -> None:
    five = router(snapshot([pool("p", 5)], [model("m", "p")]))
    four = router(snapshot([pool("p", 4)], [model("m", "p")]))
    rng = Random(5)
    for _ in range(300):
        affinity = rng.getrandbits(64)
        before = next(five.candidates("pro", "m", affinity=affinity)).account.name
        after = next(four.candidates("pro", "m", affinity=affinity)).account.name
        assert after == before or before == "a4"


def test_a_conversation_leaves_an_account_that_is_out_of_service() -> None:
    draws = router(snapshot([pool("p", 3)], [model("m", "p")]))
    first, second = islice(draws.candidates("pro", "m", affinity=99), 2)
    draws.health.park(first, 10, Scope.ACCOUNT, 1000.0)
    assert next(draws.candidates("pro", "m", affinity=99)) == second


# Capabilities


def test_candidates_that_cannot_serve_the_request_are_not_drawn() -> None:
    catalog = snapshot(
        [provider("p")],
        [model("blind", "p", capabilities=["tools"]), model("seeing", "p", capabilities=["tools", "vision"])],
        [route("x", target("blind", 100), target("seeing", 1))],
    )
    draws = router(catalog)
    assert [c.model.name for c in draws.candidates("pro", "x", Needs(VISION | TOOLS))] == ["seeing"]
    assert len(list(draws.candidates("pro", "x", Needs(TOOLS | STREAMING)))) == 2


def test_a_request_that_nobody_can_serve_is_refused_at_once_with_what_is_missing() -> None:
    catalog = snapshot([provider("p")], [model("blind", "p", capabilities=["tools"], context=1000)])
    draws = router(catalog)
    with pytest.raises(MissingCapability, match="vision"):
        draws.candidates("pro", "blind", Needs(VISION))
    with pytest.raises(MissingCapability, match="a context of 5000 tokens"):
        draws.candidates("pro", "blind", Needs(input_tokens=5000))


def test_thinking_is_a_preference_and_no_condition() -> None:
    catalog = snapshot(
        [provider("p")],
        [model("plain", "p", capabilities=[]), model("thinker", "p", capabilities=["thinking"])],
        [route("x", target("plain"), target("thinker")), route("y", target("plain"))],
    )
    draws = router(catalog)
    assert [c.model.name for c in draws.candidates("pro", "x", Needs(THINKING))] == ["thinker"]
    assert [c.model.name for c in draws.candidates("pro", "y", Needs(THINKING))] == ["plain"]


# Out of service


def test_parked_and_open_candidates_are_passed_over() -> None:
    draws = router(split())
    flash = next(c for c in draws.candidates("pro", "x") if c.model.name == "flash")
    draws.health.park(flash, 30, Scope.PAIR, 1000.0)
    assert all(next(draws.candidates("pro", "x")).model.name == "sonnet" for _ in range(50))


def test_what_is_parked_while_a_draw_is_under_way_is_passed_over_too() -> None:
    draws = router(snapshot([pool("p", 3)], [model("m", "p")]))
    drawing = draws.candidates("pro", "m", affinity=1)
    order = names(draws.candidates("pro", "m", affinity=1))
    first = next(drawing)
    second = next(c for c in draws.candidates("pro", "m") if names([c]) == [order[1]])
    draws.health.failed(first, FAILED, 1000.0)
    draws.health.park(second, 5, Scope.PAIR, 1000.0)
    assert names(drawing) == [order[2]]


def test_when_breakers_have_closed_everything_the_one_open_longest_is_tried() -> None:
    clock = Clock()
    draws = router(split(), clock=clock)
    by_name = {c.model.name: c for c in draws.candidates("pro", "x")}
    for name in ("flash", "sonnet"):
        clock.now += 1
        for _ in range(5):
            draws.health.failed(by_name[name], FAILED, clock.now)
    assert names(draws.candidates("pro", "x")) == ["flash@main"]
    draws.health.failed(by_name["flash"], FAILED, clock.now + 1)
    assert names(draws.candidates("pro", "x")) == ["sonnet@main"]


def test_a_single_candidate_with_an_open_breaker_is_still_tried() -> None:
    draws = router(snapshot([provider("p")], [model("m", "p")]))
    only = next(draws.candidates("pro", "m"))
    for _ in range(20):
        draws.health.failed(only, classify(Unreachable("connect")), 1000.0)
    assert names(draws.candidates("pro", "m")) == ["m@main"]


def test_open_breakers_are_not_tried_after_a_healthy_candidate_failed() -> None:
    clock = Clock()
    draws = router(split(), clock=clock)
    by_name = {c.model.name: c for c in draws.candidates("pro", "x")}
    for _ in range(5):
        draws.health.failed(by_name["flash"], FAILED, clock.now)
    assert names(draws.candidates("pro", "x")) == ["sonnet@main"]


def test_when_everything_is_parked_the_smallest_wait_is_told() -> None:
    clock = Clock()
    draws = router(split(), clock=clock)
    by_name = {c.model.name: c for c in draws.candidates("pro", "x")}
    draws.health.park(by_name["flash"], 30, Scope.PAIR, clock.now)
    draws.health.park(by_name["sonnet"], 12.2, Scope.PAIR, clock.now)
    drawing = draws.candidates("pro", "x")
    with pytest.raises(NoCandidate) as raised:
        next(drawing)
    assert (raised.value.model, raised.value.retry_after) == ("x", 13)
    assert draws.wait(draws.index.resolve("pro", "x")) == pytest.approx(12.2)
    clock.now += 12.3
    assert names(draws.candidates("pro", "x")) == ["sonnet@main"]


def test_a_wait_is_at_least_one_second_and_at_most_an_hour() -> None:
    clock = Clock()
    draws = router(snapshot([provider("p")], [model("m", "p")]), clock=clock)
    only = next(draws.candidates("pro", "m"))
    draws.health.park(only, 0.001, Scope.PAIR, clock.now)
    with pytest.raises(NoCandidate) as raised:
        next(draws.candidates("pro", "m"))
    assert raised.value.retry_after == 1
    draws.health.park(only, 80_000, Scope.PAIR, clock.now)
    with pytest.raises(NoCandidate) as raised:
        next(draws.candidates("pro", "m"))
    assert raised.value.retry_after == 3600


def test_a_refused_credential_is_tried_by_one_request_at_a_time_when_nothing_else_is_left() -> None:
    clock = Clock()
    draws = router(snapshot([provider("p")], [model("m", "p")]), clock=clock)
    only = next(draws.candidates("pro", "m"))
    refused = classify(UpstreamStatus(401, kind=Kind.AUTHENTICATION))
    draws.health.failed(only, refused, clock.now)
    with pytest.raises(NoCandidate):
        next(draws.candidates("pro", "m"))
    clock.now += 31
    assert next(draws.candidates("pro", "m")) == only
    with pytest.raises(NoCandidate):
        next(draws.candidates("pro", "m"))
    draws.health.succeeded(only, 0.1, clock.now)
    assert next(draws.candidates("pro", "m")) == only
