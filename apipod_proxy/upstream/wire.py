"""How one account of a provider is spoken to: where, with which credential, and the bytes of the request's head."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from apipod_proxy.catalog.model import Account, Candidate, Provider, Timeouts
from apipod_proxy.upstream.connection import Endpoint
from apipod_proxy.upstream.oauth import Token, Tokens
from apipod_proxy.upstream.pool import Call, Pool, Receiver
from apipod_proxy.upstream.provider import MODEL, Auth, ProviderType, Surface, fill_model, join_url

_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))

JSON = "application/json"
EVENTS = b"text/event-stream"

EndpointMaker = Callable[[Provider, Account, str], Endpoint]
"""(provider, account, URL) -> Endpoint; knows TLS, proxies and the size of the pool."""

Forwarded = tuple[tuple[str, str], ...]


class Wire(NamedTuple):
    """One surface of one account. ``head`` lacks the first line and what differs between requests.

    ``start`` and ``stream_start`` are the heads of ordinary requests up to their length, None where the model stands in the URL.
    """

    account: Account
    provider_type: ProviderType
    dialect: str
    surface: Surface
    endpoint: Endpoint
    target: str
    stream_target: str
    head: bytes
    start: bytes | None
    stream_start: bytes | None
    fixed: Mapping[str, str]
    timeouts: Timeouts


class Upstream:
    """Sends encoded requests. Keeps one ``Wire`` for each account and surface, rebuilt when the catalog replaces the account."""

    def __init__(
        self, pool: Pool, types: Mapping[str, ProviderType], endpoint_for: EndpointMaker, user_agent: str
    ) -> None:
        self._pool = pool
        self._types = types
        self._endpoint_for = endpoint_for
        self._user_agent = user_agent
        self._wires: dict[tuple[str, str], Wire] = {}
        self._tokens = Tokens(pool, endpoint_for, time.time, lambda: str(uuid.uuid4()))

    def type_of(self, provider: Provider) -> ProviderType:
        return self._types[provider.type]

    async def authorise(self, candidate: Candidate) -> Token | None:
        """Have a token at hand for a provider that wants one; None for all others. Raises UpstreamError."""
        oauth = self._types[candidate.provider.type].oauth
        if oauth is None:
            return None
        return await self._tokens.ensure(oauth, candidate.provider, candidate.account)

    def forget(self, candidate: Candidate, token: Token) -> None:
        """The provider refused ``token``: the next request gets another."""
        self._tokens.forget(candidate.account, token)

    def wire(self, candidate: Candidate, surface: str) -> Wire | None:
        """The way to ``surface`` (a dialect or an operation) of this account; None where its provider has none."""
        account = candidate.account
        found = self._wires.get((account.id, surface))
        if found is None or found.account is not account:
            provider_type = self._types[candidate.provider.type]
            spoken = provider_type.surfaces.get(surface)
            if spoken is None:
                return None
            found = self._wires[account.id, surface] = self._build(
                candidate.provider, account, provider_type, surface, spoken
            )
        return found

    def _build(
        self, provider: Provider, account: Account, kind: ProviderType, dialect: str, surface: Surface
    ) -> Wire:
        base = fill_options(provider.base_url or kind.base_url, provider.options)
        path = provider.options.get(f"{dialect}_path", "")
        url = join_url(base, fill_options(path or surface.path, provider.options))
        stream_url = join_url(
            base, fill_options(path or surface.stream_path or surface.path, provider.options)
        )
        fixed = (
            credential(kind.auth, account.api_key)
            | dict(kind.headers)
            | {k.lower(): v for k, v in provider.headers.items()}
        )
        parts = urlsplit(url)
        lines = [f"host: {parts.netloc.rpartition('@')[2]}"]
        if "user-agent" not in fixed:
            lines.append(f"user-agent: {self._user_agent}")
        lines += [f"{name}: {value}" for name, value in fixed.items() if name not in kind.forward]
        head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        target, stream_target = request_target(url), request_target(stream_url)
        return Wire(
            account=account,
            provider_type=kind,
            dialect=dialect,
            surface=surface,
            endpoint=self._endpoint_for(provider, account, url),
            target=target,
            stream_target=stream_target,
            head=head,
            start=None if MODEL in target else head_start(target, head, JSON, JSON.encode()),
            stream_start=None if MODEL in stream_target else head_start(stream_target, head, JSON, EVENTS),
            fixed={name: value for name, value in fixed.items() if name in kind.forward},
            timeouts=provider.timeouts,
        )

    def send(
        self,
        wire: Wire,
        model: str,
        body: bytes,
        receiver: Receiver,
        *,
        stream: bool = False,
        forwarded: Forwarded = (),
        content_type: str = JSON,
        accept: bytes | None = None,
        token: Token | None = None,
    ) -> Call:
        """Start the request; never waits. What comes back arrives at ``receiver``."""
        start = wire.stream_start if stream else wire.start
        if start is None or accept is not None or content_type != JSON:
            target = fill_model(wire.stream_target if stream else wire.target, model)
            start = head_start(
                target, wire.head, content_type, accept or (EVENTS if stream else JSON.encode())
            )
        extra = forward(forwarded, wire) if forwarded or wire.fixed else b""
        if token is not None:
            extra += token.header
        head = b"%b%bcontent-length: %d\r\n\r\n" % (start, extra, len(body))
        return self._pool.send(wire.endpoint, head, body, receiver, wire.timeouts)

    async def close(self) -> None:
        await self._pool.close()


def head_start(target: str, head: bytes, content_type: str, accept: bytes) -> bytes:
    """The lines of a request's head that come first."""
    return b"POST %b HTTP/1.1\r\n%bcontent-type: %b\r\naccept: %b\r\naccept-encoding: identity\r\n" % (
        target.encode("latin-1"),
        head,
        content_type.encode("latin-1"),
        accept,
    )


def credential(auth: Auth, key: str) -> dict[str, str]:
    """The header that carries ``key``."""
    if not key or auth is Auth.NONE:
        return {}
    return {auth.value: f"Bearer {key}" if auth is Auth.BEARER else key}


def forward(client_headers: Forwarded, wire: Wire) -> bytes:
    """The client's headers that this provider takes, and the fixed ones that the client did not send."""
    if not client_headers:
        return (
            b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in wire.fixed.items())
            if wire.fixed
            else b""
        )
    allowed = wire.provider_type.forward
    sent = {name: value for name, value in client_headers if name in allowed}
    merged = {**wire.fixed, **sent}
    return b"".join(
        f"{name}: {value}\r\n".encode("utf-8", "surrogateescape") for name, value in merged.items()
    )


def fill_options(path: str, options: Mapping[str, str]) -> str:
    """``path`` with the provider's options in place (``{account_id}``), but for ``{model}``, which each request fills."""
    for name, value in options.items():
        path = path.replace("{" + name + "}", value)
    return path


def request_target(url: str) -> str:
    """The path and query of ``url``, as the request line has them: what it does not take, as an option may hold it, is encoded."""
    parts = urlsplit(url)
    return quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_VISIBLE)
