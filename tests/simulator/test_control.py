from __future__ import annotations

from typing import Any

import aiohttp
import pytest

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def _json(http: aiohttp.ClientSession, method: str, path: str, **options: Any) -> Any:
    async with http.request(method, path, **options) as answer:
        return await answer.json()


async def test_requests_are_counted_by_path_model_and_key(http: aiohttp.ClientSession) -> None:
    for key in ("k1", "k1", "k2"):
        async with http.post(
            "/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"}
        ) as answer:
            await answer.read()
    stats = await _json(http, "GET", "/stats")
    assert (stats["requests"], stats["open"], stats["aborted"]) == (3, 0, 0)
    assert stats["keys"]["k1"]["requests"] == 2
    assert stats["paths"]["/v1/chat/completions"]["requests"] == stats["models"]["m"]["requests"] == 3
    assert (await _json(http, "POST", "/stats/reset"))["requests"] == 0
    assert (await _json(http, "GET", "/stats"))["keys"] == {}


async def test_requests_are_recorded_as_they_came(http: aiohttp.ClientSession) -> None:
    await (await http.post("/v1/chat/completions?a=b", json=BODY, headers={"X-Mine": "1"})).read()
    await (await http.post("/v1/chat/completions", data=b"no json")).read()
    first, second = await _json(http, "GET", "/requests")
    assert (first["method"], first["path"], first["query"], first["body"]) == (
        "POST",
        "/v1/chat/completions",
        "a=b",
        BODY,
    )
    assert first["headers"]["X-Mine"] == "1"
    assert second["body"] == "no json"
    assert await _json(http, "GET", "/requests?last=1") == [second]
    assert await _json(http, "DELETE", "/requests") == []
    assert await _json(http, "GET", "/requests") == []


async def test_a_fault_hits_its_key_only(http: aiohttp.ClientSession) -> None:
    await _json(http, "POST", "/faults", json={"key": "bad", "fault": "status=401"})
    statuses = []
    for key in ("bad", "good"):
        async with http.post(
            "/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"}
        ) as answer:
            statuses.append(answer.status)
    assert statuses == [401, 200]
    assert await _json(http, "GET", "/faults") == [
        {"fault": "status=401", "key": "bad", "model": None, "path": None, "share": 1.0}
    ]
    assert await _json(http, "DELETE", "/faults") == []


@pytest.mark.parametrize(
    "body", [{"fault": "nonsense=1"}, {"fault": 1}, {"key": "k"}, {"fault": "cut=1", "who": "x"}, []]
)
async def test_a_fault_that_means_nothing_is_refused(http: aiohttp.ClientSession, body: object) -> None:
    async with http.post("/faults", json=body) as answer:
        assert answer.status == 400
        assert "error" in await answer.json()


async def test_the_index_says_what_there_is(http: aiohttp.ClientSession) -> None:
    assert (await _json(http, "GET", "/"))["service"] == "apipod-proxy simulator"
