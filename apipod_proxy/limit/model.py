"""What is counted, and what an admission says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from apipod_proxy.limit.buckets import DAY, HOUR, MINUTE, MOST, Bucket, Cell, Gauge, Window, day, month

SCOPES = ("proxy", "subscription", "user", "key", "provider", "account", "model")
REQUEST_KINDS = ("rpm", "rph", "rpd", "requests_per_month")
TOKEN_KINDS = ("tpm", "tpd", "tokens_per_month")
CONCURRENCY = "concurrency"
WINDOW_KINDS = ("rpd", "tpd", "requests_per_month", "tokens_per_month")
"""Kinds that start at 00:00 UTC and are never exceeded."""

PERIODS: Mapping[str, int] = {"rpm": MINUTE, "rph": HOUR, "tpm": MINUTE}
"""Milliseconds in which a bucket of this kind refills its limit."""


class LimitValue(Protocol):
    @property
    def limit(self) -> int: ...
    @property
    def burst(self) -> int: ...


class Counter(NamedTuple):
    """One number to keep. ``owner`` is unique within ``scope``; (scope, owner, kind) is its identity over catalogs."""

    scope: str
    owner: str
    kind: str
    limit: int
    burst: int


class Refusal(NamedTuple):
    """The counter that refuses longest, and the whole seconds after which all would take, if nobody else asks meanwhile."""

    counter: Counter
    retry_after: int


class Level(NamedTuple):
    """How much of a counter is left, and the whole seconds until all of it is."""

    counter: Counter
    remaining: int
    reset_seconds: int


class Row(NamedTuple):
    """A counter's state to keep over a restart. Of a window: what was used, and any moment in it, as epoch milliseconds."""

    scope: str
    owner: str
    kind: str
    value: int
    at: int


class Lease(Protocol):
    def settle(self, tokens: int | None, *, sent: bool) -> None:
        """End it; only the first call counts. Not ``sent``: all goes back. ``sent``: requests stay spent, and tokens become
        ``tokens`` (None: what was reserved stays). What was under way no longer is."""


class Admission(NamedTuple):
    """``refused`` is "", "caller" or "candidate". A refused candidate leaves the caller's half taken."""

    caller: Lease | None
    candidate: Lease | None
    refusal: Refusal | None
    refused: str


class Waited(NamedTuple):
    """``chosen`` is the index of the candidate that let it in, -1 if the time was up or would not have been enough."""

    chosen: int
    admission: Admission


def counters(scope: str, owner: str, limits: Mapping[str, LimitValue]) -> tuple[Counter, ...]:
    """The counters of one owner. A limit of 0 is none, a burst of 0 the limit itself."""
    found = []
    for kind, value in limits.items():
        if value.limit > 0:
            limit = min(value.limit, MOST)
            burst = min(value.burst, MOST) if value.burst > 0 else limit
            found.append(Counter(scope, owner, kind, limit, burst))
    return tuple(found)


def distinct(given: Iterable[Counter]) -> tuple[Counter, ...]:
    """Each counter once; where the same one stands there with two numbers, the smaller holds."""
    kept: dict[tuple[str, str, str], Counter] = {}
    for counter in given:
        identity = counter[:3]
        other = kept.get(identity)
        if other is None or (counter.limit, counter.burst) < (other.limit, other.burst):
            kept[identity] = counter
    return tuple(kept.values())


def capacity(counter: Counter) -> int:
    """The most that can be taken at once."""
    return counter.burst if counter.kind in PERIODS else counter.limit


def cell(kind: str) -> Cell:
    """A fresh, unused state for a counter of ``kind``."""
    if kind in PERIODS:
        return Bucket(PERIODS[kind])
    if kind in WINDOW_KINDS:
        return Window(month if kind.endswith("_per_month") else day)
    if kind == CONCURRENCY:
        return Gauge()
    raise ValueError(f"there is no limit of the kind {kind!r}")


def window_start(kind: str, now: int) -> int:
    """Epoch milliseconds at which the window of a kind of WINDOW_KINDS began that holds ``now``."""
    return (month if kind.endswith("_per_month") else day)(now)[0]


def tightest(levels: Iterable[Level], kinds: tuple[str, ...]) -> Level | None:
    """The level of one of ``kinds`` that has least left, for headers that have room for one number."""
    found: Level | None = None
    for level in levels:
        if level.counter.kind in kinds and (found is None or level.remaining < found.remaining):
            found = level
    return found


__all__ = (
    "CONCURRENCY",
    "DAY",
    "PERIODS",
    "REQUEST_KINDS",
    "SCOPES",
    "TOKEN_KINDS",
    "WINDOW_KINDS",
    "Admission",
    "Counter",
    "Lease",
    "Level",
    "LimitValue",
    "Refusal",
    "Row",
    "Waited",
    "capacity",
    "cell",
    "counters",
    "distinct",
    "tightest",
    "window_start",
)
