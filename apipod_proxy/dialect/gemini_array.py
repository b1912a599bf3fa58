"""``streamGenerateContent`` without ``alt=sse``: the chunks of an event stream as one JSON array, element by element."""

from __future__ import annotations

from apipod_proxy.dialect.sse import FrameReader


class ArrayFraming:
    """Takes the events that a client of Gemini would get, and gives the elements in their place. Errors are elements too."""

    __slots__ = ("_begun", "_frames")

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """The elements that ``data`` completes."""
        pieces: list[bytes] = []
        for frame in self._frames.feed(data):
            if frame.data:
                pieces += (b",\r\n" if self._begun else b"[", frame.data)
                self._begun = True
        return b"".join(pieces)

    def eof(self) -> bytes:
        """What closes the array; an event that lacks its blank line is the last element."""
        last = self.feed(b"\n\n")
        return last + (b"]" if self._begun else b"[]")
