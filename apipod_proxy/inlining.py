"""Files by URL become part of a request before it goes to a provider that cannot load them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from apipod_proxy.catalog.model import Candidate
from apipod_proxy.dialect.identity import read_request
from apipod_proxy.dialect.links import (
    Link,
    check_kind,
    dumps,
    from_data_url,
    links_in,
    may_hold_links,
    needed,
)
from apipod_proxy.errors import BadRequest
from apipod_proxy.exchange import Exchange
from apipod_proxy.upstream.hosts import Unfetchable
from apipod_proxy.upstream.media import MEGABYTE, SECONDS, Fetched
from apipod_proxy.upstream.provider import ProviderType
from apipod_proxy.upstream.sniff import sniff

MOST_FILES = 20
MOST_BYTES = 48 * MEGABYTE
"""Of all files of one request together."""

Fetch = Callable[[str, Mapping[str, str]], Awaitable[Fetched]]
"""(URL, headers) -> the file; raises Unfetchable."""


AT_ONCE = 4
"""Files of one request that are fetched at the same time; with their sizes this bounds its memory."""


@dataclass(slots=True)
class Room:
    """What the files of one request share. ``size``: bytes fetched so far."""

    places: asyncio.Semaphore
    size: int = 0


class Inliner:
    """``seconds`` is what all files of a request may take together."""

    def __init__(
        self,
        fetch: Fetch,
        type_of: Callable[[Candidate], ProviderType],
        seconds: float = SECONDS,
    ) -> None:
        self._fetch = fetch
        self._type_of = type_of
        self._seconds = seconds
        self._loads: dict[tuple[str, str], bool] = {}

    def wants(self, x: Exchange, candidate: Candidate) -> bool:
        """Whether the request may hold what ``candidate`` cannot load. Cheap, and wrong in one direction only."""
        name = x.dialect.name
        key = (name, candidate.provider.type)
        loads = self._loads.get(key)
        if loads is None:
            loads = self._loads[key] = self._loads_urls(name, self._type_of(candidate))
        return may_hold_links(name, x.body if x.top is None else x.top.brief, loads=loads)

    def _loads_urls(self, name: str, kind: ProviderType) -> bool:
        """Whether the client's URLs may go to this kind of provider as they are."""
        spoken = kind.speaks(name)
        return spoken is None or (spoken == name and kind.surfaces[spoken].quirks.fetches_urls)

    async def inline(self, x: Exchange, candidate: Candidate) -> None:
        """Put the files that ``candidate`` cannot load into ``x.body``. Raises BadRequest with the path of the part that fails."""
        kind = self._type_of(candidate)
        spoken = kind.speaks(x.dialect.name)
        if spoken is None:
            return
        body = json.loads(x.body)
        found = needed(
            links_in(x.dialect.name, body),
            spoken,
            spliced=spoken == x.dialect.name,
            fetches_urls=kind.surfaces[spoken].quirks.fetches_urls,
        )
        if not found:
            return
        if len(found) > MOST_FILES:
            raise BadRequest(f"At most {MOST_FILES} files of a request are fetched", found[MOST_FILES].path)
        for link, fetched in zip(found, await self._fetch_all(found), strict=True):
            check_kind(link, fetched.media_type)
            link.put(fetched.data, fetched.media_type)
        x.body = dumps(body)
        x.top = read_request(x.dialect.name, x.body, model=x.requested_model, stream=x.streamed)
        x.call = None

    async def _fetch_all(self, found: list[Link]) -> list[Fetched]:
        """A few at a time; the first that fails ends the others."""
        room = Room(asyncio.Semaphore(AT_ONCE))
        tasks = [asyncio.create_task(self._one(link, room)) for link in found]
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.gather(*tasks)
        except TimeoutError as exc:
            late = f"The files could not be fetched within {self._seconds:g} s"
            raise BadRequest(late, found[0].path) from exc
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, link: Link, room: Room) -> Fetched:
        async with room.places:
            fetched = await self._get(link)
        room.size += len(fetched.data)
        if room.size > MOST_BYTES:
            raise BadRequest(
                f"The files of a request may have {MOST_BYTES // MEGABYTE} MB together", link.path
            )
        return fetched

    async def _get(self, link: Link) -> Fetched:
        if link.url.startswith("data:"):
            data = from_data_url(link.url)
            if data is None:
                raise BadRequest("Expected a data URL in base64: data:<media type>;base64,<data>", link.path)
            return Fetched(data, sniff(data))
        try:
            return await self._fetch(link.url, link.headers)
        except Unfetchable as exc:
            raise BadRequest(f"The file cannot be fetched. {exc}", link.path) from exc
