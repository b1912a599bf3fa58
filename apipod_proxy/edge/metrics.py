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


def merged(texts: Mapping[int, bytes | None]) -> bytes:
    """The expositions of all workers, by number, as one: samples of one name and label set are added up.

    Gauges in seconds (a lag, an uptime) do not add up: of them the largest stands. None is a worker that did not answer: it is named.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, dict[str, float]] = {}
    kinds: dict[str, str] = {}
    for text in texts.values():
        _merge_one((text or b"").decode(), heads, samples, kinds)
    lines = [
        "# HELP apipod_worker_up Whether the worker answered.",
        "# TYPE apipod_worker_up gauge",
        *(f'apipod_worker_up{{worker="{number}"}} {int(text is not None)}' for number, text in texts.items()),
    ]
    for family, found in samples.items():
        lines += heads.get(family, [])
        lines += [f"{name} {_number(value)}" for name, value in found.items()]
    return "\n".join(lines).encode() + b"\n"


def _merge_one(
    text: str, heads: dict[str, list[str]], samples: dict[str, dict[str, float]], kinds: dict[str, str]
) -> None:
    family = ""
    known = set(heads)
    for line in text.splitlines():
        if line.startswith("#"):
            parts = line.split(None, 3)
            if len(parts) < 3:
                continue
            family = parts[2]
            if parts[1] == "TYPE":
                kinds[family] = parts[3] if len(parts) > 3 else ""
            if family not in known:
                heads.setdefault(family, []).append(line)
            samples.setdefault(family, {})
            continue
        name, _, value = line.rpartition(" ")
        if not name:
            continue
        found = samples.setdefault(family, {})
        number = float(value)
        before = found.get(name)
        if before is None:
            found[name] = number
        elif kinds.get(family) == "gauge" and family.endswith("_seconds"):
            found[name] = max(before, number)
        else:
            found[name] = before + number


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
