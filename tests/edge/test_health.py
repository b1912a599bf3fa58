from __future__ import annotations

import orjson
import pytest
from aiohttp.test_utils import make_mocked_request

from apipod_proxy.edge.health import Health, health_routes


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def ask(health: Health, path: str) -> tuple[int, bytes]:
    answer = await health_routes(health, health.report)[path](make_mocked_request("GET", path))
    body = getattr(answer, "body", b"")
    assert isinstance(body, bytes)
    return answer.status, body


async def test_health_says_who_it_is_how_long_and_what_is_wrong() -> None:
    clock = Clock()
    health = Health("1.2.3", clock)
    health.started = True
    health.complain(lambda: "limits are per process")
    health.complain(lambda: None)
    clock.now += 61.9
    status, body = await ask(health, "/health")
    assert status == 200
    assert orjson.loads(body) == {
        "status": "healthy",
        "service": "apipod-smart-proxy",
        "version": "1.2.3",
        "uptime": 61,
        "degraded": ["limits are per process"],
    }


async def test_ready_follows_start_ability_and_draining() -> None:
    health = Health("1", Clock())
    assert (await ask(health, "/health/ready"))[0] == 503
    health.started = True
    assert await ask(health, "/health/ready") == (200, b'{"status":"ready"}')
    trouble: list[str] = ["no catalog"]
    health.unable_if(lambda: trouble[0] if trouble else None)
    assert await ask(health, "/health/ready") == (503, b'{"status":"unavailable","reason":"no catalog"}')
    trouble.clear()
    health.draining = True
    assert (await ask(health, "/health/ready"))[1] == b'{"status":"unavailable","reason":"draining"}'
    assert (await ask(health, "/health/live"))[0] == 200


@pytest.mark.parametrize("path", ["/", "/ping", "/health", "/health/live"])
async def test_probes_are_answered_without_anything_else(path: str) -> None:
    assert (await ask(Health("1", Clock()), path))[0] == 200
