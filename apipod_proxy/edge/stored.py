"""``GET`` and ``DELETE /v1/responses/{id}``, and ``GET …/input_items``: responses that the gateway keeps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from apipod_proxy.edge.render import RESPONSES
from apipod_proxy.errors import BadRequest, NoSuch

if TYPE_CHECKING:
    from apipod_proxy.auth import Principal

Identify = Callable[[web.BaseRequest, str], "Principal"]
"""(request, dialect) -> who asks; raises Unauthenticated and Forbidden."""

Read = Callable[[str, str], Awaitable[bytes | None]]
"""(id, user id) -> the response as JSON, None where there is none for this user."""

Delete = Callable[[str, str], Awaitable[bool]]
"""(id, user id) -> whether there was one."""

Items = Callable[[str, str], Awaitable[list[dict[str, Any]] | None]]
"""(id, user id) -> the items that went into the response, oldest first, each with its id; None where there is none for this user."""

WHAT = "response"
PAGE = 20
LARGEST_PAGE = 100


class StoredResponses:
    """Only its owner finds a response; for all others there is none."""

    def __init__(self, identify: Identify, read: Read, delete: Delete, items: Items) -> None:
        self._identify = identify
        self._read = read
        self._delete = delete
        self._items = items

    async def one(self, request: web.Request) -> web.StreamResponse:
        """The response as it was given. Only background responses can be streamed later, and the gateway keeps none of them."""
        owner, response_id = self._asked(request)
        if request.query.get("stream", "").lower() == "true":
            raise BadRequest(
                "This response was not made in the background and cannot be streamed", "$.stream"
            )
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

    async def input_items(self, request: web.Request) -> web.StreamResponse:
        """A page of what went into the response, the newest item first unless ``order`` says otherwise."""
        owner, response_id = self._asked(request)
        page = request.query
        limit = page.get("limit", str(PAGE))
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= LARGEST_PAGE):
            raise BadRequest(f"Expected a number from 1 to {LARGEST_PAGE}", "$.limit")
        order = page.get("order", "desc")
        if order not in ("asc", "desc"):
            raise BadRequest("Expected asc or desc", "$.order")
        found = await self._items(response_id, owner)
        if found is None:
            raise NoSuch(WHAT, response_id)
        if order == "desc":
            found = found[::-1]
        ids = [item["id"] for item in found]
        after = page.get("after")
        if after is not None and after not in ids:
            raise BadRequest("There is no such item", "$.after")
        start = 0 if after is None else ids.index(after) + 1
        shown = found[start : start + int(limit)]
        told = {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": start + len(shown) < len(found),
        }
        return web.Response(body=orjson.dumps(told), content_type="application/json")

    def _asked(self, request: web.Request) -> tuple[str, str]:
        return self._identify(request, RESPONSES).user.id, request.match_info["id"]
