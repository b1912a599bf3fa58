"""Counters of one worker: plain numbers, added to on the way and read only when somebody asks. Mergeable between workers as JSON."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.errors import Kind

Dump = dict[str, Any]
"""All counters of one worker as JSON values."""

DIALECTS = frozenset({"openai_chat", "anthropic", "gemini", "openai_responses"})
STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
TOKEN_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")
KINDS = frozenset(kind.value for kind in Kind)
OUTCOMES = frozenset({"ok", "failed", "refused", "cancelled"})

TTFT_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
DURATION_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)

OTHER = "other"
"""The label of every name that is not in the catalog: what clients make up must not become series."""
NONE = "none"
"""The label where there is no such thing, as the provider of a request that was refused."""

# A catalog of many models over years; past this many series new names count as OTHER.
MAX_SERIES = 20_000


class Gauge(NamedTuple):
    help: str
    merge: str
    """sum or max over the workers."""


GAUGES = {
    "open_requests": Gauge("Requests that are being served.", "sum"),
    "open_streams": Gauge("Streamed answers that are being sent.", "sum"),
    "ledger_rows_waiting": Gauge("Usage rows that are not stored yet.", "sum"),
    "breakers_open": Gauge("Pairs of account and model whose breaker is open.", "sum"),
    "breakers_half_open": Gauge("Pairs of account and model whose breaker is half-open.", "sum"),
    "accounts_disabled": Gauge("Accounts whose credential was refused.", "sum"),
    "event_loop_tasks": Gauge("Tasks of the event loop.", "sum"),
    "event_loop_lag_seconds": Gauge("How late the event loop was at most since the last scrape.", "max"),
}
COUNTERS = {
    "failovers": "Requests that went on to another candidate.",
    "hedges": "Second candidates asked because the first was late.",
    "ledger_rows_stored": "Usage rows stored.",
    "ledger_rows_dropped": "Usage rows lost for want of memory and disk.",
    "ledger_rows_rejected": "Usage rows that the store would not take.",
    "log_lines_dropped": "Log lines lost because nobody read them.",
}


class Series:
    """The counters of one (dialect, model, provider)."""

    __slots__ = ("classes", "duration", "duration_sum", "tokens", "ttft", "ttft_sum")

    def __init__(self) -> None:
        self.classes = [0] * len(STATUS_CLASSES)
        self.tokens = [0] * len(TOKEN_CLASSES)
        self.ttft = [0] * (len(TTFT_BUCKETS) + 1)
        self.ttft_sum = 0.0
        self.duration = [0] * (len(DURATION_BUCKETS) + 1)
        self.duration_sum = 0.0


class Metrics:
    """``known`` is told the catalog's names; ``request`` is the one call for each finished request."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], Series] = {}
        self._models: frozenset[str] = frozenset()
        self._providers: frozenset[str] = frozenset()
        self._errors: dict[str, int] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._gauges: dict[str, float] = {}
        self.open_streams = 0
        self.open_requests = 0

    def known(self, models: Iterable[str], providers: Iterable[str]) -> None:
        """The names of a new snapshot, which may be labels from now on. What was counted before stays."""
        self._models = frozenset(models)
        self._providers = frozenset(providers)

    def request(
        self,
        dialect: str,
        model: str,
        provider: str,
        status: int,
        duration: float,
        ttft: float | None = None,
        usage: Usage | None = None,
    ) -> None:
        """One finished request; ``model`` is the routed one. Names that nobody knows count as OTHER, empty ones as NONE. Seconds."""
        series = self._series.get((dialect, model, provider))
        if series is None:
            series = self._find(dialect, model, provider)
        place = status // 100 - 1
        series.classes[place if 0 <= place < 5 else 4] += 1
        series.duration[bisect_left(DURATION_BUCKETS, duration)] += 1
        series.duration_sum += duration
        if ttft is not None:
            series.ttft[bisect_left(TTFT_BUCKETS, ttft)] += 1
            series.ttft_sum += ttft
        if usage is not None:
            tokens = series.tokens
            taken, read, written, output, reasoning, _ = usage
            # Written out: a loop over the classes costs as much as all the rest.
            if taken:
                tokens[0] += taken
            if read:
                tokens[1] += read
            if written:
                tokens[2] += written
            if output:
                tokens[3] += output
            if reasoning:
                tokens[4] += reasoning

    def error(self, kind: str) -> None:
        """One error that reached a client; ``kind`` is a value of errors.Kind."""
        kind = kind if kind in KINDS else OTHER
        self._errors[kind] = self._errors.get(kind, 0) + 1

    def attempt(self, provider: str, outcome: str) -> None:
        """One candidate that was asked; ``outcome`` is one of OUTCOMES."""
        try:
            self._attempts[provider, outcome] += 1
        except KeyError:
            key = (_label(provider, self._providers), outcome if outcome in OUTCOMES else OTHER)
            self._attempts[key] = self._attempts.get(key, 0) + 1

    def count(self, name: str, number: int = 1) -> None:
        """Adds to one of COUNTERS."""
        self._counters[name] += number

    def set_count(self, name: str, total: int) -> None:
        """Takes over the total of one of COUNTERS that somebody else keeps."""
        self._counters[name] = total

    def gauge(self, name: str, value: float) -> None:
        """Sets one of GAUGES, as somebody asks for the figures."""
        if name not in GAUGES:
            raise KeyError(name)
        self._gauges[name] = value

    def dump(self) -> Dump:
        """Everything, as JSON values, for ``merge`` and for the exposition."""
        gauges = {"open_requests": self.open_requests, "open_streams": self.open_streams, **self._gauges}
        return {
            "series": [
                [
                    *key,
                    {
                        "classes": list(series.classes),
                        "tokens": list(series.tokens),
                        "ttft": list(series.ttft),
                        "ttft_sum": series.ttft_sum,
                        "duration": list(series.duration),
                        "duration_sum": series.duration_sum,
                    },
                ]
                for key, series in self._series.items()
            ],
            "errors": dict(self._errors),
            "attempts": [[*key, count] for key, count in self._attempts.items()],
            "counters": dict(self._counters),
            "gauges": gauges,
        }

    def _find(self, dialect: str, model: str, provider: str) -> Series:
        key = (
            _label(dialect, DIALECTS),
            _label(model, self._models),
            _label(provider, self._providers),
        )
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= MAX_SERIES:
                key = (key[0], OTHER, OTHER)
            series = self._series.setdefault(key, Series())
        return series


def merge(dumps: Iterable[Mapping[str, Any]]) -> Dump:
    """The dumps of several workers as one: counts are added, gauges as their kind says."""
    series: dict[tuple[str, str, str], dict[str, Any]] = {}
    attempts: dict[tuple[str, str], int] = {}
    errors: dict[str, int] = {}
    counters: dict[str, int] = {}
    gauges: dict[str, float] = {}
    for dump in dumps:
        for dialect, model, provider, figures in dump["series"]:
            key = (dialect, model, provider)
            series[key] = _added(series[key], figures) if key in series else dict(figures)
        for provider, outcome, count in dump["attempts"]:
            attempts[provider, outcome] = attempts.get((provider, outcome), 0) + count
        _add(errors, dump["errors"])
        _add(counters, dump["counters"])
        for name, value in dump["gauges"].items():
            if name not in gauges:
                gauges[name] = value
            elif name in GAUGES and GAUGES[name].merge == "max":
                gauges[name] = max(gauges[name], value)
            else:
                gauges[name] += value
    return {
        "series": [[*key, figures] for key, figures in series.items()],
        "errors": errors,
        "attempts": [[*pair, count] for pair, count in attempts.items()],
        "counters": counters,
        "gauges": gauges,
    }


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [a + b for a, b in zip(value, other[name], strict=True)]
        if isinstance(value, list)
        else value + other[name]
        for name, value in one.items()
    }


def _add(totals: dict[str, int], counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        totals[name] = totals.get(name, 0) + count


def _label(name: str, known: frozenset[str]) -> str:
    if name in known:
        return name
    return OTHER if name else NONE
