from __future__ import annotations

import pytest

from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.fallback import Fallback
from apipod_proxy.limit.memory import take
from apipod_proxy.limit.model import Counter
from apipod_proxy.limit.script import Known, RedisHalf, entry

from .conftest import Clock

NOW = 1_700_000_000_000


class Shared:
    """A counter as two processes' worth of Redis left it."""

    def __init__(
        self, kind: str, limit: int, burst: int = 0, *, left: int | None = None, heard: int = NOW
    ) -> None:
        self.clock = Clock()
        self.fallback = Fallback(self.clock)
        self.known = Known(burst or limit)
        if left is not None:
            self.known.left, self.known.at = left, heard
        self.half = self.compiled(kind, limit, burst)

    def compiled(self, kind: str, limit: int, burst: int = 0) -> RedisHalf:
        counter = Counter("model", "m", kind, limit, burst or limit)
        gauges = self.fallback.memory.half([counter] if kind == "concurrency" else [])
        return RedisHalf([entry("p", counter, self.known)], gauges)

    def take(self, times: int = 1, tokens: int = 0) -> int:
        shadow: Half = self.fallback.shadow(self.half)
        return sum(take(shadow, self.fallback.memory.now(), tokens) is None for _ in range(times))

    def owed(self) -> list[tuple[int, int]]:
        return [(owed.taken, owed.before) for owed in self.fallback.owed()]


@pytest.mark.parametrize("kind", ["rpm", "rph", "rpd", "requests_per_month", "concurrency"])
@pytest.mark.parametrize(("limit", "processes", "share"), [(100, 1, 100), (100, 3, 33), (2, 5, 1)])
def test_a_process_keeps_to_its_share_and_never_below_one(
    kind: str, limit: int, processes: int, share: int
) -> None:
    shared = Shared(kind, limit)
    shared.fallback.begin(processes)
    assert shared.take(200) == share


def test_a_window_shares_what_was_left_of_it() -> None:
    shared = Shared("rpd", 500, left=20)
    shared.fallback.begin(2)
    assert shared.take(100) == 10
    assert shared.owed() == [(10, 480)]


def test_what_was_left_yesterday_says_nothing_of_today() -> None:
    shared = Shared("rpd", 500, left=20, heard=NOW - 86_400_000)
    shared.fallback.begin(2)
    assert shared.take(1000) == 250
    assert shared.owed() == [(250, 0)]


def test_a_bucket_starts_from_its_share_of_the_last_level() -> None:
    shared = Shared("rpm", 60, 60, left=10, heard=NOW - 2000)
    shared.fallback.begin(3)
    assert shared.take(100) == 4
    shared.clock.now += 3
    assert shared.take(100) == 1


def test_a_debt_is_shared_too() -> None:
    shared = Shared("tpm", 600, left=-600)
    shared.fallback.begin(2)
    assert shared.take(1, 1) == 0
    shared.clock.now += 60.2
    assert shared.take(1, 1) == 1


def test_what_time_has_refilled_is_not_owed() -> None:
    shared = Shared("rpm", 60, 60)
    shared.fallback.begin(1)
    assert shared.take(30) == 30
    assert shared.owed() == [(30, 0)]
    shared.clock.now += 20
    assert shared.owed() == [(10, 0)]
    shared.clock.now += 20
    assert shared.owed() == []


def test_what_was_missing_before_is_not_owed_twice() -> None:
    shared = Shared("rpm", 60, 60, left=20)
    shared.fallback.begin(1)
    assert shared.take(5) == 5
    assert shared.owed() == [(5, 0)]
    shared.clock.now += 10
    assert shared.owed() == [(5, 0)], "Redis has refilled as much in that time"


def test_what_runs_already_counts_against_the_share_of_a_gauge() -> None:
    shared = Shared("concurrency", 10)
    shared.half.gauges[0].used += 3
    shared.fallback.begin(2)
    assert shared.take(9) == 2
    assert shared.owed() == []
    shared.fallback.begin(2)
    assert shared.take(9) == 0


def test_a_later_loss_starts_afresh() -> None:
    shared = Shared("rpd", 10)
    shared.fallback.begin(1)
    assert shared.take(20) == 10
    shared.fallback.begin(1)
    assert shared.owed() == []
    assert shared.take(20) == 10


@pytest.mark.parametrize(("kind", "left", "first", "then"), [("rpd", 20, 10, 10), ("rpm", 20, 10, 0)])
def test_new_numbers_keep_what_was_taken_under_the_old(kind: str, left: int, first: int, then: int) -> None:
    shared = Shared(kind, 30, left=left)
    shared.fallback.begin(2)
    assert shared.take(50) == first
    shared.half = shared.compiled(kind, 50)
    assert shared.take(50) == then
    assert shared.owed()[0][0] == first + then


def test_levels_carry_the_whole_number() -> None:
    shared = Shared("rpm", 60)
    shared.fallback.begin(2)
    shared.take(1)
    level = shared.fallback.levels(shared.half)[0]
    assert (level.counter.limit, level.remaining, level.reset_seconds) == (60, 29, 2)
