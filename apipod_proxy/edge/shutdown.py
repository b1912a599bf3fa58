"""How a process ends: not ready → drained → no new connections → running answers finish → the rest is told → gone."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from apipod_proxy.edge.health import Health
from apipod_proxy.edge.server import Front

log = logging.getLogger("apipod_proxy.shutdown")

POLL_SECONDS = 0.02
LAST_WORDS_SECONDS = 3.0
"""What interrupted answers get to send their error event and to be booked."""


class Shutdown:
    """Waits for the signal, then ends in order. Each further signal skips what is being waited for."""

    def __init__(self, health: Health, front: Front, *, drain_seconds: float, grace_seconds: float) -> None:
        self._health = health
        self._front = front
        self._drain_seconds = drain_seconds
        self._grace_seconds = grace_seconds
        self._signals = 0
        self._asked = asyncio.Event()
        self._changed = asyncio.Event()

    def listen(self, loop: asyncio.AbstractEventLoop, *, alone: bool = True) -> None:
        """SIGTERM and SIGINT end the process from now on; SIGTERM only, where a parent passes it on.

        Ctrl-C reaches every process of a terminal: with the one from its parent a worker would count two, and make haste.
        """
        loop.add_signal_handler(signal.SIGTERM, self.request)
        if alone:
            loop.add_signal_handler(signal.SIGINT, self.request)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def request(self) -> None:
        self._signals += 1
        self._asked.set()
        self._changed.set()

    async def requested(self) -> None:
        await self._asked.wait()

    async def drain(
        self, stop_listening: Callable[[], Awaitable[None]], interrupt: Callable[[], None]
    ) -> None:
        """All phases up to the last answer; what is still open then is cut by the caller. ``interrupt`` ends running answers in-band."""
        self._health.draining = True
        log.info("Stopping.", extra={"open_requests": self._front.busy, "drain_seconds": self._drain_seconds})
        await self._wait(self._drain_seconds, lambda: False)
        await stop_listening()
        self._front.close_idle()
        if not await self._wait(self._grace_seconds, self._is_idle):
            log.warning("Interrupting what still runs.", extra={"open_requests": self._front.busy})
            interrupt()
            await self._wait(LAST_WORDS_SECONDS, self._is_idle)

    def _is_idle(self) -> bool:
        return self._front.busy == 0

    async def _wait(self, seconds: float, done: Callable[[], bool]) -> bool:
        """Until ``done``, the time is over, or one more signal asks for haste. Says whether it is done."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        signals = self._signals
        while not done():
            left = deadline - loop.time()
            if left <= 0 or self._signals > signals:
                return False
            self._changed.clear()
            try:
                async with asyncio.timeout(min(left, POLL_SECONDS) if seconds else 0):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return True
