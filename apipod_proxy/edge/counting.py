"""The handlers that count tokens: ``/v1/messages/count_tokens`` and Gemini's ``:countTokens``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from aiohttp import web

from apipod_proxy.edge.body import BodyReader
from apipod_proxy.edge.surface import FORWARDABLE

if TYPE_CHECKING:
    from apipod_proxy.auth import Principal

ESTIMATED = "x-apipod-estimated"


class Question(NamedTuple):
    """What is to be counted, for whom. ``model`` is the URL's, None where the body names it; ``forwarded`` headers may go up."""

    dialect: str
    principal: Principal
    body: bytes
    model: str | None
    vendor: str | None
    forwarded: tuple[tuple[str, str], ...]


class Count(NamedTuple):
    """The answer in the client's dialect; ``provider`` is empty where it is an estimate of the gateway's own."""

    body: bytes
    provider: str


class Identify(Protocol):
    def __call__(self, request: web.BaseRequest, dialect: str) -> Principal:
        """Raises Unauthenticated and Forbidden."""
        ...


class TokenCounts:
    """Counts in one dialect. ``count`` raises the ProxyError to answer with."""

    def __init__(
        self,
        dialect: str,
        identify: Identify,
        bodies: BodyReader,
        count: Callable[[Question], Awaitable[Count]],
    ) -> None:
        self._dialect = dialect
        self._identify = identify
        self._bodies = bodies
        self._count = count

    async def handle(self, request: web.Request) -> web.StreamResponse:
        principal = self._identify(request, self._dialect)
        body = await self._bodies.read(request)
        forwarded = tuple((name, request.headers[name]) for name in FORWARDABLE if name in request.headers)
        vendor = request.headers.get("x-apipod-provider") or request.query.get("vendor")
        model = request.match_info.get("model")
        found = await self._count(Question(self._dialect, principal, body, model, vendor, forwarded))
        answer = web.Response(body=found.body, content_type="application/json")
        if found.provider:
            answer.headers["x-apipod-provider"] = found.provider
        else:
            answer.headers[ESTIMATED] = "1"
        return answer
