"""Cross-origin access from browsers: closed, unless origins are configured."""

from __future__ import annotations

from aiohttp import web

METHODS = "GET, POST, PATCH, PUT, DELETE, OPTIONS"
# All of them: the names of limits' headers are many. The star means that, as long as cookies are not allowed.
EXPOSED = "*"
MAX_AGE_SECONDS = "600"


class Cors:
    """``origins`` as browsers send them; ``*`` allows all."""

    __slots__ = ("_any", "_origins")

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in origins)
        self._any = "*" in self._origins

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers(self, origin: str | None) -> list[tuple[str, str]]:
        """What an answer to a page of ``origin`` carries; nothing where it is not allowed."""
        if origin is None or not (self._any or origin in self._origins):
            return []
        return [
            ("access-control-allow-origin", "*" if self._any else origin),
            ("access-control-expose-headers", EXPOSED),
            ("vary", "origin"),
        ]

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """The answer to a preflight of an allowed origin, else None."""
        if request.method != "OPTIONS" or "access-control-request-method" not in request.headers:
            return None
        allowed = self.headers(request.headers.get("origin"))
        if not allowed:
            return None
        asked = request.headers.get(
            "access-control-request-headers", "authorization, content-type, x-api-key"
        )
        return web.Response(
            status=204,
            headers=dict(allowed)
            | {
                "access-control-allow-methods": METHODS,
                "access-control-allow-headers": asked,
                "access-control-max-age": MAX_AGE_SECONDS,
            },
        )
