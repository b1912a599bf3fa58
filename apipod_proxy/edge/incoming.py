"""A request on the hot path: what handlers of completions read of it, without the machinery of a general one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aiohttp import web

from apipod_proxy.edge.head import Head
from apipod_proxy.errors import RequestTimeout

if TYPE_CHECKING:
    from apipod_proxy.edge.door import Door


class Incoming:
    """Has the attributes of aiohttp's request that the handlers use. ``whole`` is the body, None until all of it is here."""

    __slots__ = (
        "_arrived",
        "_missing",
        "_pieces",
        "head",
        "headers",
        "keep_alive",
        "path",
        "protocol",
        "raw_path",
        "whole",
    )

    method: Final = "POST"
    version: Final = (1, 1)

    def __init__(self, door: Door, head: Head, whole: bytes | None) -> None:
        self.protocol = door
        self.head = head
        self.headers = head.headers
        self.path = head.path
        self.raw_path = head.raw_path
        self.keep_alive = head.keep_alive
        self.whole = whole
        self._missing = 0

    def __repr__(self) -> str:
        return f"<Incoming {self.path} {'whole' if self.whole is not None else f'{self._missing} bytes missing'}>"

    @property
    def query(self) -> Mapping[str, str]:
        return self.head.query

    @property
    def remote(self) -> str | None:
        return self.protocol.remote

    @property
    def writer(self) -> Door:
        """Who can be waited for until the client has taken more."""
        return self.protocol

    def await_body(self, first: bytes, length: int) -> None:
        """The body has ``length`` bytes, of which ``first`` came with the head."""
        self._pieces = [first] if first else []
        self._missing = length - len(first)
        self._arrived: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> bytes:
        """Take more of the body; gives what is left of ``data`` behind its end."""
        rest = data[self._missing :]
        self._pieces.append(data[: self._missing] if rest else data)
        self._missing -= len(data) - len(rest)
        if not self._missing:
            self.whole = b"".join(self._pieces)
            self._pieces.clear()
            if self._arrived is not None and not self._arrived.done():
                self._arrived.set_result(None)
        return rest

    async def read(self, idle_seconds: float) -> bytes:
        """The whole body. RequestTimeout where nothing of it comes for ``idle_seconds``, at the latest after twice of them."""
        while self.whole is None:
            missing = self._missing
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(idle_seconds):
                    await self._arrived
            except TimeoutError as exc:
                if self._missing == missing:
                    raise RequestTimeout from exc
        return self.whole


Request = web.BaseRequest | Incoming
"""What handlers before the router are given."""


def is_read(request: Request) -> bool:
    """Whether nothing of the request is still on its way."""
    if isinstance(request, Incoming):
        return request.whole is not None
    return request.content.is_eof()
