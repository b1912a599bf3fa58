"""Whether the process lives, and whether it can serve: answered from memory, without a key and without dialling anybody."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson
from aiohttp import web

from apipod_proxy.edge.server import Handler

SERVICE = "apipod-smart-proxy"

Complaint = Callable[[], str | None]
"""Says in a short sentence what is wrong right now, or None."""


class Health:
    """The state of one process. ``draining`` is set by the shutdown."""

    def __init__(
        self,
        version: str,
        monotonic: Callable[[], float],
        *,
        unable: Sequence[Complaint] = (),
        degraded: Sequence[Complaint] = (),
    ) -> None:
        self.version = version
        self.draining = False
        self.started = False
        self._monotonic = monotonic
        self._since = monotonic()
        self._unable = list(unable)
        self._degraded = list(degraded)

    def complain(self, complaint: Complaint) -> None:
        """``complaint`` is asked from now on, for ``degraded``."""
        self._degraded.append(complaint)

    def unable_if(self, complaint: Complaint) -> None:
        """``complaint`` makes the process not ready for as long as it says something."""
        self._unable.append(complaint)

    @property
    def uptime(self) -> float:
        return self._monotonic() - self._since

    def not_ready(self) -> str | None:
        """Why no new request should be sent here, or None."""
        if self.draining:
            return "draining"
        if not self.started:
            return "starting"
        return next((said for complaint in self._unable if (said := complaint())), None)

    def degraded(self) -> list[str]:
        return [said for complaint in (*self._unable, *self._degraded) if (said := complaint())]

    def report(self) -> dict[str, object]:
        """The body of ``/health``; uptime in whole seconds."""
        return {
            "status": "draining" if self.draining else "healthy",
            "service": SERVICE,
            "version": self.version,
            "uptime": int(self.uptime),
            "degraded": self.degraded(),
        }


def health_routes(health: Health, overall: Callable[[], dict[str, object]]) -> Mapping[str, Handler]:
    """GET (and HEAD) handlers by path; ``overall`` is the report of all workers."""

    async def whole(_: web.Request) -> web.Response:
        return _json(overall())

    async def live(_: web.Request) -> web.Response:
        return _json({"status": "alive"})

    async def ready(_: web.Request) -> web.Response:
        reason = health.not_ready()
        if reason is None:
            return _json({"status": "ready"})
        return _json({"status": "unavailable", "reason": reason}, status=503)

    async def root(_: web.Request) -> web.Response:
        return _json({"service": SERVICE, "version": health.version})

    async def ping(_: web.Request) -> web.Response:
        return web.Response(text="pong")

    return {"/": root, "/ping": ping, "/health": whole, "/health/live": live, "/health/ready": ready}


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(value),
        content_type="application/json",
        headers={"cache-control": "no-store"},
    )
