"""A streamed answer to a client of Gemini that asked for a JSON array instead of an event stream."""

from __future__ import annotations

from typing import Protocol

from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.incoming import Request

ARRAY_HEAD = (
    b"content-type: application/json; charset=UTF-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class Framing(Protocol):
    """Events → array elements."""

    def feed(self, data: bytes) -> bytes: ...
    def eof(self) -> bytes: ...


class ArrayAnswer(Answer):
    """Whoever writes events to it need not know: each becomes an element, and the end closes the array."""

    __slots__ = ("_framing",)

    def __init__(self, request: Request, date: bytes, framing: Framing) -> None:
        super().__init__(request, date)
        self._framing = framing

    def begin_stream(self, content: bytes = ARRAY_HEAD) -> None:
        super().begin_stream(ARRAY_HEAD)

    def write(self, data: bytes) -> bool:
        elements = self._framing.feed(data)
        return super().write(elements) if elements else False

    def end(self) -> None:
        if not self.ended:
            super().write(self._framing.eof())
        super().end()

    def send(self, status: int, content_type: bytes, body: bytes, *, head_only: bool = False) -> None:
        """Errors before the stream are one element."""
        super().send(status, content_type, b"[%b]" % body if body else body, head_only=head_only)
