"""Rows of usage as the database takes them."""

from __future__ import annotations

from apipod_proxy.store.usage import USAGE_COLUMNS, complete


def test_a_row_is_completed_by_column_or_by_order() -> None:
    row = complete({"request_id": "r", "streamed": True, "input_tokens": None})
    assert tuple(row) == USAGE_COLUMNS
    assert (row["request_id"], row["streamed"], row["estimated"], row["input_tokens"], row["cost_nano"]) == (
        "r",
        1,
        0,
        None,
        None,
    )
    assert complete(("r", "theirs", 5)) == complete(
        {"request_id": "r", "client_request_id": "theirs", "started_at": 5}
    )


def test_what_no_database_takes_is_made_fit() -> None:
    row = complete(
        {"path": "/a\x00b", "requested_model": "\udc80", "input_tokens": 2**64, "cost_nano": -(2**64)}
    )
    assert (row["path"], row["requested_model"]) == ("/a\ufffdb", "?")
    assert (row["input_tokens"], row["cost_nano"]) == (2**63 - 1, -(2**63 - 1))
