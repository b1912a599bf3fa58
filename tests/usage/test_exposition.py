from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage.exposition import CONTENT_TYPE, render
from apipod_proxy.usage.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """``name{label=value,…}`` → value, of a scrape as a Prometheus reads it."""
    found = {}
    for family in text_string_to_metric_families(render(metrics.dump()).decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_a_scrape_holds_every_figure() -> None:
    metrics = Metrics()
    metrics.known(["flash"], ["pool"])
    metrics.request("anthropic", "flash", "pool", 200, 0.3, ttft=0.2, usage=Usage(input=7, output=9))
    metrics.request("anthropic", "flash", "pool", 529, 3.0)
    metrics.error("overloaded")
    metrics.attempt("pool", "ok")
    metrics.count("failovers")
    metrics.open_streams = 4
    metrics.gauge("breakers_open", 1)
    found = samples(metrics)
    labels = "dialect=anthropic,model=flash,provider=pool"
    assert found[f"apipod_requests_total{{{labels},status=2xx}}"] == 1
    assert found[f"apipod_requests_total{{{labels},status=5xx}}"] == 1
    assert found["apipod_tokens_total{class=output,dialect=anthropic,model=flash,provider=pool}"] == 9
    assert found["apipod_errors_total{kind=overloaded}"] == 1
    assert found["apipod_attempts_total{outcome=ok,provider=pool}"] == 1
    assert found["apipod_failovers_total"] == 1
    assert found["apipod_open_streams"] == 4
    assert found["apipod_breakers_open"] == 1
    assert found["apipod_ledger_rows_dropped_total"] == 0


def test_histograms_are_cumulative() -> None:
    metrics = Metrics()
    for seconds in (0.05, 0.3, 0.3, 4000.0):
        metrics.request("gemini", "", "", 200, seconds)
    found = samples(metrics)

    def bucket(edge: str) -> float:
        return found[
            f"apipod_request_duration_seconds_bucket{{dialect=gemini,le={edge},model=none,provider=none}}"
        ]

    assert [bucket(edge) for edge in ("0.1", "0.25", "0.5", "600.0", "+Inf")] == [1, 1, 3, 3, 4]
    labels = "{dialect=gemini,model=none,provider=none}"
    assert found[f"apipod_request_duration_seconds_count{labels}"] == 4
    assert found[f"apipod_request_duration_seconds_sum{labels}"] == 4000.65
    assert f"apipod_time_to_first_content_seconds_count{labels}" not in found


def test_an_empty_scrape_is_a_scrape() -> None:
    assert samples(Metrics())["apipod_open_requests"] == 0
    assert CONTENT_TYPE.startswith("text/plain")


def test_labels_are_escaped() -> None:
    metrics = Metrics()
    metrics.known(['a"b\\c\nd'], [])
    metrics.request("gemini", 'a"b\\c\nd', "", 200, 0.1)
    assert 'apipod_requests_total{dialect=gemini,model=a"b\\c\nd,provider=none,status=2xx}' in samples(
        metrics
    )
