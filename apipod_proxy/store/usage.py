"""The columns of ``usage_logs`` and what is summed over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

USAGE_COLUMNS = (
    "request_id",
    "client_request_id",
    "started_at",
    "user_id",
    "api_key_id",
    "subscription_id",
    "path",
    "dialect",
    "requested_model",
    "routed_model",
    "provider",
    "account",
    "status",
    "outcome",
    "streamed",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated",
    "ttft_ms",
    "duration_ms",
    "attempts",
    "cost_nano",
)

GROUPINGS = ("proxy", "user", "key", "subscription", "model", "provider", "account")
"""What totals can be asked for by. Users, keys and subscriptions are told by id, the others by name, an account as provider/account."""

HOUR_MS = 3_600_000

FAR = 2**62
"""Later than any time."""

Value = str | int | None

_ATTEMPTS = USAGE_COLUMNS.index("attempts")


class UsageTotal(NamedTuple):
    """``failed`` are the requests whose outcome was not ok. Classes of tokens do not overlap."""

    owner: str
    requests: int
    failed: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano: int


def booked(rows: Iterable[tuple[Value, ...]], booked_at: int) -> list[tuple[Value, ...]]:
    """``rows`` with their last two columns: when they are written, and how many candidates were asked."""
    once = (booked_at, 1)
    return [
        # Attempts are a compact JSON list of objects; only between two of them stands this text.
        row + (once if not (more := str(row[_ATTEMPTS]).count("},{")) else (booked_at, more + 1))
        for row in rows
    ]


def whole_hours(since: int, until: int) -> tuple[int, int]:
    """The start of the first and the end of the last whole hour in [since, until); both ``until`` if there is none."""
    first, last = -(-since // HOUR_MS) * HOUR_MS, until // HOUR_MS * HOUR_MS
    return (first, last) if first < last else (until, until)
