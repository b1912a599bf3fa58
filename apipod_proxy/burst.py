"""Writes of one turn of the event loop, made one right after the other."""

from __future__ import annotations

import asyncio
from typing import Final

MOST: Final = 8
"""Writes that wait for each other; none waits longer than the work for as many requests takes, which is under a millisecond."""


class Burst:
    """Collects requests to providers and whole answers to clients; events of a stream never wait here.

    A write to a process that sleeps has to wake it, which costs about as much as the write itself. Made as they come, with the work for another
    request between any two, nearly every write meets a sleeper; made together only the first one does. Measured with clients and provider on
    the same machine: 0.8 instead of 1.6 wake-ups and 8 % less CPU for a small request.
    """

    __slots__ = ("_loop", "_waiting", "crowd")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.crowd = 0
        """How many requests are under way. One that is alone has nobody to wait for."""
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write within this turn of the loop. Nothing happens where ``transport`` is closed by then: its protocol hears of that."""
        waiting = self._waiting
        waiting.append((transport, data))
        if self.crowd < 2 or len(waiting) >= MOST:
            self.flush()
        elif len(waiting) == 1:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write now what waits."""
        waiting, self._waiting = self._waiting, []
        for transport, data in waiting:
            if not transport.is_closing():
                try:
                    transport.write(data)
                except RuntimeError:
                    pass  # uvloop raises it for a handle that it has closed, before is_closing() tells
