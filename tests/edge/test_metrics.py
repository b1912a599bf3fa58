from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from apipod_proxy.edge.metrics import Metrics, workers_text
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


def test_a_missing_worker_is_named() -> None:
    text = workers_text({1: False, 0: True})
    assert text.endswith(b'apipod_worker_up{worker="0"} 1\napipod_worker_up{worker="1"} 0\n')
