"""What stands around every handler beside the hot path: a request id, errors in the client's dialect, CORS, one log line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import Middleware
from aiohttp.web_protocol import RequestPayloadError

from apipod_proxy.catalog.model import key_prefix
from apipod_proxy.edge.body import BROKEN_BODY
from apipod_proxy.edge.cors import Cors
from apipod_proxy.edge.incoming import Request
from apipod_proxy.edge.render import ANTHROPIC, Renderer, dialect_of
from apipod_proxy.edge.server import Handler
from apipod_proxy.errors import BadRequest, InternalError, MethodNotAllowed, NotFound, ProxyError

SERVER = "apipod-proxy"
KEYS = "/admin/keys/"
"""Before what names a key in a path; it may be the key itself."""
CLIENT_GONE = 499
"""What the log and the ledger say of a client that left before its answer."""
REQUEST_ID = web.RequestKey("request_id", str)
BOOKED = web.RequestKey("booked", bool)
"""Set by a handler that writes the request's line in the log itself."""
log = logging.getLogger("apipod_proxy.edge")


class Seen(NamedTuple):
    """One answered request that is no exchange with a model: what its log line says."""

    request_id: str
    client_request_id: str | None
    method: str
    path: str
    status: int
    seconds: float
    remote: str | None
    error: ProxyError | None


class Guard:
    """Runs handlers so that every request has an id, an answer and a line in the log, whatever happens."""

    def __init__(
        self,
        renderer: Renderer,
        new_id: Callable[[], str],
        monotonic: Callable[[], float],
        observe: Callable[[Seen, web.BaseRequest | None], None],
        cors: Cors,
    ) -> None:
        self._renderer = renderer
        self._new_id = new_id
        self._monotonic = monotonic
        self._observe = observe
        self._cors = cors

    @property
    def middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.run(request, handler)

        return guard

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer ``request`` with ``handler``. Cancellation passes: the client has left."""
        started = self._monotonic()
        request_id = self._new_id()
        request[REQUEST_ID] = request_id
        error: ProxyError | None = None
        try:
            answer = self._cors.preflight(request) or await handler(request)
        except (asyncio.CancelledError, ConnectionError):
            # The client went away while it was being answered: there is nobody to tell.
            self._note(request, CLIENT_GONE, started, None)
            raise
        except Exception as exc:
            error = as_proxy_error(exc, request)
            answer = self.error_answer(request, error)
        if not answer.prepared:
            self._dress(request, answer, request_id)
        self._note(request, answer.status, started, error)
        return answer

    def error_answer(self, request: web.BaseRequest, error: ProxyError) -> web.Response:
        """``error`` in the dialect of the client."""
        request_id = request.get(REQUEST_ID) or self._new_id()
        answer = self._renderer.response(error, dialect_of(request.path, request.headers), request_id)
        if not request.content.is_eof() or request.content.exception() is not None:
            # What follows on this connection is the rest of a body that nobody reads.
            answer.force_close()
        return answer

    def refuse(self, request: web.BaseRequest, error: ProxyError) -> web.Response:
        """The answer to what could not be read as a request, with its line in the log."""
        answer = self.error_answer(request, error)
        answer.headers["server"] = SERVER
        request_id = answer.headers["x-request-id"]
        self._observe(Seen(request_id, None, "-", "-", answer.status, 0.0, request.remote, error), request)
        return answer

    def refuse_raw(self, error: ProxyError, remote: str | None) -> bytes:
        """The whole answer to what never became a request, with its line in the log; its connection closes."""
        request_id = self._new_id()
        self._observe(Seen(request_id, None, "-", "-", error.status, 0.0, remote, error), None)
        return self._renderer.raw(error, request_id)

    def _dress(self, request: web.Request, answer: web.StreamResponse, request_id: str) -> None:
        headers = answer.headers
        headers["server"] = SERVER
        headers["x-request-id"] = request_id
        if dialect_of(request.path, request.headers) == ANTHROPIC:
            headers["request-id"] = request_id
        for name, value in self._cors.headers(request.headers.get("origin")):
            headers[name] = value

    def _note(self, request: web.Request, status: int, started: float, error: ProxyError | None) -> None:
        if BOOKED in request:
            return
        seen = Seen(
            request[REQUEST_ID],
            request.headers.get("x-request-id"),
            request.method,
            shown(request.path),
            status,
            self._monotonic() - started,
            request.remote,
            error,
        )
        self._observe(seen, request)


def as_proxy_error(exc: Exception, request: Request) -> ProxyError:
    """Any exception of a handler as an error that may be shown; what is unforeseen is logged whole and told as nothing."""
    if isinstance(exc, ProxyError):
        return exc
    if isinstance(exc, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(request.method, tuple(sorted(exc.allowed_methods)))
    if isinstance(exc, web.HTTPNotFound):
        return NotFound(request.path)
    if isinstance(exc, web.HTTPException) and exc.status < 500:
        return BadRequest(exc.reason)
    if isinstance(exc, RequestPayloadError):
        return BadRequest(BROKEN_BODY)
    log.error("An error was not foreseen: %s %s", request.method, shown(request.path), exc_info=exc)
    return InternalError()


def shown(path: str) -> str:
    """``path`` as it may be kept: of a key no more than its beginning."""
    if not path.startswith(KEYS):
        return path
    key, slash, verb = path.removeprefix(KEYS).partition("/")
    return f"{KEYS}{key_prefix(key)}…{slash}{verb}"
