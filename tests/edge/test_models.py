from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient
from aiohttp.test_utils import TestClient
from anthropic.types import ModelInfo
from openai.types import Model as OpenAIModel

from apipod_proxy.edge.models import Models, Offered
from apipod_proxy.errors import BadRequest, ProxyError

OFFERED = [
    Offered("claude-sonnet-4-5", "pool", 1_700_000_000, 200_000, 64_000, frozenset({"tools", "vision"})),
    Offered("gemini-3-flash", "pool"),
    Offered("vendor/model:free", "openrouter"),
]
CLAUDE = {"anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": "k"}

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> Client:
    async def offered_to(request: web.Request) -> Sequence[Offered]:
        return OFFERED

    @web.middleware
    async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            answer = await handler(request)
        except ProxyError as error:
            answer = web.json_response({"error": str(error)}, status=error.status)
        assert isinstance(answer, web.StreamResponse)
        return answer

    models = Models(offered_to)
    app = web.Application(middlewares=[errors])
    for path in ("/v1/models", "/models", "/v1beta/models"):
        app.router.add_get(path, models.list)
        app.router.add_get(path + "/{id:.+}", models.one)
    return await aiohttp_client(app)


async def get(client: Client, path: str, headers: dict[str, str] | None = None) -> Any:
    answer = await client.get(path, headers=headers)
    assert answer.status == 200
    return orjson.loads(await answer.read())


async def test_openai_clients_read_their_list(client: Client) -> None:
    listed = await get(client, "/v1/models")
    assert listed["object"] == "list"
    models = [OpenAIModel.model_validate(entry) for entry in listed["data"]]
    assert [model.id for model in models] == [model.name for model in OFFERED]
    assert listed["data"][0]["capabilities"]["function_calling"] is True
    assert await get(client, "/models") == listed


async def test_anthropic_clients_read_theirs_in_pages(client: Client) -> None:
    first = await get(client, "/v1/models?limit=2", CLAUDE)
    assert [ModelInfo.model_validate(entry).id for entry in first["data"]] == [m.name for m in OFFERED[:2]]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (
        True,
        OFFERED[0].name,
        OFFERED[1].name,
    )
    second = await get(client, f"/v1/models?after_id={first['last_id']}", CLAUDE)
    assert [entry["id"] for entry in second["data"]] == ["vendor/model:free"]
    assert second["has_more"] is False
    before = await get(client, "/v1/models?limit=1&before_id=vendor/model:free", CLAUDE)
    assert [entry["id"] for entry in before["data"]] == ["gemini-3-flash"]
    assert before["has_more"] is True


async def test_gemini_clients_read_theirs_on_both_prefixes(client: Client) -> None:
    listed = await get(client, "/v1/models", GOOGLE)
    assert listed == await get(client, "/v1beta/models")
    assert [model["name"] for model in listed["models"]] == [f"models/{model.name}" for model in OFFERED]
    assert "nextPageToken" not in listed
    first = await get(client, "/v1beta/models?pageSize=2")
    rest = await get(client, f"/v1beta/models?pageSize=2&pageToken={first['nextPageToken']}")
    assert first["models"] + rest["models"] == listed["models"]


async def test_one_model_is_found_by_a_name_with_slashes_and_colons(client: Client) -> None:
    assert (await get(client, "/v1/models/vendor/model:free"))["id"] == "vendor/model:free"
    assert (await get(client, "/v1/models/vendor%2Fmodel:free", CLAUDE))["id"] == "vendor/model:free"
    assert (await get(client, "/v1beta/models/gemini-3-flash"))["name"] == "models/gemini-3-flash"


async def test_a_name_that_is_not_offered_is_a_404(client: Client) -> None:
    assert (await client.get("/v1/models/secret")).status == 404


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("limit=0", CLAUDE),
        ("limit=x", CLAUDE),
        ("limit=5000", CLAUDE),
        ("after_id=nope", CLAUDE),
        ("pageSize=-1", GOOGLE),
        ("pageToken=%ff", GOOGLE),
    ],
)
async def test_a_wrong_page_is_a_bad_request(client: Client, query: str, headers: dict[str, str]) -> None:
    assert (await client.get(f"/v1/models?{query}", headers=headers)).status == BadRequest.status
