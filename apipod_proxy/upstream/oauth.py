"""Short-lived tokens in place of keys: one for each account, asked for when it is needed, and again a minute before it ends."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

import orjson

from apipod_proxy.catalog.model import Account, Provider
from apipod_proxy.errors import Kind, UpstreamBroken, UpstreamError, UpstreamStatus

if TYPE_CHECKING:
    from apipod_proxy.upstream.endpoint import Endpoint
    from apipod_proxy.upstream.pool import Call, Pool

EARLY: Final = 60.0
"""Seconds before its end at which a token is replaced."""

MOST_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class OAuth:
    """Where a provider type gives out tokens. The options ``auth_url`` and ``scope`` of a provider come before these."""

    url: str
    scope: str


class Token:
    """What an account sends now. ``key`` is what it was bought with."""

    __slots__ = ("ends_at", "header", "key", "text")

    def __init__(self, key: str, text: str, ends_at: float) -> None:
        self.key = key
        self.text = text
        self.header = f"authorization: Bearer {text}\r\n".encode("latin-1")
        self.ends_at = ends_at


class Tokens:
    """``wall`` gives epoch seconds, which is what providers say the end of a token in; ``new_id`` a UUID for each question."""

    def __init__(
        self,
        pool: Pool,
        endpoint_for: Callable[[Provider, Account, str], Endpoint],
        wall: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._pool = pool
        self._endpoint_for = endpoint_for
        self._wall = wall
        self._new_id = new_id
        self._held: dict[str, Token] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    def held(self, account: Account) -> Token | None:
        """The token of ``account``, if it is good for a while yet."""
        token = self._held.get(account.id)
        if token is None or token.key != account.api_key or token.ends_at - EARLY <= self._wall():
            return None
        return token

    def forget(self, account: Account, token: Token | None) -> None:
        """``token`` was refused; a newer one stays."""
        if token is not None and self._held.get(account.id) is token:
            del self._held[account.id]

    async def ensure(self, oauth: OAuth, provider: Provider, account: Account) -> Token:
        """A good token; however many ask at once, one question is put. Raises UpstreamError."""
        token = self.held(account)
        if token is not None:
            return token
        async with self._asking.setdefault(account.id, asyncio.Lock()):
            token = self.held(account)
            if token is None:
                token = self._held[account.id] = await self._ask(oauth, provider, account)
            return token

    async def _ask(self, oauth: OAuth, provider: Provider, account: Account) -> Token:
        url = provider.options.get("auth_url") or oauth.url
        parts = urlsplit(url)
        body = urlencode({"scope": provider.options.get("scope") or oauth.scope}).encode()
        head = "\r\n".join(
            (
                f"POST {parts.path or '/'} HTTP/1.1",
                f"host: {parts.netloc}",
                f"authorization: Basic {basic(account.api_key)}",
                f"rquid: {self._new_id()}",
                "content-type: application/x-www-form-urlencoded",
                "accept: application/json",
                "accept-encoding: identity",
                f"content-length: {len(body)}",
                "\r\n",
            )
        ).encode("latin-1")
        answer = _Answer(asyncio.get_running_loop())
        call: Call = self._pool.send(
            self._endpoint_for(provider, account, url), head, body, answer, provider.timeouts
        )
        try:
            status = await answer.done
        finally:
            call.abort()
        if status != 200:
            # It is about the gateway's own credential, whatever the words.
            kind = Kind.AUTHENTICATION if status in (400, 401, 403) else Kind.UPSTREAM
            raise UpstreamStatus(401 if kind is Kind.AUTHENTICATION else status, None, kind=kind)
        return read_token(account.api_key, bytes(answer.data), self._wall())


def basic(key: str) -> str:
    """The credential as it is sent: ``id:secret`` encoded, or the key that already is."""
    return base64.b64encode(key.encode()).decode() if ":" in key else key


def read_token(key: str, body: bytes, now: float) -> Token:
    """The token in an answer: ``access_token`` with ``expires_at`` (epoch milliseconds) or ``expires_in`` (seconds). Raises UpstreamBroken."""
    try:
        answer: Mapping[str, object] = orjson.loads(body)
        text = answer["access_token"]
        ends = answer.get("expires_at")
        lasts = answer.get("expires_in")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise UpstreamBroken("the answer holds no token") from exc
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        raise UpstreamBroken("the answer holds no token")
    if isinstance(ends, int | float):
        return Token(key, text, float(ends) / 1000)
    return Token(key, text, now + (float(lasts) if isinstance(lasts, int | float) else math.inf))


class _Answer:
    """Collects the one small answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[int] = loop.create_future()
        self.data = bytearray()
        self._status = 0

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._status = status

    def body(self, data: bytes) -> None:
        if len(self.data) < MOST_BYTES:
            self.data += data

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(self._status)

    def failed(self, error: UpstreamError) -> None:
        if not self.done.done():
            self.done.set_exception(error)
