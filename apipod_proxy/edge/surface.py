"""The handlers of completions: one request in, one answer out, one exchange booked, whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from apipod_proxy.auth import Principal
from apipod_proxy.catalog.model import Role
from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.gemini_array import ArrayFraming
from apipod_proxy.dialect.identity import TopLevel, read_request
from apipod_proxy.dialect.misplaced import as_chat
from apipod_proxy.edge.answer import Answer, DateLine, header_lines
from apipod_proxy.edge.array_answer import ArrayAnswer
from apipod_proxy.edge.body import BodyReader
from apipod_proxy.edge.incoming import Incoming, Request, is_read
from apipod_proxy.edge.limit_headers import refusal_headers
from apipod_proxy.edge.middleware import CLIENT_GONE, as_proxy_error
from apipod_proxy.edge.render import OPENAI, error_headers, status_of
from apipod_proxy.errors import BadRequest, LimitExceeded, ProxyError
from apipod_proxy.exchange import Exchange, Outcome

log = logging.getLogger("apipod_proxy.edge")

FORWARDABLE = (
    "anthropic-beta",
    "anthropic-version",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "idempotency-key",
    "http-referer",
    "x-title",
    "traceparent",
    "tracestate",
)
"""The client's headers that any provider takes; each provider type has its own choice among them."""

NO_QUERY: Mapping[str, str] = MappingProxyType({})

Identify = Callable[[str, Mapping[str, str], Mapping[str, str], int], Principal]
"""(dialect, headers, query, epoch ms) -> who calls; raises Unauthenticated and Forbidden."""


class Completes(Protocol):
    """The gateway."""

    def complete(self, x: Exchange, client: Answer) -> Awaitable[None]: ...


class Told(NamedTuple):
    """What the headers and the query of a request say. ``catalog`` is the one in which the caller was found."""

    catalog: object
    principal: Principal
    remote: str | None
    client_request_id: str | None
    narrowed_to: str | None
    explains: bool
    forwarded: tuple[tuple[str, str], ...]


class Hall(NamedTuple):
    """What every handler of completions uses. ``book`` settles an exchange; ``clock`` gives epoch seconds, ``now`` the loop's time.

    ``catalog`` gives the object on which the answers of ``identify`` rest: while it is the same one, they hold.
    """

    gateway: Completes
    identify: Identify
    catalog: Callable[[], object]
    bodies: BodyReader
    new_id: Callable[[], str]
    book: Callable[[Exchange], None]
    clock: Callable[[], float]
    now: Callable[[], float]
    remote: Callable[[Request], str | None]
    cors: Callable[[str | None], list[tuple[str, str]]]


class Completions:
    """Completions in one dialect."""

    def __init__(self, hall: Hall, dialect: Dialect) -> None:
        self._hall = hall
        self._dialect = dialect
        self._dates = DateLine()

    def handle(self, request: Request) -> Awaitable[Answer]:
        """A request whose body names the model."""
        return self.run(request, None, False)

    async def run(self, request: Request, model: str | None, stream: bool) -> Answer:
        """``model`` and ``stream`` are given where they stand in the URL."""
        hall = self._hall
        epoch = hall.clock()
        x = Exchange(
            hall.new_id(), self._dialect, request.path, started=hall.now(), started_at=int(epoch * 1000)
        )
        client = self._client(request, self._always(request, int(epoch)), stream)
        try:
            self._identify(request, x)
            whole = request.whole if isinstance(request, Incoming) else None
            x.body = await hall.bodies.read(request) if whole is None else whole
            self._read(request, x, model, stream)
            await self._answer(x, client)
        except asyncio.CancelledError:
            if x.outcome is not Outcome.OK or not client.begun:
                x.outcome = Outcome.CANCELLED
            raise
        except Exception as exc:
            self._refuse(
                x, client, request, as_proxy_error(exc, request) if not isinstance(exc, ProxyError) else exc
            )
        finally:
            x.status = client.status or CLIENT_GONE
            x.answered_at = hall.now()
            hall.book(x)
        return client

    def _always(self, request: Request, second: int) -> bytes:
        """The header lines of every answer to this request."""
        date = self._dates.at(second)
        if "origin" not in request.headers:
            return date
        return date + header_lines(self._hall.cors(request.headers["origin"]))

    def _client(self, request: Request, date: bytes, stream: bool) -> Answer:
        """The client's side of the answer."""
        return Answer(request, date)

    def _identify(self, request: Request, x: Exchange) -> None:
        """Who calls, and what its headers ask for. The same head says the same again, as long as the catalog is the same."""
        if isinstance(request, Incoming):
            told = request.head.told
            if not isinstance(told, Told) or told.catalog is not self._hall.catalog():
                told = self._told(request, x)
                key, user = told.principal.key, told.principal.user
                request.head.told = told if key.expires_at is None and user.expires_at is None else None
        else:
            told = self._told(request, x)
        _, x.principal, x.remote, x.client_request_id, x.narrowed_to, explains, x.forwarded = told
        if explains:
            x.explanation = ""

    def _told(self, request: Request, x: Exchange) -> Told:
        headers = request.headers
        # Who is refused has these in its line of the log.
        x.remote = self._hall.remote(request)
        x.client_request_id = headers.get("x-request-id")
        query = request.query if "?" in request.raw_path else NO_QUERY
        catalog = self._hall.catalog()
        principal = self._hall.identify(self._dialect.name, headers, query, x.started_at)
        return Told(
            catalog,
            principal,
            x.remote,
            x.client_request_id,
            headers.get("x-apipod-provider") or query.get("vendor"),
            principal.user.role is Role.ADMIN and headers.get("x-apipod-explain") == "1",
            tuple((name, headers[name]) for name in FORWARDABLE if name in headers),
        )

    def _answer(self, x: Exchange, client: Answer) -> Awaitable[None]:
        return self._hall.gateway.complete(x, client)

    def _top(self, request: Request, x: Exchange, model: str | None, stream: bool) -> TopLevel:
        """The top level of the request's body. Raises BadRequest."""
        try:
            return read_request(self._dialect.name, x.body, model=model or "", stream=stream)
        except BadRequest as problem:
            meant = as_chat(x.body) if self._dialect.name == OPENAI and problem.path == "$.messages" else None
            if meant is None:
                raise
            x.body = meant
            return read_request(OPENAI, meant)

    def _read(self, request: Request, x: Exchange, model: str | None, stream: bool) -> None:
        x.top = self._top(request, x, model, stream)
        x.requested_model = x.top.model
        x.streamed = x.top.stream

    def _refuse(self, x: Exchange, client: Answer, request: Request, error: ProxyError) -> None:
        x.error = error
        if x.outcome is None:
            x.outcome = Outcome.FAILED if x.attempts else Outcome.REFUSED
        if client.begun:
            # An unforeseen error in the middle of an answer: it cannot be told any more, only cut.
            client.abort()
            return
        if error.closes or not is_read(request):
            client.close_after()
        dialect = self._dialect.name
        headers = error_headers(error, dialect, x.id)
        content_type = headers.pop("content-type")
        headers.pop("connection", None)
        if x.attempts:
            headers["x-apipod-attempts"] = str(len(x.attempts))
        if x.explanation:
            headers["x-apipod-explain"] = x.explanation
        if isinstance(error, LimitExceeded):
            headers.update(refusal_headers(dialect, error, self._hall.clock()))
        client.headers = header_lines(headers.items())
        client.send(status_of(error, dialect), content_type.encode(), self._dialect.encode_error(error, x.id))


class GeminiCompletions(Completions):
    """``/v1beta/models/{model}:generateContent`` and ``:streamGenerateContent``."""

    def _client(self, request: Request, date: bytes, stream: bool) -> Answer:
        if not stream or request.query.get("alt") == "sse":
            return Answer(request, date)
        return ArrayAnswer(request, date, ArrayFraming())
