from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from pytest_aiohttp.plugin import AiohttpClient

from apipod_proxy.simulator import Simulator, make_app
from apipod_proxy.simulator.surfaces import LEDGER

MESSAGES = [{"role": "user", "content": "hi"}]
ANTHROPIC = {"anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": "k"}


async def _post(http: aiohttp.ClientSession, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    async with http.post(path, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/chat/completions", "/openai/v1/chat/completions", "/api/v1/chat/completions"],
)
async def test_openais_paths_stand_at_the_root_and_below_other_paths(
    http: aiohttp.ClientSession, path: str
) -> None:
    status, body = await _post(http, path, {"model": "m", "messages": MESSAGES})
    assert (status, body["object"]) == (200, "chat.completion")


@pytest.mark.parametrize(
    "header", [{"authorization": "Bearer k9"}, {"x-api-key": "k9"}, {"x-goog-api-key": "k9"}]
)
async def test_the_key_is_found_where_the_dialects_put_it(
    simulator: Simulator, http: aiohttp.ClientSession, header: dict[str, str]
) -> None:
    await _post(
        http, "/v1/messages", {"model": "m", "max_tokens": 9, "messages": MESSAGES}, **ANTHROPIC, **header
    )
    assert simulator.stats.keys["k9"].requests == 1
    await _post(
        http,
        "/v1beta/models/m:countTokens?key=k8",
        {"contents": [{"parts": [{"text": "x"}]}]},
        authorization="",
    )
    assert simulator.stats.keys["k8"].requests == 1


async def test_the_header_scripts_an_answer(http: aiohttp.ClientSession) -> None:
    body = {"model": "m", "messages": MESSAGES}
    assert (
        await _post(
            http, "/v1/chat/completions", body, **{"x-sim": "status=402;message=No%20money;code=broke"}
        )
    )[0] == 402
    status, answer = await _post(http, "/v1/chat/completions", body, **{"x-sim": "nonsense"})
    assert (status, answer["error"]["message"][:27]) == (400, "x-sim: unknown knob 'nonsen")


async def test_an_error_can_be_a_page(http: aiohttp.ClientSession) -> None:
    async with http.post(
        "/v1/chat/completions", json={"model": "m+status=502;html", "messages": MESSAGES}
    ) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")


async def test_bad_json_is_refused_in_the_dialect_of_the_path(http: aiohttp.ClientSession) -> None:
    for path, headers in (
        ("/v1/chat/completions", {}),
        ("/v1/messages", ANTHROPIC),
        ("/v1beta/models/m:generateContent", {}),
        ("/v1/responses", {}),
    ):
        for raw in (b"{", b"[]", b'"x"'):
            async with http.post(path, data=raw, headers=headers) as answer:
                body = await answer.json()
            assert answer.status == 400
            assert "could not parse the JSON body" in body["error"]["message"]


async def test_models_are_listed_in_the_dialect_of_the_caller(http: aiohttp.ClientSession) -> None:
    for path in ("/v1/models", "/models", "/openai/v1/models"):
        async with http.get(path) as answer:
            assert (await answer.json())["object"] == "list"
    async with http.get("/v1/models", headers=ANTHROPIC) as answer:
        assert (await answer.json())["has_more"] is False
    for path, headers in (("/v1beta/models", {}), ("/v1/models", GOOGLE)):
        async with http.get(path, headers=headers) as answer:
            assert (await answer.json())["models"][0]["name"].startswith("models/")
    async with http.get("/v1/models/org/a:free") as answer:
        assert (await answer.json())["id"] == "org/a:free"


async def test_unknown_paths_and_methods_get_an_error_in_the_callers_dialect(
    http: aiohttp.ClientSession,
) -> None:
    assert await _post(http, "/v1/nothing", {}) == (
        404,
        {
            "error": {
                "message": "Invalid URL (POST /v1/nothing)",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
    )
    status, body = await _post(http, "/v1/nothing", {}, **ANTHROPIC)
    assert (status, body["error"]["type"]) == (404, "not_found_error")
    async with http.get("/v1/chat/completions") as answer:
        assert answer.status == 405
    status, body = await _post(http, "/v1beta/models/m:fly", {}, **GOOGLE)
    assert (status, body["error"]["status"]) == (404, "NOT_FOUND")


async def test_tokens_are_counted_in_every_dialect(http: aiohttp.ClientSession) -> None:
    status, body = await _post(
        http, "/v1/messages/count_tokens?beta=true", {"model": "m", "messages": MESSAGES}, **ANTHROPIC
    )
    assert status == 200 and body["input_tokens"] > 0
    _, body = await _post(http, "/v1beta/models/m:countTokens", {"contents": [{"parts": [{"text": "hi"}]}]})
    assert body["totalTokens"] > 0
    _, body = await _post(http, "/v1/responses/input_tokens", {"model": "m", "input": "hi"})
    assert body["input_tokens"] > 0


async def test_the_other_endpoints_answer(http: aiohttp.ClientSession) -> None:
    for path, body, member in (
        ("/v1/embeddings", {"model": "m", "input": "x"}, "data"),
        ("/v1/images/generations", {"prompt": "x"}, "data"),
        ("/v1/moderations", {"input": "x"}, "results"),
        ("/v1/completions", {"model": "m", "prompt": "x"}, "choices"),
        ("/v1beta/models/m:embedContent", {"content": {"parts": [{"text": "x"}]}}, "embedding"),
        (
            "/v1beta/models/m:batchEmbedContents",
            {"requests": [{"content": {"parts": [{"text": "x"}]}}]},
            "embeddings",
        ),
    ):
        status, answer = await _post(http, path, body)
        assert (status, member in answer) == (200, True), path
        status, answer = await _post(http, path, {})
        assert (status, "error" in answer) == (400, True), path
    async with http.post("/v1/audio/speech", json={"model": "m", "input": "x", "voice": "v"}) as spoken:
        assert (spoken.content_type, (await spoken.read())[:2]) == ("audio/mpeg", b"\xff\xfb")
    form = aiohttp.FormData({"model": "m"})
    form.add_field("file", b"abc", filename="a.wav")
    async with http.post("/v1/audio/transcriptions", data=form) as heard:
        assert (await heard.json())["text"] == "The simulator heard 3 bytes."


async def test_answers_carry_an_id_and_limits(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/chat/completions", json={"model": "m", "messages": MESSAGES}) as answer:
        assert answer.headers["x-request-id"].startswith("req_")
        assert "x-ratelimit-remaining-requests" in answer.headers
    async with http.post(
        "/v1/messages", json={"model": "m", "max_tokens": 9, "messages": MESSAGES}, headers=ANTHROPIC
    ) as answer:
        assert answer.headers["request-id"].startswith("req_")
        assert "anthropic-ratelimit-requests-remaining" in answer.headers


async def test_a_blocked_prompt_is_an_error_of_chat(http: aiohttp.ClientSession) -> None:
    status, body = await _post(
        http, "/v1/chat/completions", {"model": "m+finish=blocked", "messages": MESSAGES}
    )
    assert (status, body["error"]["code"]) == (400, "content_policy_violation")


async def test_a_client_that_leaves_is_counted_where_handlers_are_not_cancelled(
    aiohttp_client: AiohttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    client = await aiohttp_client(app)
    for model in ("sim-500-1", "m+stall=1", "m+big=20"):
        answer = await client.post(
            "/v1/chat/completions", json={"model": model, "messages": MESSAGES, "stream": True}
        )
        await answer.content.readany()
        answer.close()
    stats = app[LEDGER].stats
    async with asyncio.timeout(3):
        while stats.open:
            await asyncio.sleep(0.01)
    assert (stats.requests, stats.aborted) == (3, 3)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_anthropics_version_is_required(http: aiohttp.ClientSession) -> None:
    status, body = await _post(http, "/v1/messages", {"model": "m", "max_tokens": 9, "messages": MESSAGES})
    assert (status, body["error"]["message"]) == (400, "anthropic-version: header is required")
