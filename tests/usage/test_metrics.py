from __future__ import annotations

import json

import pytest

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage import metrics as metrics_module
from apipod_proxy.usage.metrics import COUNTERS, GAUGES, NONE, OTHER, Metrics, merge


def counted() -> Metrics:
    metrics = Metrics()
    metrics.known(["flash"], ["pool"])
    return metrics


def series(metrics: Metrics) -> dict[tuple[str, ...], dict[str, object]]:
    return {tuple(labels): figures for *labels, figures in metrics.dump()["series"]}


def test_a_request_is_counted_by_dialect_model_provider_and_status_class() -> None:
    metrics = counted()
    for status in (200, 201, 404, 529, 0):
        metrics.request("openai_chat", "flash", "pool", status, 0.2)
    assert series(metrics)["openai_chat", "flash", "pool"]["classes"] == [0, 2, 0, 1, 2]


def test_tokens_are_counted_by_class_and_unknown_ones_not_at_all() -> None:
    metrics = counted()
    metrics.request("anthropic", "flash", "pool", 200, 0.2, usage=Usage(1, 2, 3, 4, 5))
    metrics.request("anthropic", "flash", "pool", 200, 0.2, usage=Usage(input=10))
    metrics.request("anthropic", "flash", "pool", 200, 0.2)
    assert series(metrics)["anthropic", "flash", "pool"]["tokens"] == [11, 2, 3, 4, 5]


def test_times_fall_into_buckets_whose_edges_belong_to_the_lower_one() -> None:
    metrics = counted()
    for seconds in (0.01, 0.1, 0.11, 1000.0):
        metrics.request("gemini", "flash", "pool", 200, seconds, ttft=seconds)
    figures = series(metrics)["gemini", "flash", "pool"]
    assert figures["duration"] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert figures["ttft"] == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert figures["ttft_sum"] == figures["duration_sum"] == pytest.approx(1000.22)


def test_names_that_clients_make_up_are_one_label() -> None:
    metrics = counted()
    for number in range(50):
        metrics.request(f"dialect{number}", f"junk{number}", f"nobody{number}", 404, 0.1)
    metrics.request("openai_chat", "", "", 401, 0.1)
    assert set(series(metrics)) == {(OTHER, OTHER, OTHER), ("openai_chat", NONE, NONE)}
    for number in range(50):
        metrics.error(f"kind{number}")
        metrics.attempt(f"nobody{number}", f"outcome{number}")
    dump = metrics.dump()
    assert dump["errors"] == {OTHER: 50}
    assert dump["attempts"] == [[OTHER, OTHER, 50]]


def test_names_of_a_new_catalog_become_labels() -> None:
    metrics = counted()
    metrics.request("openai_chat", "sonnet", "pool", 200, 0.1)
    metrics.known(["sonnet"], ["pool"])
    metrics.request("openai_chat", "sonnet", "pool", 200, 0.1)
    assert set(series(metrics)) == {("openai_chat", OTHER, "pool"), ("openai_chat", "sonnet", "pool")}


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "MAX_SERIES", 3)
    metrics = Metrics()
    metrics.known([f"m{number}" for number in range(50)], ["p"])
    for number in range(50):
        metrics.request("openai_chat", f"m{number}", "p", 200, 0.1)
    assert len(series(metrics)) == 4
    assert series(metrics)["openai_chat", OTHER, OTHER]["classes"] == [0, 47, 0, 0, 0]


def test_errors_attempts_and_counters_are_counted() -> None:
    metrics = counted()
    metrics.error("rate_limit")
    metrics.error("rate_limit")
    metrics.attempt("pool", "ok")
    metrics.attempt("pool", "failed")
    metrics.count("failovers")
    metrics.count("hedges", 2)
    metrics.set_count("ledger_rows_stored", 70)
    dump = metrics.dump()
    assert dump["errors"] == {"rate_limit": 2}
    assert dump["attempts"] == [["pool", "ok", 1], ["pool", "failed", 1]]
    assert {name: count for name, count in dump["counters"].items() if count} == {
        "failovers": 1,
        "hedges": 2,
        "ledger_rows_stored": 70,
    }
    assert set(dump["counters"]) == set(COUNTERS)


def test_gauges_are_what_is_there_now() -> None:
    metrics = counted()
    metrics.open_streams += 2
    metrics.open_streams -= 1
    metrics.open_requests += 3
    metrics.gauge("ledger_rows_waiting", 9)
    assert metrics.dump()["gauges"] == {"open_requests": 3, "open_streams": 1, "ledger_rows_waiting": 9}
    with pytest.raises(KeyError):
        metrics.gauge("no such", 1)


def test_dumps_of_workers_add_up_after_a_way_as_json() -> None:
    workers = [counted(), counted()]
    for number, metrics in enumerate(workers, start=1):
        metrics.request("gemini", "flash", "pool", 200, 0.2, ttft=0.1, usage=Usage(input=number))
        metrics.error("timeout")
        metrics.attempt("pool", "ok")
        metrics.count("failovers", number)
        metrics.open_streams = number
        metrics.gauge("event_loop_lag_seconds", number / 10)
    workers[1].request("gemini", "", "pool", 500, 0.2)
    merged = merge(json.loads(json.dumps(metrics.dump())) for metrics in workers)
    by_labels = {tuple(labels): figures for *labels, figures in merged["series"]}
    assert by_labels["gemini", "flash", "pool"]["tokens"] == [3, 0, 0, 0, 0]
    assert by_labels["gemini", "flash", "pool"]["duration_sum"] == pytest.approx(0.4)
    assert by_labels["gemini", NONE, "pool"]["classes"] == [0, 0, 0, 0, 1]
    assert merged["errors"] == {"timeout": 2}
    assert merged["attempts"] == [["pool", "ok", 2]]
    assert merged["counters"]["failovers"] == 3
    assert merged["gauges"]["open_streams"] == 3
    assert merged["gauges"]["event_loop_lag_seconds"] == 0.2
    assert workers[0].dump()["series"][0][3]["tokens"] == [1, 0, 0, 0, 0]


def test_every_gauge_says_how_it_merges() -> None:
    assert {gauge.merge for gauge in GAUGES.values()} == {"sum", "max"}
