"""``GET`` and ``DELETE /v1/responses/{id}``: responses that the gateway keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from apipod_proxy.edge.render import RESPONSES
from apipod_proxy.errors import NoSuch

if TYPE_CHECKING:
    from apipod_proxy.auth import Principal

Identify = Callable[[web.BaseRequest, str], "Principal"]
"""(request, dialect) -> who asks; raises Unauthenticated and Forbidden."""

Read = Callable[[str, str], Awaitable[bytes | None]]
"""(id, user id) -> the response as JSON, None where there is none for this user."""

Delete = Callable[[str, str], Awaitable[bool]]
"""(id, user id) -> whether there was one."""

WHAT = "response"


class StoredResponses:
    """Only its owner finds a response; for all others there is none."""

    def __init__(self, identify: Identify, read: Read, delete: Delete) -> None:
        self._identify = identify
        self._read = read
        self._delete = delete

    async def one(self, request: web.Request) -> web.StreamResponse:
        """The response as it was given."""
        owner, response_id = self._asked(request)
        found = await self._read(response_id, owner)
        if found is None:
            raise NoSuch(WHAT, response_id)
        return web.Response(body=found, content_type="application/json")

    async def forget(self, request: web.Request) -> web.StreamResponse:
        owner, response_id = self._asked(request)
        if not await self._delete(response_id, owner):
            raise NoSuch(WHAT, response_id)
        said = {"id": response_id, "object": "response", "deleted": True}
        return web.Response(body=orjson.dumps(said), content_type="application/json")

    def _asked(self, request: web.Request) -> tuple[str, str]:
        return self._identify(request, RESPONSES).user.id, request.match_info["id"]
