"""The reference in Python: a plain aiohttp server and ``ClientSession`` with no features at all.

python scripts/bench/bare.py PORT UPSTREAM_URL
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)


async def forward(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer upstream"}
    async with request.app[SESSION].post(sys.argv[2] + request.path, data=body, headers=headers) as answer:
        content_type = answer.headers.get("Content-Type", "")
        if not content_type.startswith("text/event-stream"):
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": content_type}
            )
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": content_type})
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    app[SESSION] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
    yield
    await app[SESSION].close()


def main() -> None:
    uvloop.install()
    app = web.Application(client_max_size=1 << 26)
    app.cleanup_ctx.append(session)
    app.router.add_post("/{path:.*}", forward)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, backlog=16384)


if __name__ == "__main__":
    main()
