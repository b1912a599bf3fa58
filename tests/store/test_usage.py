"""Rows of usage as the database takes them."""

from __future__ import annotations

import pytest

from apipod_proxy.store.usage import HOUR_MS, USAGE_COLUMNS, complete, whole_hours


def test_a_row_is_completed_by_column_or_by_order() -> None:
    row = complete({"request_id": "r", "streamed": True, "input_tokens": None}, 9)
    assert tuple(row) == (*USAGE_COLUMNS, "booked_at", "attempt_count")
    assert (row["request_id"], row["streamed"], row["estimated"], row["input_tokens"], row["cost_nano"]) == (
        "r",
        1,
        0,
        None,
        None,
    )
    by_name = {"request_id": "r", "client_request_id": "theirs", "started_at": 5}
    assert complete(("r", "theirs", 5), 9) == complete(by_name, 9)


def test_attempts_are_counted_by_their_text() -> None:
    assert complete({"attempts": "[]"}, 9)["attempt_count"] == 1
    assert complete({"attempts": '[{"usage":{"input":1}},{"model":"n"},{}]'}, 9)["attempt_count"] == 3


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        (0, 2, (0, 2)),
        (0.5, 2.5, (1, 2)),
        (0.2, 0.8, None),
        (0.2, 1.8, None),
        (1, 1, None),
        (1, 2, (1, 2)),
        (0.9, 2, (1, 2)),
    ],
)
def test_whole_hours_lie_within_a_span(since: float, until: float, hours: tuple[int, int] | None) -> None:
    start, end = round(since * HOUR_MS), round(until * HOUR_MS)
    expected = (end, end) if hours is None else (hours[0] * HOUR_MS, hours[1] * HOUR_MS)
    assert whole_hours(start, end) == expected


def test_what_no_database_takes_is_made_fit() -> None:
    row = complete(
        {"path": "/a\x00b", "requested_model": "\udc80", "input_tokens": 2**64, "cost_nano": -(2**64)}, 9
    )
    assert (row["path"], row["requested_model"]) == ("/a\ufffdb", "?")
    assert (row["input_tokens"], row["cost_nano"]) == (2**63 - 1, -(2**63 - 1))
