"""``GET /metrics``: who may read it, and the figures of all workers as one text."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from apipod_proxy.edge.peer import is_local
from apipod_proxy.errors import Forbidden

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REFUSAL = "The metrics are open to the admin secret (x-admin-secret), to METRICS_TOKEN (Authorization: Bearer) and on loopback."

Collect = Callable[[], Awaitable[bytes]]


class Metrics:
    """Serves what ``collect`` gives to whom the settings allow."""

    def __init__(self, collect: Collect, admin_secret: str | None, token: str | None) -> None:
        self._collect = collect
        self._admin_secret = admin_secret
        self._token = token

    async def handle(self, request: web.Request) -> web.Response:
        if not self._may_read(request):
            raise Forbidden(REFUSAL)
        return web.Response(
            body=await self._collect(), headers={"content-type": CONTENT_TYPE, "cache-control": "no-store"}
        )

    def _may_read(self, request: web.Request) -> bool:
        if is_local(request):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        bearer = given.strip() if scheme.lower() == "bearer" else ""
        return _equal(request.headers.get("x-admin-secret", ""), self._admin_secret) or _equal(
            bearer, self._token
        )


def _equal(given: str, wanted: str | None) -> bool:
    """Compared in a time that says nothing of how much was right; nothing equals an unset secret."""
    return bool(wanted) and hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), (wanted or "").encode("utf-8", "surrogateescape")
    )


def workers_text(answered: Mapping[int, bool]) -> bytes:
    """Which worker is in the figures, by number: one that is missing is named."""
    lines = [
        "# HELP apipod_worker_up Whether the worker answered.",
        "# TYPE apipod_worker_up gauge",
        *(f'apipod_worker_up{{worker="{number}"}} {int(up)}' for number, up in sorted(answered.items())),
    ]
    return "\n".join(lines).encode() + b"\n"
