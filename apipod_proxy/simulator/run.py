"""Starts the simulator: within a test or the demo, or as a command of its own."""

from __future__ import annotations

import asyncio
import signal
from collections import deque

import uvloop
from aiohttp import web

from apipod_proxy.simulator.ledger import Faults, Recorded, Stats
from apipod_proxy.simulator.server import make_app
from apipod_proxy.simulator.surfaces import LEDGER

_BACKLOG = 4096
# A stream that is being sent when the simulator closes is not worth waiting for.
_SHUTDOWN_SECONDS = 0.1


class Simulator:
    """A running simulator."""

    def __init__(self, runner: web.AppRunner, url: str) -> None:
        self._runner = runner
        self.url = url
        self._ledger = runner.app[LEDGER]

    @property
    def stats(self) -> Stats:
        """How many requests there were, and are open."""
        return self._ledger.stats

    @property
    def requests(self) -> deque[Recorded]:
        """The last requests, oldest first."""
        return self._ledger.requests

    @property
    def faults(self) -> Faults:
        """What goes wrong, and for whom."""
        return self._ledger.faults

    async def close(self) -> None:
        """Stops to listen and cuts what is open."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Simulator:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def start(host: str = "127.0.0.1", port: int = 0, *, seed: int | None = None) -> Simulator:
    """Starts a simulator in this event loop; port 0 takes a free one, which its `url` tells."""
    runner = web.AppRunner(
        make_app(seed=seed), handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=_BACKLOG)
    await site.start()
    host, port = runner.addresses[0][:2]
    return Simulator(runner, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")


def run(addr: str = "127.0.0.1:9100") -> None:
    """Serves until SIGINT or SIGTERM; `addr` is HOST:PORT, or just a port."""
    host, _, port = addr.rpartition(":")

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with await start(host.strip("[]") or "127.0.0.1", int(port)) as simulator:
            print(f"simulator: listening on {simulator.url}", flush=True)  # noqa: T201 - the command's own output
            await stop.wait()

    uvloop.run(serve())
