from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.limit.buckets import (
    DAY,
    HOUR,
    MINUTE,
    MOST,
    Bucket,
    Cell,
    Gauge,
    Window,
    believable,
    day,
    month,
    seconds,
)

NOW = 1_700_000_000_000


def bucket(limit: int, burst: int, period: int = MINUTE) -> Bucket:
    made = Bucket(period)
    made.bound(NOW, limit, burst)
    return made


def window(limit: int) -> Window:
    made = Window(day)
    made.bound(NOW, limit, limit)
    return made


def gauge(limit: int) -> Gauge:
    made = Gauge()
    made.bound(NOW, limit, limit)
    return made


def test_a_new_bucket_is_full_and_gives_its_burst_at_once() -> None:
    cell = bucket(60, 3)
    assert [cell.take(NOW, 1) for _ in range(4)] == [True, True, True, False]


def test_a_bucket_refills_at_its_limit_per_period() -> None:
    cell = bucket(60, 1)
    assert cell.take(NOW, 1)
    assert not cell.take(NOW + 999, 1)
    assert cell.take(NOW + 1000, 1)


def test_a_refused_take_leaves_the_bucket_as_it_was() -> None:
    cell = bucket(60, 10)
    assert not cell.take(NOW, 11)
    assert cell.remaining(NOW) == 10


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    cell = bucket(60, 5)
    cell.take(NOW, 5)
    assert cell.remaining(NOW + HOUR) == 5
    cell.give(NOW, 5)
    assert cell.remaining(NOW + HOUR) == 5


def test_what_was_used_beyond_the_reservation_is_a_debt_that_is_repaid_first() -> None:
    cell = bucket(60, 10)
    cell.take(NOW, 10)
    cell.settle(NOW, NOW, -20)
    assert cell.remaining(NOW) == 0
    assert cell.wait(NOW, 1) == 21_000
    assert not cell.take(NOW + 20_999, 1)
    assert cell.take(NOW + 21_000, 1)


def test_a_debt_counts_against_what_the_bucket_holds_when_it_is_known() -> None:
    cell = bucket(60, 10)
    cell.take(NOW, 10)
    cell.settle(NOW + MINUTE, NOW, -4)
    assert cell.remaining(NOW + MINUTE) == 6


def test_a_clock_that_was_set_back_refills_nothing_and_stops_nothing() -> None:
    cell = bucket(60, 1)
    assert cell.take(NOW, 1)
    assert not cell.take(NOW - HOUR, 1)
    assert cell.take(NOW - HOUR + 1000, 1)


def test_new_numbers_keep_what_was_used() -> None:
    cell = bucket(60, 60)
    cell.take(NOW, 50)
    cell.bound(NOW, 600, 600)
    assert cell.remaining(NOW) == 10
    cell.bound(NOW, 6, 6)
    assert cell.remaining(NOW) == 6


def test_new_numbers_do_not_reach_back_in_time() -> None:
    cell = bucket(60, 60)
    cell.take(NOW, 60)
    cell.bound(NOW + 1000, 6000, 6000)
    assert cell.remaining(NOW + 1000) == 1


def test_a_bucket_says_when_it_is_full_again() -> None:
    cell = bucket(60, 60)
    cell.take(NOW, 30)
    assert cell.reset(NOW) == 30_000
    assert not cell.rests(NOW)
    assert cell.rests(NOW + 30_000)


def test_a_bucket_survives_a_restart() -> None:
    cell = bucket(60, 60)
    assert cell.save() is None
    cell.take(NOW, 60)
    saved = cell.save()
    assert saved is not None
    other = Bucket(MINUTE)
    other.load(*saved)
    assert not other.rests(NOW)
    other.bound(NOW + 5000, 60, 60)
    assert other.remaining(NOW + 5000) == 5
    other.load(0, NOW)
    assert other.remaining(NOW + 5000) == 5, "a bucket in use is not set back"


@given(
    limit=st.integers(1, 1000),
    burst=st.integers(1, 1000),
    period=st.sampled_from([MINUTE, HOUR]),
    steps=st.lists(st.tuples(st.integers(0, 30_000), st.integers(1, 50)), max_size=60),
)
def test_in_no_span_is_more_admitted_than_burst_and_refill(
    limit: int, burst: int, period: int, steps: list[tuple[int, int]]
) -> None:
    cell = bucket(limit, burst, period)
    now, admitted = NOW, []
    for gap, amount in steps:
        now += gap
        if cell.take(now, amount):
            admitted.append((now, amount))
    for first in range(len(admitted)):
        total = 0
        for at, amount in admitted[first:]:
            total += amount
            assert total * period <= burst * period + limit * (at - admitted[first][0])


@given(
    limit=st.integers(1, 10**9),
    burst=st.integers(1, 10**9),
    period=st.sampled_from([MINUTE, HOUR]),
    taken=st.integers(0, 10**9),
    amount=st.integers(1, 10**9),
)
def test_the_wait_is_exact_to_the_millisecond(
    limit: int, burst: int, period: int, taken: int, amount: int
) -> None:
    cell = bucket(limit, burst, period)
    cell.take(NOW, min(taken, burst))
    amount = min(amount, burst)
    wait = cell.wait(NOW, amount)
    assert wait == 0 or not cell.take(NOW + wait - 1, amount)
    assert cell.take(NOW + wait, amount)


@given(
    pieces=st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    limit=st.integers(1, 10**9),
)
def test_a_refill_in_pieces_is_worth_a_refill_at_once(pieces: list[int], limit: int) -> None:
    often, once = bucket(limit, 10**9), bucket(limit, 10**9)
    often.take(NOW, 10**9)
    once.take(NOW, 10**9)
    now = NOW
    for gap in pieces:
        now += gap
        often.remaining(now)
    assert often.wait(now, 10**9) == once.wait(now, 10**9)


def test_numbers_stay_exact_where_lua_counts_in_doubles() -> None:
    cell = bucket(2_000_000_000, 2_000_000_000, HOUR)
    assert cell.cap < 2**53


def test_a_window_gives_exactly_its_limit_until_midnight_utc() -> None:
    cell = window(500)
    start, end = day(NOW)
    assert sum(cell.take(start + i * 1000, 1) for i in range(1000)) == 500
    assert not cell.take(end - 1, 1)
    assert cell.wait(end - 5000, 1) == 5000
    assert cell.take(end, 1)
    assert cell.wait(end, 1) == 0
    assert cell.reset(end) == DAY


def test_what_a_window_gets_back_can_be_taken_again() -> None:
    cell = window(1)
    assert cell.take(NOW, 1)
    cell.give(NOW, 1)
    assert cell.take(NOW, 1)


def test_a_lease_counts_in_the_window_of_its_admission() -> None:
    cell = window(10)
    _, end = day(NOW)
    assert cell.take(end - 1, 10)
    assert cell.take(end + 1, 4)
    cell.settle(end + 2, end - 1, 10)
    cell.settle(end + 2, end - 1, -100)
    assert cell.remaining(end + 2) == 6
    cell.settle(end + 3, end + 1, 1)
    assert cell.remaining(end + 3) == 7
    cell.settle(end + 3, end + 1, -20)
    assert cell.remaining(end + 3) == 0


def test_a_clock_set_back_over_midnight_does_not_open_a_day_twice() -> None:
    cell = window(1)
    start, _ = day(NOW)
    assert cell.take(start, 1)
    assert not cell.take(start - 1000, 1)
    assert not cell.take(start + 1000, 1)
    assert cell.take(start - 3 * DAY, 1), "a clock that was days ahead was wrong before"


def test_a_window_takes_new_numbers_and_keeps_its_count() -> None:
    cell = window(10)
    cell.take(NOW, 8)
    cell.bound(NOW, 9, 9)
    assert cell.remaining(NOW) == 1
    assert not cell.rests(NOW)
    assert cell.rests(NOW + DAY)


def test_a_window_survives_a_restart_and_takes_the_greater_count() -> None:
    cell = window(10)
    assert cell.save() is None
    cell.take(NOW, 8)
    saved = cell.save()
    assert saved is not None
    other = window(10)
    other.load(*saved)
    assert other.remaining(NOW) == 2
    other.load(3, NOW)
    assert other.remaining(NOW) == 2
    other.load(9, NOW)
    assert other.remaining(NOW) == 1
    other.load(10, NOW - 2 * DAY)
    assert other.remaining(NOW) == 1
    other.load(10, NOW)
    assert other.remaining(NOW + DAY) == 10


@given(
    limit=st.integers(1, 30),
    steps=st.lists(st.tuples(st.integers(0, 6 * HOUR), st.booleans()), max_size=80),
)
def test_a_window_is_never_exceeded_over_save_and_load(limit: int, steps: list[tuple[int, bool]]) -> None:
    cell, now = window(limit), NOW
    admitted: dict[int, int] = {}
    refused: set[int] = set()
    for gap, restart in steps:
        now += gap
        if restart:
            saved = cell.save()
            cell = window(limit)
            if saved is not None:
                cell.load(*saved)
        today = now // DAY
        if cell.take(now, 1):
            admitted[today] = admitted.get(today, 0) + 1
        else:
            refused.add(today)
    assert all(count <= limit for count in admitted.values())
    assert all(admitted[today] == limit for today in refused)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_a_month_holds_its_moment_and_begins_on_its_first(moment: datetime) -> None:
    now = int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    start, end = month(now)
    assert start <= now < end
    for edge in (start, end):
        at = datetime.fromtimestamp(edge / 1000, UTC)
        assert (at.day, at.hour, at.minute, at.second, at.microsecond) == (1, 0, 0, 0, 0)
    assert month(end)[0] == end
    assert month(end - 1) == (start, end)


def test_a_gauge_counts_what_is_under_way() -> None:
    cell = gauge(2)
    assert cell.rests(NOW)
    assert [cell.take(NOW, 1) for _ in range(3)] == [True, True, False]
    assert cell.wait(NOW, 1) == 1000
    assert cell.reset(NOW) == 1000
    assert cell.remaining(NOW) == 0
    cell.give(NOW, 1)
    assert cell.wait(NOW, 1) == 0
    assert cell.take(NOW, 1)
    cell.settle(NOW, NOW, 0)
    cell.give(NOW, 1)
    assert cell.reset(NOW) == 0
    assert not cell.used


def test_a_gauge_with_a_smaller_number_lets_the_running_ones_end() -> None:
    cell = gauge(3)
    for _ in range(3):
        cell.take(NOW, 1)
    cell.bound(NOW, 1, 1)
    cell.give(NOW, 1)
    cell.give(NOW, 1)
    assert not cell.take(NOW, 1)
    cell.give(NOW, 1)
    assert cell.take(NOW, 1)


def test_a_gauge_starts_empty_after_a_restart() -> None:
    cell = gauge(3)
    cell.take(NOW, 1)
    assert cell.save() is None
    cell.load(3, NOW)
    assert cell.used == 1


@pytest.mark.parametrize(("milliseconds", "whole"), [(0, 0), (1, 1), (1000, 1), (1001, 2), (59_999, 60)])
def test_seconds_are_rounded_up(milliseconds: int, whole: int) -> None:
    assert seconds(milliseconds) == whole


@pytest.mark.parametrize("cell", [bucket(60, 60), window(60), gauge(60)])
@given(amounts=st.lists(st.integers(1, 1), max_size=60))
def test_what_is_given_back_leaves_no_trace(cell: Cell, amounts: list[int]) -> None:
    for amount in amounts:
        assert cell.take(NOW, amount)
    for amount in amounts:
        cell.give(NOW, amount)
    assert cell.rests(NOW)


def test_reports_beyond_what_a_counter_holds_are_cut() -> None:
    assert [believable(tokens) for tokens in (-1, 0, 7, MOST, 2**53)] == [0, 0, 7, MOST, MOST]
    cell = bucket(1, 1)
    cell.settle(NOW, NOW, -believable(2**53))
    assert abs(cell.level) < 2**53
