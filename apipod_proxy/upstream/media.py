"""Fetches files that clients name by URL, in a network that is taken to be hostile.

The host is resolved once; if any of its addresses is not public the fetch is refused, and only the addresses that were judged are dialled.
Every redirect is judged anew. No proxy of the environment, no cookies, no credentials but those that the client gave for this very URL, and
these stay with its host. This is off the path of completions, so aiohttp's client serves.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from apipod_proxy.upstream.dns import Lookup, system_lookup
from apipod_proxy.upstream.hosts import Unfetchable, Url, follow, is_public, not_public, read_url, same_site
from apipod_proxy.upstream.sniff import sniff

MEGABYTE: Final = 1024 * 1024
LARGEST: Final = 20 * MEGABYTE
SECONDS: Final = 15.0
MOST_REDIRECTS: Final = 3
MOST_HEADERS: Final = 20
LONGEST_HEADERS: Final = 8192
CACHE_BYTES: Final = 64 * MEGABYTE
CACHE_SECONDS: Final = 300.0

REDIRECTS = frozenset({301, 302, 303, 307, 308})
OURS = frozenset(
    {
        *("host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer"),
        *("upgrade", "expect", "keep-alive", "accept-encoding", "range", "via", "forwarded", "user-agent"),
    }
)
"""Headers that are not the client's to set, as are all that begin with ``proxy-``."""


class Fetched(NamedTuple):
    data: bytes
    media_type: str


class _Kept(NamedTuple):
    fetched: Fetched
    expires: float


class MediaCache:
    """What was fetched lately, by URL: at most ``most`` bytes, each for ``seconds``."""

    def __init__(
        self, clock: Callable[[], float], most: int = CACHE_BYTES, seconds: float = CACHE_SECONDS
    ) -> None:
        self._clock = clock
        self._most = most
        self._seconds = seconds
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.size = 0

    def get(self, url: str) -> Fetched | None:
        kept = self._kept.get(url)
        if kept is None:
            return None
        if kept.expires <= self._clock():
            self._drop(url)
            return None
        self._kept.move_to_end(url)
        return kept.fetched

    def put(self, url: str, fetched: Fetched) -> None:
        if url in self._kept:
            self._drop(url)
        self._kept[url] = _Kept(fetched, self._clock() + self._seconds)
        self.size += len(fetched.data)
        while self.size > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, url: str) -> None:
        self.size -= len(self._kept.pop(url).fetched.data)


class MediaFetcher:
    """``trusted`` names origins (``http://127.0.0.1:8000``) that are exempt from the rules about hosts; tests fetch from these."""

    def __init__(
        self,
        user_agent: str,
        clock: Callable[[], float],
        *,
        lookup: Lookup = system_lookup,
        trusted: frozenset[str] = frozenset(),
        largest: int = LARGEST,
        seconds: float = SECONDS,
    ) -> None:
        """``clock`` gives monotonic seconds."""
        self._user_agent = user_agent
        self._lookup = lookup
        self._trusted = trusted
        self._largest = largest
        self._seconds = seconds
        self._cache = MediaCache(clock)

    async def fetch(self, text: str, headers: Mapping[str, str] | None = None) -> Fetched:
        """The file behind a URL; ``headers`` go to its own host alone. Raises Unfetchable."""
        if not headers:
            kept = self._cache.get(text)
            if kept is not None:
                return kept
        url = read_url(text, self._trusted)
        sent = checked_headers(headers or {})
        try:
            async with asyncio.timeout(self._seconds):
                fetched = await self._follow(url, sent)
        except TimeoutError as exc:
            raise Unfetchable(f"It could not be fetched within {self._seconds:g} s.") from exc
        if not headers:
            self._cache.put(text, fetched)
        return fetched

    async def _follow(self, url: Url, headers: dict[str, str]) -> Fetched:
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._ask(url, headers)
            if isinstance(answer, Fetched):
                return answer
            target = follow(url, answer, self._trusted)
            if not same_site(url, target):
                headers = {}
            url = target
        raise Unfetchable(f"It redirects more than {MOST_REDIRECTS} times.")

    async def _ask(self, url: Url, headers: dict[str, str]) -> Fetched | str:
        """The file, or where it is said to be."""
        pinned = await self._addresses(url)
        connector = aiohttp.TCPConnector(
            resolver=Pinned(url, pinned),
            use_dns_cache=False,
            force_close=True,
            socket_factory=lambda info: guarded_socket(info, pinned),
        )
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            # What is open for longer than a whole fetch may take ends with it.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._seconds),
            headers={"user-agent": self._user_agent, "accept": "*/*", "accept-encoding": "identity"},
        ) as session:
            try:
                async with session.get(
                    URL(str(url), encoded=True), headers=headers, allow_redirects=False
                ) as answer:
                    return await self._read(answer)
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                raise Unfetchable("Its server could not be reached, or broke off.") from exc

    async def _read(self, answer: aiohttp.ClientResponse) -> Fetched | str:
        if answer.status in REDIRECTS and "location" in answer.headers:
            return answer.headers["location"]
        if answer.status != 200:
            raise Unfetchable(f"Its server answered with status {answer.status}.")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise Unfetchable("Its server sent it compressed although it was not asked to.")
        too_large = Unfetchable(f"It is larger than {self._largest // MEGABYTE} MB.")
        if (answer.content_length or 0) > self._largest:
            raise too_large
        pieces: list[bytes] = []
        size = 0
        async for piece in answer.content.iter_any():
            size += len(piece)
            if size > self._largest:
                raise too_large
            pieces.append(piece)
        if not size:
            raise Unfetchable("It is empty.")
        data = b"".join(pieces)
        return Fetched(data, sniff(data))

    async def _addresses(self, url: Url) -> list[tuple[int, str]]:
        """(family, address) of everything that may be dialled."""
        trusted = url.origin in self._trusted
        if url.literal:
            return [(socket.AF_INET6 if ":" in url.host else socket.AF_INET, url.host)]
        try:
            found = await self._lookup(url.host, url.port)
        except (OSError, UnicodeError) as exc:
            raise Unfetchable("Its host has no address.") from exc
        addresses = [(one.family, str(one.sockaddr[0])) for one in found]
        if not addresses:
            raise Unfetchable("Its host has no address.")
        # One that is not public is reason enough: which of them is dialled must not be a matter of luck.
        if not trusted and not all(is_public(address) for _, address in addresses):
            raise not_public()
        return addresses


class Pinned(AbstractResolver):
    """Gives the addresses that were judged, for the one host that they were judged for."""

    def __init__(self, url: Url, addresses: Sequence[tuple[int, str]]) -> None:
        self._url = url
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host.lower().rstrip(".") != self._url.host:
            raise OSError("another host than the one that was judged")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=family,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


def guarded_socket(info: Any, pinned: Sequence[tuple[int, str]]) -> socket.socket:
    """The last gate: a socket is made for no other address than those that were judged."""
    family, kind, proto, _, sockaddr = info
    if str(sockaddr[0]) not in {address for _, address in pinned}:
        raise OSError("an address that was not judged")
    made = socket.socket(family=family, type=kind, proto=proto)
    made.setblocking(False)
    return made


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The client's headers for its file. Raises Unfetchable for what no client may set."""
    if (
        len(headers) > MOST_HEADERS
        or sum(map(len, headers)) + sum(map(len, headers.values())) > LONGEST_HEADERS
    ):
        raise Unfetchable("There are too many headers for it.")
    for name, value in headers.items():
        token = name.replace("-", "").replace("_", "")
        if (
            not (token.isascii() and token.isalnum())
            or name.lower() in OURS
            or name.lower().startswith("proxy-")
        ):
            raise Unfetchable(f"The header {name[:64]!r} cannot be sent for it.")
        if not (value.isascii() and value.isprintable()):
            raise Unfetchable(f"The header {name[:64]!r} has a value that cannot be sent.")
    return dict(headers)
