"""The request for a tunnel that a forward proxy is sent before TLS to the server behind it begins."""

from __future__ import annotations

import asyncio
import re
from typing import Final, cast

ANSWER_LIMIT: Final = 16 * 1024
_ACCEPTED: Final = re.compile(rb"HTTP/1\.[01] 2\d\d[ \r]")


class TunnelRefused(OSError):
    """The proxy said no; ``answer`` is the first line of what it said."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.answer = answer

    def __str__(self) -> str:
        return f"the proxy opened no tunnel: {self.answer}"


class TunnelRequest(asyncio.Protocol):
    """Writes ``head`` and waits for the proxy's answer; ``opened`` is done or raises OSError."""

    def __init__(self, head: bytes) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = head
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no class of asyncio's.
        cast(asyncio.Transport, transport).write(self._head)

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        self._answer += data
        head, blank, rest = self._answer.partition(b"\r\n\r\n")
        if not blank:
            if len(self._answer) > ANSWER_LIMIT:
                self._refuse("its answer has no end")
        elif rest:
            # TLS begins with the client: a server behind the tunnel has nothing to say yet.
            self._refuse("it sent bytes of its own into the tunnel")
        elif _ACCEPTED.match(head + b"\r"):
            self.opened.set_result(None)
        else:
            self._refuse(head.split(b"\r\n", 1)[0][:100].decode("latin-1"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self._refuse("it closed the connection")
            # Whoever waits may have been cancelled in the same moment.
            self.opened.exception()

    def _refuse(self, answer: str) -> None:
        self.opened.set_exception(TunnelRefused(answer))
