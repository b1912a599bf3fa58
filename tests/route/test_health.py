from __future__ import annotations

from dataclasses import replace

import pytest

from apipod_proxy.catalog.model import Breaker, Candidate, Snapshot
from apipod_proxy.errors import Kind, UpstreamStatus
from apipod_proxy.route import health as health_module
from apipod_proxy.route.classify import Action, Scope, Verdict, classify
from apipod_proxy.route.health import Health
from apipod_proxy.route.index import Pair, RouteIndex, live_accounts
from tests.route.build import account, model, provider, route, snapshot, star, target

NOW = 1000.0
FAILED = Verdict(Action.NEXT, "status 500", counts=True)
UNCOUNTED = Verdict(Action.NEXT, "status 403")
REJECTED = Verdict(Action.FINAL, "status 400", answered=True)
REFUSED = Verdict(Action.NEXT, "status 401", disables=True)


def catalog(key: str = "k") -> Snapshot:
    return snapshot(
        [provider("p", account("p", "a", key=key), account("p", "b"), breaker=Breaker(3, 20.0))],
        [model("m", "p"), model("n", "p")],
        [route("x", target("m"), target("n"))],
    )


def pairs(key: str = "k") -> dict[str, Pair]:
    """``m@a`` …"""
    plan = RouteIndex(catalog(key)).resolve("pro", "x")
    return {f"{pair.candidate.model.name}@{pair.candidate.account.name}": pair for pair in plan.pairs}


PAIRS = pairs()
PAIR = PAIRS["m@a"]
CANDIDATE = PAIR.candidate


def opened(now: float = NOW) -> Health:
    health = Health()
    for _ in range(3):
        health.failed(CANDIDATE, FAILED, now)
    return health


# Breaker


def test_a_breaker_opens_after_its_providers_number_of_failures_in_a_row() -> None:
    health = Health()
    for _ in range(2):
        health.failed(CANDIDATE, FAILED, NOW)
    assert health.admits(PAIR, NOW)
    health.failed(CANDIDATE, FAILED, NOW)
    assert not health.admits(PAIR, NOW)
    assert health.obstacle(PAIR, NOW) == "breaker open for 20 s (status 500)"


def test_it_is_the_pair_that_is_open_and_not_its_account_or_model() -> None:
    health = opened()
    assert [name for name, pair in PAIRS.items() if not health.admits(pair, NOW)] == ["m@a"]


def test_a_success_ends_the_row() -> None:
    health = Health()
    for _ in range(5):
        health.failed(CANDIDATE, FAILED, NOW)
        health.failed(CANDIDATE, FAILED, NOW)
        health.succeeded(CANDIDATE, 0.1, NOW)
        health.succeeded(CANDIDATE, 0.1, NOW)
    assert health.admits(PAIR, NOW)


def test_failures_that_do_not_count_leave_the_breaker_alone() -> None:
    health = Health()
    for _ in range(100):
        health.failed(CANDIDATE, UNCOUNTED, NOW)
        health.failed(CANDIDATE, REJECTED, NOW)
    assert health.admits(PAIR, NOW)


def rated(good: int, bad: int, *, gap: float = 0.0, failures: int = 100) -> bool:
    """Whether a breaker is open after so many results, spread evenly, with a success after each failure as long as there are any."""
    patient = RouteIndex(snapshot([provider("p", breaker=Breaker(failures, 30.0))], [model("m", "p")]))
    pair = patient.resolve("pro", "m").pairs[0]
    health = Health()
    now = NOW
    for at in range(max(good, bad)):
        if at < good:
            health.succeeded(pair.candidate, 0.1, now)
            now += gap
        if at < bad:
            health.failed(pair.candidate, FAILED, now)
            now += gap
    return not health.usable(pair, now)


def test_a_breaker_opens_at_sixty_percent_of_ten_results_in_any_order() -> None:
    assert rated(4, 6)
    assert not rated(5, 5)
    assert not rated(3, 6)
    assert not rated(41, 59)
    assert rated(40, 60)


def test_only_the_last_thirty_seconds_count() -> None:
    assert rated(4, 6, gap=2.9)
    assert not rated(4, 6, gap=3.4)


def test_successes_before_the_first_failure_count_too() -> None:
    index = RouteIndex(snapshot([provider("p", breaker=Breaker(100, 30.0))], [model("m", "p")]))
    pair = index.resolve("pro", "m").pairs[0]
    health = Health()
    for _ in range(50):
        health.succeeded(pair.candidate, 0.1, NOW)
    for _ in range(20):
        health.failed(pair.candidate, FAILED, NOW)
    assert health.usable(pair, NOW)


def test_an_open_breaker_lets_one_probe_through_when_its_time_is_over() -> None:
    health = opened()
    assert not health.admits(PAIR, NOW + 19.9)
    assert health.usable(PAIR, NOW + 20)
    assert health.admits(PAIR, NOW + 20)
    assert not health.admits(PAIR, NOW + 20)
    assert health.obstacle(PAIR, NOW + 20) == "breaker half-open, being probed"


def test_a_probe_that_succeeds_closes_the_breaker() -> None:
    health = opened()
    assert health.admits(PAIR, NOW + 20)
    health.succeeded(CANDIDATE, 0.1, NOW + 21)
    assert health.obstacle(PAIR, NOW + 21) is None
    assert all(health.admits(PAIR, NOW + 21) for _ in range(5))
    health.failed(CANDIDATE, FAILED, NOW + 21)
    assert health.admits(PAIR, NOW + 21)


def test_a_probe_that_fails_opens_it_again_for_its_whole_time() -> None:
    health = opened()
    assert health.admits(PAIR, NOW + 20)
    health.failed(CANDIDATE, FAILED, NOW + 25)
    assert not health.admits(PAIR, NOW + 44.9)
    assert health.admits(PAIR, NOW + 45)


def test_a_request_that_the_provider_rejects_in_good_order_proves_that_it_is_alive() -> None:
    health = opened()
    assert health.admits(PAIR, NOW + 20)
    health.failed(CANDIDATE, REJECTED, NOW + 20)
    assert health.obstacle(PAIR, NOW + 20) is None


def test_a_probe_that_was_not_sent_frees_its_place() -> None:
    health = opened()
    assert health.admits(PAIR, NOW + 20)
    health.skipped(CANDIDATE)
    assert health.admits(PAIR, NOW + 20)


def test_a_probe_that_nobody_reports_on_frees_its_place_in_time() -> None:
    health = opened()
    assert health.admits(PAIR, NOW + 20)
    assert not health.admits(PAIR, NOW + 49)
    assert health.admits(PAIR, NOW + 50)


def test_skipping_what_has_no_history_is_harmless() -> None:
    Health().skipped(CANDIDATE)


def test_the_one_open_longest_is_told_among_those_that_only_a_breaker_stops() -> None:
    health = Health()
    for at, name in enumerate(["m@b", "m@a", "n@a"]):
        for _ in range(3):
            health.failed(PAIRS[name].candidate, FAILED, NOW + at)
    health.park(PAIRS["m@b"].candidate, 60, Scope.PAIR, NOW)
    assert health.open_longest(PAIRS.values(), NOW + 5) is PAIRS["m@a"]
    assert health.open_longest([PAIRS["n@b"], PAIRS["m@b"]], NOW + 5) is None


# Parking


def test_parking_leaves_the_pair_alone_until_its_time() -> None:
    health = Health()
    health.park(CANDIDATE, 10, Scope.PAIR, NOW, "status 429")
    assert health.obstacle(PAIR, NOW) == "parked for 10 s (status 429)"
    assert [name for name, pair in PAIRS.items() if not health.admits(pair, NOW + 9.9)] == ["m@a"]
    assert health.wait_of(PAIR, NOW + 4) == 6
    assert health.admits(PAIR, NOW + 10)
    assert health.wait_of(PAIR, NOW + 10) == 0


def test_parking_an_account_leaves_all_its_models_alone() -> None:
    health = Health()
    health.park(CANDIDATE, 10, Scope.ACCOUNT, NOW, "status 429")
    assert [name for name, pair in PAIRS.items() if not health.admits(pair, NOW)] == ["m@a", "n@a"]
    assert health.obstacle(PAIRS["n@a"], NOW) == "account parked for 10 s"
    assert health.wait_of(PAIRS["n@a"], NOW + 1) == 9
    assert health.admits(PAIRS["n@a"], NOW + 10)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_shorter_time_never_ends_a_longer_one(scope: Scope) -> None:
    health = Health()
    health.park(CANDIDATE, 60, scope, NOW)
    health.park(CANDIDATE, 5, scope, NOW)
    assert health.wait_of(PAIR, NOW) == 60


def test_accounts_whose_time_is_over_are_forgotten() -> None:
    health = Health()
    health.park(CANDIDATE, 1, Scope.ACCOUNT, NOW)
    health.park(PAIRS["m@b"].candidate, 1, Scope.ACCOUNT, NOW + 5)
    assert list(health._parked) == ["p:b"]


def test_a_verdict_parks_for_the_time_that_the_provider_asked_for() -> None:
    health = Health()
    health.failed(CANDIDATE, classify(UpstreamStatus(429, kind=Kind.RATE_LIMIT, retry_after=7.0)), NOW)
    assert health.wait_of(PAIR, NOW) == 7
    assert health.admits(PAIRS["n@a"], NOW)


def test_a_success_does_not_end_parking() -> None:
    health = Health()
    health.park(CANDIDATE, 10, Scope.PAIR, NOW)
    health.succeeded(CANDIDATE, 0.1, NOW)
    assert not health.admits(PAIR, NOW)


def test_a_parked_pair_with_an_open_breaker_waits_for_both() -> None:
    health = opened()
    health.park(CANDIDATE, 5, Scope.PAIR, NOW)
    assert health.wait_of(PAIR, NOW) == 20
    assert health.wait_of(PAIR, NOW, breakers=False) == 5
    assert health.admits(PAIR, NOW + 20)
    health.succeeded(CANDIDATE, 0.1, NOW + 20)
    assert health.wait_of(PAIR, NOW + 20) == 0


# Disabled accounts


def test_a_refused_credential_disables_the_account_for_all_models() -> None:
    health = Health()
    health.failed(CANDIDATE, REFUSED, NOW)
    assert [name for name, pair in PAIRS.items() if not health.admits(pair, NOW)] == ["m@a", "n@a"]
    assert health.obstacle(PAIRS["n@a"], NOW) == "account disabled (status 401)"
    assert not health.admits(PAIR, NOW + 86_400)


def test_a_new_key_enables_the_account() -> None:
    health = Health()
    health.failed(CANDIDATE, REFUSED, NOW)
    assert not health.admits(pairs("k")["m@a"], NOW)
    assert health.admits(pairs("new")["m@a"], NOW)
    assert health.admits(PAIR, NOW)


def test_a_success_enables_the_account() -> None:
    health = Health()
    health.failed(CANDIDATE, REFUSED, NOW)
    health.succeeded(PAIRS["n@a"].candidate, 0.1, NOW)
    assert health.admits(PAIR, NOW)


def test_an_admin_enables_the_account() -> None:
    health = Health()
    health.failed(CANDIDATE, REFUSED, NOW)
    health.follow([provider("p", CANDIDATE.account)])
    assert not health.admits(PAIR, NOW)
    health.follow([provider("p", replace(CANDIDATE.account, enabled=7))])
    assert health.degraded(NOW) == []
    assert health.admits(PAIR, NOW)


def test_a_refusal_from_before_an_admin_enabled_the_account_counts_no_more() -> None:
    health = Health()
    enabled = replace(CANDIDATE.account, enabled=7)
    health.follow([provider("p", enabled)])
    health.failed(CANDIDATE, REFUSED, NOW)
    assert health.admits(PAIR._replace(candidate=replace(CANDIDATE, account=enabled)), NOW)


def test_a_new_catalog_ends_what_was_held_against_an_old_key() -> None:
    health = Health()
    health.failed(CANDIDATE, REFUSED, NOW)
    health.follow([provider("p", replace(CANDIDATE.account, api_key="new"))])
    assert health.degraded(NOW) == []


def test_a_provider_without_accounts_stays_refused_until_it_has_one() -> None:
    health = Health()
    alone = replace(provider("q"), accounts=())
    (made_up,) = live_accounts(alone)
    health.failed(replace(CANDIDATE, account=made_up), REFUSED, NOW)
    health.follow([alone])
    assert health.degraded(NOW) == ["q/default is disabled: status 401"]
    health.follow([provider("q", CANDIDATE.account)])
    assert health.degraded(NOW) == []


def test_a_refused_credential_is_due_for_a_trial_once_in_a_while() -> None:
    health = Health()
    assert health.credential_probe([PAIR], NOW) is None
    health.failed(CANDIDATE, REFUSED, NOW)
    assert health.wait_of(PAIR, NOW) == 30
    assert health.credential_probe([PAIR], NOW + 29) is None
    assert health.credential_probe([PAIR], NOW + 30) is PAIR
    assert health.credential_probe([PAIR], NOW + 30) is None
    assert health.wait_of(PAIR, NOW + 59.5) == 1


# Speed


def test_speed_is_a_mean_that_the_latest_results_weigh_most_in() -> None:
    health = Health()
    assert health.speed(PAIR, NOW) == (None, 0.0, 0.0)
    health.succeeded(CANDIDATE, 1.0, NOW)
    health.succeeded(CANDIDATE, 3.0, NOW)
    assert health.speed(PAIR, NOW).ttft == 2.0
    health.succeeded(CANDIDATE, 5.0, NOW + 60)
    assert health.speed(PAIR, NOW + 60).ttft == pytest.approx((0.5 * 4 + 5) / 2)
    assert health.speed(PAIR, NOW + 120).weight == pytest.approx(1.0)


def test_failures_are_told_as_a_share() -> None:
    health = Health()
    health.failed(CANDIDATE, FAILED, NOW)
    health.succeeded(CANDIDATE, None, NOW)
    speed = health.speed(PAIR, NOW)
    assert (speed.ttft, speed.errors, speed.weight) == (None, 0.5, 2.0)


# What is told


def test_changes_of_state_are_told_once() -> None:
    told: list[str] = []

    def listen(what: str, candidate: Candidate, detail: str) -> None:
        told.append(f"{what} {candidate.account.name} {detail}".rstrip())

    health = Health(listen)
    for _ in range(6):
        health.failed(CANDIDATE, FAILED, NOW)
    health.succeeded(CANDIDATE, 0.1, NOW)
    health.failed(CANDIDATE, REFUSED, NOW)
    health.failed(CANDIDATE, REFUSED, NOW)
    health.follow([provider("p", replace(CANDIDATE.account, enabled=7))])
    health.park(CANDIDATE, 3, Scope.ACCOUNT, NOW, "status 429")
    assert told == [
        "opened a status 500",
        "closed a",
        "disabled a status 401",
        "enabled a",
        "parked a account for 3 s (status 429)",
    ]


def test_the_status_tells_every_state_and_no_credential() -> None:
    health = Health()
    health.succeeded(PAIRS["n@b"].candidate, 0.25, NOW)
    for _ in range(3):
        health.failed(PAIRS["m@b"].candidate, FAILED, NOW)
    health.park(PAIRS["n@a"].candidate, 9, Scope.PAIR, NOW, "status 503")
    health.park(PAIRS["n@b"].candidate, 4, Scope.ACCOUNT, NOW, "status 429")
    health.failed(CANDIDATE, REFUSED, NOW)
    rows = health.status(NOW)
    assert rows[0] == {
        "provider": "p",
        "account": "a",
        "state": "disabled",
        "reason": "status 401",
        "seconds": 0.0,
    }
    assert rows[1] == {
        "provider": "p",
        "account": "b",
        "state": "parked",
        "reason": "status 429",
        "seconds": 4.0,
    }
    assert rows[2] == {
        "provider": "p",
        "account": "b",
        "model": "n",
        "state": "closed",
        "consecutive_failures": 0,
        "ttft_ms": 250,
        "error_rate": 0.0,
    }
    assert rows[3]["state"] == "open"
    assert rows[4]["state"] == "parked"
    assert "'k'" not in repr(rows)
    assert health.degraded(NOW) == [
        "p/a is disabled: status 401",
        "m at p/b is failing: status 500",
        "n at p/a is parked: status 503",
        "p/b is parked: status 429",
    ]
    assert health.degraded(NOW + 10) == ["p/a is disabled: status 401", "m at p/b is failing: status 500"]
    assert [row["state"] for row in health.status(NOW + 10)] == [
        "disabled",
        "closed",
        "open",
        "closed",
        "closed",
    ]


def test_breakers_are_counted_by_state() -> None:
    health = opened()
    health.succeeded(PAIRS["n@b"].candidate, 0.25, NOW)
    assert health.breakers(NOW) == {"closed": 1, "open": 1, "half_open": 0}
    assert health.breakers(NOW + 20) == {"closed": 1, "open": 0, "half_open": 1}


def test_an_active_prober_is_told_what_is_due() -> None:
    health = opened()
    health.failed(PAIRS["n@b"].candidate, REFUSED, NOW)
    health.failed(PAIRS["m@b"].candidate, REFUSED, NOW)
    assert health.probes_due(NOW) == []
    assert health.probes_due(NOW + 20) == [CANDIDATE]
    assert health.probes_due(NOW + 30) == [CANDIDATE, PAIRS["n@b"].candidate]


def test_an_attempt_that_was_outrun_tells_how_slow_its_candidate_is_at_least() -> None:
    health = opened()
    assert health.admits(PAIR, NOW + 20)
    health.outrun(CANDIDATE, 4.0, NOW + 20)
    assert health.speed(PAIR, NOW + 20).ttft == 4.0
    # It was no failure and no success, and the probe's place is free.
    assert health.breakers(NOW + 20)["half_open"] == 1
    assert health.admits(PAIR, NOW + 20)


def test_an_account_that_was_switched_off_and_on_is_as_new() -> None:
    health = Health()
    health.failed(CANDIDATE, REFUSED, NOW)
    providers = [provider("p", CANDIDATE.account)]
    health.follow(providers)
    assert not health.admits(PAIR, NOW)
    health.follow([])
    assert health.admits(PAIR, NOW)
    health.follow(providers)
    assert health.admits(PAIR, NOW)


def test_what_is_served_no_more_is_forgotten() -> None:
    served, model = [provider("p", CANDIDATE.account)], CANDIDATE.model
    for providers, models, kept in (
        (served, [model], 2),
        (served, None, 2),
        (served, [], 1),
        (served, [replace(model, active=False)], 1),
        ([replace(served[0], active=False)], [model], 0),
        ([], None, 0),
    ):
        health = opened()
        health.park(CANDIDATE, 60, Scope.ACCOUNT, NOW, "status 429")
        assert len(health.degraded(NOW)) == 2
        health.follow(providers, models)
        # Who has no account left is not parked either.
        assert len(health.degraded(NOW)) == kept


def test_a_late_failure_of_what_is_gone_is_not_remembered() -> None:
    health = Health()
    health.follow([provider("q")])
    for _ in range(5):
        health.failed(CANDIDATE, FAILED, NOW)
    health.failed(CANDIDATE, REFUSED, NOW)
    health.outrun(CANDIDATE, 1.0, NOW)
    assert health.status(NOW) == []


# Memory


def test_the_memory_is_bounded_and_keeps_what_is_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "MAX_PAIRS", 100)
    routes = RouteIndex(snapshot([provider("p")], [], [route("p/*", star("p"))]))
    health = opened()
    for number in range(1000):
        candidate = routes.resolve("pro", f"p/{number}").pairs[0].candidate
        health.succeeded(candidate, 0.1, NOW)
    assert len(health._pairs) <= 100
    assert not health.admits(PAIR, NOW)


def test_the_memory_is_bounded_even_when_everything_is_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "MAX_PAIRS", 100)
    routes = RouteIndex(snapshot([provider("p")], [], [route("p/*", star("p"))]))
    health = Health()
    for number in range(1000):
        health.park(routes.resolve("pro", f"p/{number}").pairs[0].candidate, 60, Scope.PAIR, NOW)
    assert len(health._pairs) <= 100
