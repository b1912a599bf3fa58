"""Names to addresses, remembered for a while: the system's resolver has no cache of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

TTL: Final = 60.0
STALE_WAIT: Final = 1.0
"""Seconds that a call waits for fresh addresses while it has old ones."""
CACHE_LIMIT: Final = 1024


class Address(NamedTuple):
    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
    """As the socket module has it."""


Lookup = Callable[[str, int], Awaitable[list[Address]]]


class _Entry(NamedTuple):
    addresses: list[Address]
    expires: float


async def system_lookup(host: str, port: int) -> list[Address]:
    """Asks the system off the loop. Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:
        raise OSError(f"{host} is no name of a host") from exc
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


def literal(host: str, port: int) -> Address | None:
    """The address when ``host`` is one already."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return Address(socket.AF_INET, (host, port))
    return Address(socket.AF_INET6, (host, port, 0, 0))


def interleave(addresses: list[Address]) -> list[Address]:
    """Alternate the families, beginning with the first one's, so that one dead family costs one attempt (RFC 8305 section 4)."""
    first = [each for each in addresses if each.family == addresses[0].family]
    other = [each for each in addresses if each.family != addresses[0].family]
    mixed: list[Address] = []
    for index in range(max(len(first), len(other))):
        mixed += first[index : index + 1] + other[index : index + 1]
    return mixed


class Resolver:
    """``resolve`` answers from memory for ``ttl`` seconds, and with old addresses while the resolver fails or is slow."""

    __slots__ = ("_clock", "_entries", "_lookup", "_pending", "_ttl", "_turn")

    def __init__(
        self,
        *,
        ttl: float = TTL,
        lookup: Lookup = system_lookup,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``clock`` defaults to that of the running loop."""
        self._ttl = ttl
        self._lookup = lookup
        self._clock = clock or asyncio.get_running_loop().time
        self._entries: dict[tuple[str, int], _Entry] = {}
        self._pending: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}
        self._turn = 0

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Every address of ``host``, in the order to try them, never none. Raises OSError."""
        entry = self._entries.get((host, port))
        if entry is None:
            address = literal(host, port)
            if address is not None:
                # Kept like an answer, because reading an address costs more than remembering it.
                self._keep(host, port, [address], math.inf)
                return [address]
            # Shielded: the lookup is shared, and the caller that gives up is not the only one.
            addresses = await asyncio.shield(self._fresh(host, port))
        elif entry.expires > self._clock():
            addresses = entry.addresses
        else:
            pending = self._fresh(host, port)
            await asyncio.wait([pending], timeout=STALE_WAIT)
            known = pending.done() and not pending.cancelled() and pending.exception() is None
            addresses = pending.result() if known else entry.addresses
        if len(addresses) == 1:
            return addresses
        # A name with several addresses means several servers: each connection starts with another one.
        self._turn += 1
        lead = addresses[0].family
        same = sum(each.family == lead for each in addresses)
        turn = self._turn % same
        preferred = [each for each in addresses if each.family == lead]
        return interleave(
            preferred[turn:] + preferred[:turn] + [each for each in addresses if each.family != lead]
        )

    def _fresh(self, host: str, port: int) -> asyncio.Task[list[Address]]:
        key = (host, port)
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = asyncio.get_running_loop().create_task(self._ask(host, port))
            pending.add_done_callback(self._asked(key))
        return pending

    def _asked(self, key: tuple[str, int]) -> Callable[[asyncio.Task[list[Address]]], None]:
        def forget(task: asyncio.Task[list[Address]]) -> None:
            del self._pending[key]
            if not task.cancelled():
                task.exception()  # everybody who waited may have given up

        return forget

    async def _ask(self, host: str, port: int) -> list[Address]:
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        if not addresses:
            raise OSError(f"{host} has no address")
        self._keep(host, port, addresses, self._clock() + self._ttl)
        return addresses

    def _keep(self, host: str, port: int, addresses: list[Address], expires: float) -> None:
        if len(self._entries) >= CACHE_LIMIT:
            self._entries.clear()
        self._entries[host, port] = _Entry(addresses, expires)

    async def close(self) -> None:
        """Give up lookups under way."""
        pending = list(self._pending.values())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
