from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.pytest_plugin import AiohttpClient

from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.incoming import Request
from apipod_proxy.edge.middleware import BOOKED
from apipod_proxy.edge.routes import Hot, add_routes, model_in
from apipod_proxy.edge.server import Handler
from apipod_proxy.errors import NotFound
from tests.edge.conftest import Serve


def told(request: Request, text: str) -> Answer:
    answer = Answer(request, b"")
    answer.send(200, b"text/plain", text.encode())
    return answer


async def chat(request: Request) -> Answer:
    return told(request, "chat")


async def gemini(request: Request, model: str, streamed: bool) -> Answer:
    return told(request, f"{model} {streamed}")


async def count(request: Request, model: str) -> Answer:
    return told(request, f"count {model}")


async def ping(request: web.Request) -> web.Response:
    return web.Response()


HOT = Hot({"/v1/messages": chat}, gemini, {":countTokens": count})


@pytest.mark.parametrize(
    "path", ["/v1/messages/", "/v1/other", "/v1/models/x", "/v1beta/models/x:deleteModel", "/v1/mess%61ges"]
)
def test_what_is_not_hot_is_left_to_the_router(path: str) -> None:
    assert HOT.find(path) is None


async def test_hot_paths_are_found_as_they_stand_on_the_wire() -> None:
    assert HOT.find("/v1/messages") is chat


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1beta/models/gemini-3-flash:generateContent", "gemini-3-flash False"),
        ("/v1/models/gemini-3-flash:streamGenerateContent", "gemini-3-flash True"),
        ("/v1beta/models/vendor%2Fname:free:generateContent", "vendor/name:free False"),
        ("/v1beta/models/m:countTokens", "count m"),
        ("/v1beta/vendor/name:generateContent", "vendor/name False"),
        ("/v1beta/vendor/name:free:streamGenerateContent", "vendor/name:free True"),
    ],
)
async def test_paths_of_gemini_hold_the_model_and_the_verb(serve: Serve, path: str, said: str) -> None:
    handle = HOT.find(path)
    assert handle is not None
    served = await serve(hot={path: handle})
    answer = await served.say(
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode(), wait=0.1
    )
    assert answer.removesuffix(b"<open>").endswith(said.encode())


def test_the_model_in_a_path_is_unescaped() -> None:
    assert model_in("/v1/models/a%20b/c") == "a b/c"


async def test_a_verb_that_there_is_not_is_no_wrong_method(aiohttp_client: AiohttpClient) -> None:
    raised: list[Exception] = []

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotFound as error:
            raised.append(error)
            return web.Response(status=error.status)

    app = web.Application(middlewares=[around])
    counted = "/v1beta/models/{model:.+}:tell"
    add_routes(app, HOT, {"/v1beta/models/{id:.+}": ping}, {counted: ping})
    client = await aiohttp_client(app)
    for verb, status in (("predict", 404), ("a:predict", 404), ("tell", 200)):
        assert (await client.post(f"/v1beta/models/m:{verb}")).status == status
    assert len(raised) == 2
    assert (await client.get("/v1beta/models/m:free")).status == 200
    assert (await client.post("/v1beta/models/m")).status == 405


async def test_the_router_knows_hot_paths_too(aiohttp_client: AiohttpClient) -> None:
    booked: list[bool] = []

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            booked.append(BOOKED in request)

    app = web.Application(middlewares=[around])
    add_routes(app, HOT, {"/ping": ping}, {"/other": ping})
    client = await aiohttp_client(app)
    assert (await client.get("/v1/messages")).status == 405
    assert await (await client.post("/v1/mess%61ges")).text() == "chat"
    assert (await client.get("/ping")).status == 200
    assert (await client.head("/ping")).status == 200
    assert (await client.post("/other")).status == 200
    # A completion has its line in the log already, however its path was written.
    assert booked == [False, True, False, False, False]
