from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from apipod_proxy.edge.metrics import Metrics, merged
from apipod_proxy.errors import Forbidden


async def collect() -> bytes:
    return b"apipod_requests_total 1\n"


async def read(headers: dict[str, str], peer: str, metrics: Metrics) -> bytes:
    request = make_mocked_request("GET", "/metrics", headers=CIMultiDict(headers)).clone(remote=peer)
    answer = await metrics.handle(request)
    assert isinstance(answer.body, bytes)
    return answer.body


OPEN = Metrics(collect, "admin-secret", "token")
AWAY = "203.0.113.9"


@pytest.mark.parametrize(
    ("headers", "peer"),
    [
        ({}, "127.0.0.1"),
        ({"x-admin-secret": "admin-secret"}, AWAY),
        ({"authorization": "Bearer token"}, AWAY),
        ({"authorization": "bearer  token"}, AWAY),
    ],
)
async def test_who_may_read(headers: dict[str, str], peer: str) -> None:
    assert await read(headers, peer, OPEN) == b"apipod_requests_total 1\n"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-admin-secret": "token"},
        {"x-admin-secret": ""},
        {"authorization": "Bearer admin"},
        {"authorization": "Basic token"},
        {"authorization": "Bearer ÿ"},
    ],
)
async def test_who_may_not(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        await read(headers, AWAY, OPEN)


async def test_what_comes_through_a_proxy_of_this_machine_needs_the_secret() -> None:
    with pytest.raises(Forbidden):
        await read({"x-forwarded-for": "127.0.0.1"}, "127.0.0.1", OPEN)


async def test_an_unset_secret_opens_nothing() -> None:
    with pytest.raises(Forbidden):
        await read({"x-admin-secret": "", "authorization": "Bearer "}, AWAY, Metrics(collect, None, None))


ONE = b"""# HELP apipod_requests_total Requests.
# TYPE apipod_requests_total counter
apipod_requests_total{model="a"} 2
apipod_requests_total{model="b c"} 1
# HELP apipod_open_streams Open streams.
# TYPE apipod_open_streams gauge
apipod_open_streams 3
# HELP apipod_loop_lag_seconds Lag.
# TYPE apipod_loop_lag_seconds gauge
apipod_loop_lag_seconds 0.25
# HELP apipod_duration_seconds Durations.
# TYPE apipod_duration_seconds histogram
apipod_duration_seconds_bucket{le="0.1"} 1
apipod_duration_seconds_bucket{le="+Inf"} 2
apipod_duration_seconds_sum 0.5
apipod_duration_seconds_count 2
"""
TWO = ONE.replace(b'{model="b c"} 1', b'{model="new"} 5').replace(b"lag_seconds 0.25", b"lag_seconds 0.5")


def test_counters_gauges_and_histograms_of_workers_add_up() -> None:
    text = merged({0: ONE, 1: TWO}).decode()
    for line in (
        'apipod_requests_total{model="a"} 4',
        'apipod_requests_total{model="b c"} 1',
        'apipod_requests_total{model="new"} 5',
        "apipod_open_streams 6",
        "apipod_loop_lag_seconds 0.5",
        'apipod_duration_seconds_bucket{le="+Inf"} 4',
        "apipod_duration_seconds_sum 1",
        'apipod_worker_up{worker="1"} 1',
    ):
        assert f"{line}\n" in text
    assert text.count("# TYPE apipod_requests_total") == 1


def test_a_missing_worker_is_named() -> None:
    text = merged({0: ONE, 1: None}).decode()
    assert 'apipod_worker_up{worker="0"} 1' in text
    assert 'apipod_worker_up{worker="1"} 0' in text
    assert 'apipod_requests_total{model="a"} 2' in text


def test_families_stay_together_and_in_order() -> None:
    lines = merged({0: ONE}).decode().splitlines()[3:]
    assert lines == ONE.decode().splitlines()
