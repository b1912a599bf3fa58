"""The counters in Prometheus' text form. Imported on the first scrape only: a server that nobody scrapes does without the library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from apipod_proxy.usage.metrics import (
    COUNTERS,
    DURATION_BUCKETS,
    GAUGES,
    STATUS_CLASSES,
    TOKEN_CLASSES,
    TTFT_BUCKETS,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "apipod"
_BY = ("dialect", "model", "provider")


def render(dump: Mapping[str, Any]) -> bytes:
    """The text of a dump."""
    registry = CollectorRegistry()
    registry.register(DumpCollector(dump))
    return generate_latest(registry)


class DumpCollector(Collector):
    """One dump as metric families."""

    def __init__(self, dump: Mapping[str, Any]) -> None:
        self._dump = dump

    def collect(self) -> Iterator[Metric]:
        series = self._dump["series"]
        yield self._requests(series)
        yield self._tokens(series)
        yield _histogram(
            "time_to_first_content_seconds",
            "From a request's arrival to the first content.",
            "ttft",
            TTFT_BUCKETS,
            series,
        )
        yield _histogram(
            "request_duration_seconds",
            "From a request's arrival to its end.",
            "duration",
            DURATION_BUCKETS,
            series,
        )
        errors = CounterMetricFamily(f"{PREFIX}_errors", "Errors that reached a client.", labels=("kind",))
        for kind, count in self._dump["errors"].items():
            errors.add_metric((kind,), count)
        yield errors
        attempts = CounterMetricFamily(
            f"{PREFIX}_attempts", "Candidates that were asked.", labels=("provider", "outcome")
        )
        for provider, outcome, count in self._dump["attempts"]:
            attempts.add_metric((provider, outcome), count)
        yield attempts
        for name, about in COUNTERS.items():
            yield CounterMetricFamily(f"{PREFIX}_{name}", about, value=self._dump["counters"].get(name, 0))
        for name, gauge in GAUGES.items():
            yield GaugeMetricFamily(f"{PREFIX}_{name}", gauge.help, value=self._dump["gauges"].get(name, 0))

    def _requests(self, series: Iterable[Sequence[Any]]) -> Metric:
        family = CounterMetricFamily(f"{PREFIX}_requests", "Finished requests.", labels=(*_BY, "status"))
        for *labels, figures in series:
            for status, count in zip(STATUS_CLASSES, figures["classes"], strict=True):
                if count:
                    family.add_metric((*labels, status), count)
        return family

    def _tokens(self, series: Iterable[Sequence[Any]]) -> Metric:
        family = CounterMetricFamily(f"{PREFIX}_tokens", "Tokens used.", labels=(*_BY, "class"))
        for *labels, figures in series:
            for name, count in zip(TOKEN_CLASSES, figures["tokens"], strict=True):
                if count:
                    family.add_metric((*labels, name), count)
        return family


def _histogram(
    name: str, about: str, figure: str, edges: Sequence[float], series: Iterable[Sequence[Any]]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"{PREFIX}_{name}", about, labels=_BY)
    bounds = [*map(str, edges), "+Inf"]
    for *labels, figures in series:
        counts = list(accumulate(figures[figure]))
        if counts[-1]:
            buckets = list(zip(bounds, counts, strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=figures[f"{figure}_sum"])
    return family
