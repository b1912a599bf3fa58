"""Every path of the server: which handler has it, on the hot path or behind the router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote

from aiohttp import web

from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.door import HotHandle
from apipod_proxy.edge.incoming import Request
from apipod_proxy.edge.middleware import BOOKED
from apipod_proxy.edge.server import Handler
from apipod_proxy.errors import MethodNotAllowed, NotFound, UpgradeRequired

GENERATE = ":generateContent"
STREAM_GENERATE = ":streamGenerateContent"
GEMINI_PREFIXES = ("/v1beta/models/", "/v1/models/", "/v1beta/")
"""The longer ones first. Without ``models/`` there are clients that take a name with a slash in it for a path of its own."""

GeminiHandle = Callable[[Request, str, bool], Awaitable[Answer]]
"""(request, model, whether it is streamed)."""

VerbHandle = Callable[[Request, str], Awaitable[Answer]]
"""(request, model)."""


class Hot(NamedTuple):
    """Handlers before the router: by path, and those of Gemini, whose path holds the model: of completions, and of other verbs."""

    by_path: Mapping[str, HotHandle]
    gemini: GeminiHandle
    verbs: Mapping[str, VerbHandle] = MappingProxyType({})

    def find(self, path: str) -> HotHandle | None:
        """The handler for a POST to ``path``, as it stands on the wire; None where the router has to look."""
        found = self.by_path.get(path)
        if found is not None or not path.startswith(GEMINI_PREFIXES):
            return found
        for verb, streamed in ((STREAM_GENERATE, True), (GENERATE, False)):
            if path.endswith(verb):
                return self._of_gemini(path[: -len(verb)], streamed)
        for verb, handle in self.verbs.items():
            if path.endswith(verb):
                return partial(_with_model, handle, model_in(path[: -len(verb)]))
        return None

    def _of_gemini(self, path: str, streamed: bool) -> HotHandle:
        model = model_in(path)

        async def handle(request: Request) -> Answer:
            return await self.gemini(request, model, streamed)

        return handle


def model_in(path: str) -> str:
    """The model that a path of Gemini names; ``path`` is without its verb."""
    prefix = next(prefix for prefix in GEMINI_PREFIXES if path.startswith(prefix))
    return unquote(path.removeprefix(prefix))


async def _with_model(handle: VerbHandle, model: str, request: Request) -> Answer:
    return await handle(request, model)


async def keep_expecting(request: web.Request) -> None:
    """Clients that ask whether to send their body are answered by its reader, once it is known who they are."""


async def no_websockets(request: web.Request) -> web.StreamResponse:
    """A client of Responses tries a WebSocket first: 426 sends it to POST at once, any other answer makes it try again."""
    if "upgrade" in request.headers:
        raise UpgradeRequired
    raise MethodNotAllowed(request.method, ("POST",))


async def no_such_verb(request: web.Request) -> web.StreamResponse:
    raise NotFound(request.path)


def add_routes(
    app: web.Application, hot: Hot, get: Mapping[str, Handler], post: Mapping[str, Handler] | None = None
) -> None:
    """Register everything that the router answers; paths of ``get`` take HEAD too."""

    async def another_spelling(request: web.Request) -> web.StreamResponse:
        """The router knows hot paths for the sake of its 405; a POST gets here only with an escaped or absolute path."""
        handle = hot.find(request.path)
        if handle is None:
            raise NotFound(request.path)
        request[BOOKED] = True
        return (await handle(request)).response()

    for path in hot.by_path:
        app.router.add_post(path, another_spelling, expect_handler=keep_expecting)
    for prefix in GEMINI_PREFIXES:
        for verb in (GENERATE, STREAM_GENERATE, *hot.verbs):
            app.router.add_post(
                f"{prefix}{{model:.+}}{verb}", another_spelling, expect_handler=keep_expecting
            )
    app.router.add_get("/v1/responses", no_websockets)
    for path, handler in get.items():
        app.router.add_get(path, handler)
    for path, handler in (post or {}).items():
        app.router.add_post(path, handler, expect_handler=keep_expecting)
    for prefix in GEMINI_PREFIXES:
        # After all verbs that there are: what reads like the page of a model takes no POST, but this is no such page.
        app.router.add_post(f"{prefix}{{model:.+}}:{{verb}}", no_such_verb, expect_handler=keep_expecting)
