from __future__ import annotations

from random import Random

import pytest

from apipod_proxy.catalog.model import Retries
from apipod_proxy.route.backoff import Share, pause, repeat_after
from apipod_proxy.route.classify import Action, Verdict

RETRIES = Retries(attempts=3, base=0.5, max=8.0)
AGAIN = Verdict(Action.NEXT, "status 500", counts=True, again=True)


class Purse:
    def __init__(self, coins: int) -> None:
        self.coins = coins

    def try_take(self) -> bool:
        self.coins -= 1
        return self.coins >= 0


def once_more(
    verdict: Verdict = AGAIN, attempt: int = 1, *, alone: bool = True, purse: Purse | None = None
) -> float | None:
    return repeat_after(verdict, RETRIES, attempt, alone=alone, budget=purse or Purse(1), random=lambda: 0.5)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 8.0), (5000, 8.0)]
)
def test_the_pause_is_anything_up_to_a_ceiling_that_doubles(attempt: int, ceiling: float) -> None:
    assert pause(RETRIES, attempt, lambda: 0.0) == 0
    assert pause(RETRIES, attempt, lambda: 1.0) == ceiling
    drawn = [pause(RETRIES, attempt, Random(seed).random) for seed in range(200)]
    assert sum(drawn) / 200 == pytest.approx(ceiling / 2, rel=0.15)


def test_a_smaller_jitter_keeps_the_pause_near_its_ceiling() -> None:
    steady = RETRIES._replace(jitter=0.1)
    assert pause(steady, 2, lambda: 0.0) == pytest.approx(0.9)
    assert pause(steady, 2, lambda: 1.0) == 1.0


def test_the_same_candidate_is_asked_again_when_it_is_the_only_one_left() -> None:
    assert once_more() == 0.25
    assert once_more(attempt=2) == 0.5


@pytest.mark.parametrize(
    "verdict",
    [
        AGAIN._replace(action=Action.FINAL),
        AGAIN._replace(again=False),
        AGAIN._replace(park=3.0),
    ],
)
def test_what_is_final_pointless_or_parked_is_not_asked_again(verdict: Verdict) -> None:
    assert once_more(verdict) is None


def test_moving_on_comes_before_asking_again() -> None:
    purse = Purse(1)
    assert once_more(alone=False, purse=purse) is None
    assert purse.coins == 1


def test_the_number_of_attempts_and_the_budget_bound_repeats() -> None:
    assert once_more(attempt=3) is None
    purse = Purse(1)
    assert once_more(purse=purse) is not None
    assert once_more(purse=purse) is None


def test_a_share_allows_one_extra_in_so_many_requests() -> None:
    share = Share(0.05)
    allowed = 0
    for _ in range(1000):
        share.earn()
        allowed += share.try_take()
    assert allowed == 50


def test_a_share_does_not_pile_up_beyond_its_burst() -> None:
    share = Share(0.5, burst=3)
    for _ in range(1000):
        share.earn()
    assert sum(share.try_take() for _ in range(100)) == 3


def test_a_share_that_has_earned_nothing_allows_nothing() -> None:
    assert not Share(0.05).try_take()
