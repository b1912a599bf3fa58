from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from apipod_proxy.edge.health import Health
from apipod_proxy.edge.siblings import ACCOUNTS, HEALTH, METRICS, Siblings
from apipod_proxy.overview import Overview
from apipod_proxy.usage.metrics import Metrics


def overview(complaint: str | None = None) -> tuple[Overview, Metrics]:
    health = Health("1", time.monotonic)
    health.started = True
    health.complain(lambda: complaint)
    metrics = Metrics()
    metrics.known(["m"], ["p"])
    states = [] if complaint is None else [{"provider": "p", "account": "a", "state": "disabled"}]
    gauges, totals = {"open_streams": 2.0}, {"ledger_rows_stored": 7}
    return Overview(health, metrics, lambda: gauges, lambda: totals, lambda: states), metrics


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Overview, Overview]]:
    """Two workers of three that know each other."""
    (tmp_path / "run").mkdir()
    made = []
    joined = []
    for index, complaint in enumerate([None, "something is wrong"]):
        one, metrics = overview(complaint)
        metrics.request("anthropic", "m", "p", 200, 0.1)
        metrics.error("quota")
        one.siblings = Siblings(tmp_path / "run" / "1", index, 3, one.answers())
        await one.siblings.start()
        made.append(one)
        joined.append(one.siblings)
    yield made[0], made[1]
    for siblings in joined:
        await siblings.close()


async def test_one_process_speaks_for_itself() -> None:
    one, _ = overview("a complaint")
    text = await one.text()
    assert b"apipod_open_streams 2.0\n" in text
    assert b"apipod_ledger_rows_stored_total 7.0\n" in text
    assert text.endswith(b'apipod_worker_up{worker="0"} 1\n')
    assert one.report()["degraded"] == ["a complaint"]
    assert "workers" not in one.report()


async def test_figures_of_all_workers_are_one_and_who_is_missing_is_named(
    pair: tuple[Overview, Overview],
) -> None:
    for one in pair:
        text = (await one.text()).decode()
        assert 'apipod_requests_total{dialect="anthropic",model="m",provider="p",status="2xx"} 2.0' in text
        assert "apipod_open_streams 4.0" in text
        assert 'apipod_worker_up{worker="1"} 1\napipod_worker_up{worker="2"} 0\n' in text


async def test_health_of_all_workers_is_one(pair: tuple[Overview, Overview]) -> None:
    first, second = pair
    assert first.siblings is not None
    answers = await first.siblings.ask(HEALTH)
    assert orjson.loads(answers[1] or b"")["degraded"] == ["something is wrong"]
    report = first.report()
    workers = report["workers"]
    assert isinstance(workers, dict)
    assert (workers["0"], workers["2"]) == ("healthy", "missing")
    degraded = report["degraded"]
    assert isinstance(degraded, list)
    assert "worker 2 does not answer" in degraded
    assert second.answers().keys() == {METRICS, HEALTH, ACCOUNTS}


async def test_what_one_worker_holds_against_an_account_every_worker_tells(
    pair: tuple[Overview, Overview],
) -> None:
    row = {"provider": "p", "account": "a", "state": "disabled"}
    for one in pair:
        assert await one.accounts() == [{**row, "worker": 1}]
    alone, _ = overview("a complaint")
    assert await alone.accounts() == [row]
