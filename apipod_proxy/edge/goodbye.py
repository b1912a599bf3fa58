"""The end of a connection whose client still sends: closing on unread bytes resets it, and the answer would be lost with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECONDS = 1.0
MOST_BYTES = 128 * 1024


class Goodbye:
    """Tells the client that no more comes, and reads away what is still on its way: so many bytes, until ``close`` is called in time."""

    __slots__ = ("_left", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        call_later: Callable[[float, Callable[[], None]], object],
        close: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._left = MOST_BYTES
        call_later(SECONDS, close)
        try:
            transport.write_eof()
            transport.resume_reading()
        except (OSError, RuntimeError):
            transport.abort()  # the client left between the two lines

    def discard(self, data: bytes) -> None:
        """Forget ``data``; who goes on for too long is cut."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()
