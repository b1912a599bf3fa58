"""Rows of usage as the database takes them."""

from __future__ import annotations

import pytest

from apipod_proxy.store.usage import HOUR_MS, USAGE_COLUMNS, booked, whole_hours


def test_rows_are_told_when_they_are_booked_and_how_many_were_asked() -> None:
    texts = ("[]", '[{"usage":{"input":1}}]', '[{"usage":{"input":1}},{"model":"n"},{}]')
    rows = [("r", *[None] * 22, text, None) for text in texts]
    assert [(row[:25], row[25:]) for row in booked(rows, 9)] == [
        (rows[0], (9, 1)),
        (rows[1], (9, 1)),
        (rows[2], (9, 3)),
    ]
    assert USAGE_COLUMNS[23] == "attempts"
    assert len(USAGE_COLUMNS) == 25


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
