"""The columns of ``usage_logs`` and what is summed over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, cast

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

_MOST = 2**63 - 1

_BOOLEANS = frozenset({"streamed", "estimated"})
_ABSENT: Mapping[str, object] = MappingProxyType(dict.fromkeys(USAGE_COLUMNS) | dict.fromkeys(_BOOLEANS, 0))


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


def complete(row: Mapping[str, object] | Sequence[object], booked_at: int) -> dict[str, object]:
    """Every column of ``row``: null where it is absent, 0 or 1 for booleans. What no database takes is made fit."""
    given = row.items() if isinstance(row, Mapping) else zip(USAGE_COLUMNS, row, strict=False)
    # Every request comes by here, so what is fit already, as nearly all is, costs no call.
    columns: dict[str, object] = {**_ABSENT} | {
        name: value
        if (type(value) is str and value.isascii() and "\x00" not in value)
        or (type(value) is int and -_MOST <= value <= _MOST)
        else _fit(name, value)
        for name, value in given
    }
    columns["booked_at"] = booked_at
    # Attempts are a compact JSON list of objects; only between two of them stands this text.
    columns["attempt_count"] = str(columns["attempts"]).count("},{") + 1
    return columns


def whole_hours(since: int, until: int) -> tuple[int, int]:
    """The start of the first and the end of the last whole hour in [since, until); both ``until`` if there is none."""
    first, last = -(-since // HOUR_MS) * HOUR_MS, until // HOUR_MS * HOUR_MS
    return (first, last) if first < last else (until, until)


def _fit(name: str, value: object) -> object:
    """``value`` as a database takes it. The types are asked for in the order of how many columns have them."""
    kind = type(value)
    if kind is str:
        # PostgreSQL takes no NUL, and neither database a lone surrogate; a client's odd model name must not cost its row.
        text = cast(str, value)
        if text.isascii() and "\x00" not in text:
            return text
        return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    if kind is int and name not in _BOOLEANS:
        number = cast(int, value)
        return number if -_MOST <= number <= _MOST else max(-_MOST, min(number, _MOST))
    if name in _BOOLEANS or kind is bool:
        return int(bool(value))
    return value
