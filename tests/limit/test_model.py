from __future__ import annotations

import pytest

from apipod_proxy.catalog.model import LIMIT_KINDS, Limit
from apipod_proxy.limit.buckets import DAY, MOST
from apipod_proxy.limit.model import (
    REQUEST_KINDS,
    TOKEN_KINDS,
    Counter,
    Level,
    capacity,
    cell,
    counters,
    distinct,
    tightest,
    window_start,
)


def test_a_limit_of_zero_is_none_and_a_burst_of_zero_is_the_limit() -> None:
    made = counters("key", "k", {"rpm": Limit(60, 0), "tpm": Limit(0, 5), "rpd": Limit(100, 7)})
    assert made == (Counter("key", "k", "rpm", 60, 60), Counter("key", "k", "rpd", 100, 7))


def test_limits_beyond_counting_are_cut() -> None:
    assert counters("key", "k", {"tpm": Limit(10**18, 10**18)}) == (Counter("key", "k", "tpm", MOST, MOST),)


def test_every_kind_of_the_catalog_has_its_state() -> None:
    for kind in LIMIT_KINDS:
        assert cell(kind) is not None
        assert kind in (*REQUEST_KINDS, *TOKEN_KINDS, "concurrency")
    with pytest.raises(ValueError, match="no limit of the kind 'rps'"):
        cell("rps")


def test_the_smaller_of_two_numbers_for_one_counter_holds() -> None:
    small, large = Counter("user", "a", "rpm", 60, 60), Counter("user", "a", "rpm", 120, 120)
    other = Counter("user", "a", "rpd", 60, 60)
    assert distinct([large, small, other, large]) == (small, other)


def test_only_buckets_have_a_burst() -> None:
    assert capacity(Counter("user", "a", "rpm", 60, 5)) == 5
    assert capacity(Counter("user", "a", "rpd", 60, 5)) == 60
    assert capacity(Counter("user", "a", "concurrency", 60, 5)) == 60


def test_windows_start_at_midnight_utc_and_on_the_first() -> None:
    now = 1_700_000_000_000
    assert window_start("rpd", now) == now - now % DAY
    assert window_start("tokens_per_month", now) == 1_698_796_800_000


def test_the_tightest_level_is_the_one_to_tell() -> None:
    minute, day = Counter("key", "k", "rpm", 60, 60), Counter("key", "k", "rpd", 100, 100)
    levels = [Level(day, 90, 1), Level(minute, 59, 2), Level(Counter("key", "k", "tpm", 9, 9), 1, 1)]
    found = tightest(levels, REQUEST_KINDS)
    assert found is not None
    assert found.counter is minute
    assert tightest(levels, ("concurrency",)) is None
