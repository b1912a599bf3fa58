from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient

from apipod_proxy.edge.stored import StoredResponses
from apipod_proxy.errors import BadRequest, NoSuch


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
        except (BadRequest, NoSuch) as error:
            answer = web.json_response({"error": str(error)}, status=error.status)
        assert isinstance(answer, web.StreamResponse)
        return answer

    async def items(response_id: str, owner: str) -> list[dict[str, Any]] | None:
        return [{"id": str(n)} for n in range(25)] if (response_id, owner) in kept else None

    stored = StoredResponses(identify, read, delete, items)
    app = web.Application(middlewares=[errors])
    app.router.add_get("/v1/responses/{id}", stored.one)
    app.router.add_get("/v1/responses/{id}/input_items", stored.input_items)
    app.router.add_delete("/v1/responses/{id}", stored.forget)
    client = await aiohttp_client(app)

    async def ask(method: str, more: str = "") -> tuple[int, Any]:
        answer = await client.request(method, f"/v1/responses/resp_1{more}")
        return answer.status, await answer.json()

    assert await ask("GET") == (200, {"id": "resp_1"})
    assert (await ask("GET", "?stream=true"))[0] == 400
    status, page = await ask("GET", "/input_items")
    assert (status, [item["id"] for item in page["data"]]) == (200, [str(n) for n in range(24, 4, -1)])
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("24", "5", True)
    _, page = await ask("GET", "/input_items?after=5")
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("4", "0", False)
    _, page = await ask("GET", "/input_items?order=asc&limit=1&after=24")
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    for wrong in ("limit=0", "limit=101", "limit=x", "limit=\u0661", "order=up", "after=x"):
        assert (await ask("GET", f"/input_items?{wrong}"))[0] == 400, wrong
    assert await ask("DELETE") == (200, {"id": "resp_1", "object": "response", "deleted": True})
    gone = (404, {"error": "There is no response 'resp_1'."})
    assert await ask("GET") == gone
    assert await ask("DELETE") == gone
    assert await ask("GET", "/input_items") == gone
