"""What is left of the caller's limits, in the headers of its dialect."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

from apipod_proxy.edge.answer import header_lines
from apipod_proxy.errors import LimitExceeded

REQUESTS = ("rpm", "rph", "rpd", "requests_per_month")
TOKENS = ("tpm", "tpd", "tokens_per_month")


KEEP_SECONDS = 0.1
PLENTY = 1000
"""A number above this need not be exact to the unit; a smaller one is worked out for each answer."""

H = TypeVar("H", bound=Hashable)


class CounterLike(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def limit(self) -> int: ...


class LevelLike(Protocol):
    @property
    def counter(self) -> CounterLike: ...
    @property
    def remaining(self) -> int: ...
    @property
    def reset_seconds(self) -> int: ...


def limit_headers(dialect: str, levels: Iterable[LevelLike], now: float) -> list[tuple[str, str]]:
    """Names and values; the tightest counter of requests and the one of tokens stand for all. ``now``: epoch seconds."""
    requests: LevelLike | None = None
    tokens: LevelLike | None = None
    for level in levels:
        kind = level.counter.kind
        if kind in REQUESTS:
            if requests is None or level.remaining < requests.remaining:
                requests = level
        elif kind in TOKENS and (tokens is None or level.remaining < tokens.remaining):
            tokens = level
    found: list[tuple[str, str]] = []
    for name, tightest in (("requests", requests), ("tokens", tokens)):
        if tightest is not None:
            found += _anthropic(name, tightest, now) if dialect == "anthropic" else _openai(name, tightest)
    return found


class _Counter(NamedTuple):
    kind: str
    limit: int


class _Reached(NamedTuple):
    counter: _Counter
    remaining: int
    reset_seconds: int


def refusal_headers(dialect: str, error: LimitExceeded, now: float) -> list[tuple[str, str]]:
    """Names and values of the limit that refuses; none where it is not of the kinds that headers tell of."""
    if error.limit_value is None:
        return []
    reached = _Reached(_Counter(error.limit, error.limit_value), 0, error.retry_after or 0)
    return limit_headers(dialect, (reached,), now)


def _openai(name: str, level: LevelLike) -> list[tuple[str, str]]:
    return [
        (f"x-ratelimit-limit-{name}", str(level.counter.limit)),
        (f"x-ratelimit-remaining-{name}", str(max(0, level.remaining))),
        (f"x-ratelimit-reset-{name}", f"{level.reset_seconds}s"),
    ]


def _anthropic(name: str, level: LevelLike, now: float) -> list[tuple[str, str]]:
    reset = datetime.fromtimestamp(int(now) + level.reset_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        (f"anthropic-ratelimit-{name}-limit", str(level.counter.limit)),
        (f"anthropic-ratelimit-{name}-remaining", str(max(0, level.remaining))),
        (f"anthropic-ratelimit-{name}-reset", reset),
    ]


class LimitLines:
    """The same as complete header lines, kept for a moment while there is plenty: on a busy key that saves most of their cost."""

    __slots__ = ("_clock", "_kept")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, Hashable], tuple[float, bytes]] = {}

    def lines(self, dialect: str, half: H, levels: Callable[[H], Sequence[LevelLike]]) -> bytes:
        """Lines for one caller; ``levels`` is asked where nothing fresh is kept."""
        now = self._clock()
        kept = self._kept.get((dialect, half))
        if kept is not None and kept[0] > now:
            return kept[1]
        found = levels(half)
        lines = header_lines(limit_headers(dialect, found, now))
        if all(level.remaining > PLENTY or level.counter.kind == "concurrency" for level in found):
            self._kept[dialect, half] = (now + KEEP_SECONDS, lines)
        return lines

    def clear(self) -> None:
        """Forget the halves of an old snapshot."""
        self._kept.clear()
