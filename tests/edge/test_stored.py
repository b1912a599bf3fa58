from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient

from apipod_proxy.edge.stored import StoredResponses
from apipod_proxy.errors import NoSuch


async def test_a_response_is_read_and_deleted_once(aiohttp_client: AiohttpClient) -> None:
    kept = {("resp_1", "ann"): b'{"id":"resp_1"}'}

    async def read(response_id: str, owner: str) -> bytes | None:
        return kept.get((response_id, owner))

    async def delete(response_id: str, owner: str) -> bool:
        return kept.pop((response_id, owner), None) is not None

    def identify(request: web.BaseRequest, dialect: str) -> Any:
        assert dialect == "openai_responses"
        return SimpleNamespace(user=SimpleNamespace(id="ann"))

    @web.middleware
    async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            answer = await handler(request)
        except NoSuch as error:
            answer = web.json_response({"error": str(error)}, status=error.status)
        assert isinstance(answer, web.StreamResponse)
        return answer

    stored = StoredResponses(identify, read, delete)
    app = web.Application(middlewares=[errors])
    app.router.add_get("/v1/responses/{id}", stored.one)
    app.router.add_delete("/v1/responses/{id}", stored.forget)
    client = await aiohttp_client(app)

    async def ask(method: str) -> tuple[int, Any]:
        answer = await client.request(method, "/v1/responses/resp_1")
        return answer.status, await answer.json()

    assert await ask("GET") == (200, {"id": "resp_1"})
    assert await ask("DELETE") == (200, {"id": "resp_1", "object": "response", "deleted": True})
    gone = (404, {"error": "There is no response 'resp_1'."})
    assert await ask("GET") == gone
    assert await ask("DELETE") == gone
