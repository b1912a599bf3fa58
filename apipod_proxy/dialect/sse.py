"""Framing of server-sent events: bytes → frames, for any split of the bytes, in linear time."""

from __future__ import annotations

from typing import NamedTuple

MAX_FRAME = 32 * 1024 * 1024
"""Bytes that one event may have; a longer one is given up, and the stream goes on behind it."""


class Frame(NamedTuple):
    """One event. ``event`` is empty where no name was given; ``data`` is None for an event that was too long."""

    event: str
    data: bytes | None


class FrameReader:
    """Takes ``\\n``, ``\\r\\n`` and ``\\r`` as line ends, one optional blank after the colon, several ``data`` lines, comments.

    A line that begins with a brace is taken as data: some providers put an error into a started stream as a bare JSON line, and llama.cpp
    as the value of a field of its own.
    """

    __slots__ = (
        "_after_cr",
        "_begun",
        "_clean",
        "_data",
        "_event",
        "_limit",
        "_partial",
        "_pieces",
        "_size",
        "_skipping",
    )

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        """The unfinished line. Kept in pieces, so that a long line is neither copied nor searched again with each read."""
        self._partial = 0
        self._size = 0
        """Bytes of the unfinished event in whole lines; ``_partial``: in the unfinished line."""
        self._data: list[bytes] = []
        self._event = ""
        self._after_cr = False
        self._begun = False
        self._skipping = False
        self._clean = False
        """Whether nothing at all is held: the next read begins with an event."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes."""
        if self._clean and data[:6] == b"data: " and (size := len(data)) <= self._limit:
            # One event of one line, as nearly every read of a stream is. Gemini ends its lines with two bytes.
            end = data.find(b"\r")
            if end < 0:
                if data.find(b"\n") == size - 2 and data[-1:] == b"\n":
                    return [tuple.__new__(Frame, ("", data[6:-2]))]
            elif end == size - 4 and data[-4:] == b"\r\n\r\n" and data.find(b"\n") == size - 3:
                return [tuple.__new__(Frame, ("", data[6:-4]))]
        if not self._begun and data:
            data = self._begin(data)
        if b"\r" in data or self._after_cr:
            data = self._without_cr(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        frames: list[Frame] = []
        if lines:
            if self._pieces:
                self._pieces.append(lines[0])
                lines[0] = b"".join(self._pieces)
                self._pieces.clear()
                self._partial = 0
            for line in lines:
                self._line(line, frames)
        if rest:
            self._pieces.append(rest)
            self._partial += len(rest)
            if self._size + self._partial > self._limit:
                self._skip()
        self._clean = self._begun and not (
            rest or self._pieces or self._data or self._event or self._skipping or self._after_cr
        )
        return frames

    def eof(self) -> list[Frame]:
        """The frame that lacks its last blank line, if there is one."""
        frames: list[Frame] = []
        if self._pieces:
            last = b"".join(self._pieces)
            self._pieces.clear()
            self._line(last, frames)
        self._line(b"", frames)
        return frames

    def _begin(self, data: bytes) -> bytes:
        """Drop a byte order mark, which may come in pieces."""
        head = b"".join((*self._pieces, data))
        if len(head) < 3 and b"\xef\xbb\xbf".startswith(head):
            self._pieces = [head]
            return b""
        self._pieces.clear()
        self._begun = True
        return head.removeprefix(b"\xef\xbb\xbf")

    def _without_cr(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            if not data:
                self._after_cr = False
                return data
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if not line:
            if self._data:
                value = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                frames.append(Frame(self._event, value))
                self._data.clear()
            elif self._skipping:
                frames.append(Frame(self._event, None))
            self._event = ""
            self._size = 0
            self._skipping = False
        elif line.startswith(b"data:"):
            self._add(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            name = line[7:] if line[6:7] == b" " else line[6:]
            self._event = name.decode("utf-8", "replace")
        elif line.startswith(b"{"):
            self._add(line)
        elif line.startswith(b"error:"):
            self._event = "error"
            self._add(line[6:].lstrip())

    def _add(self, value: bytes) -> None:
        if self._skipping:
            return
        self._data.append(value)
        self._size += len(value)
        if self._size > self._limit:
            self._skip()

    def _skip(self) -> None:
        """Give up the event: forget what was held; a line that has begun stays known as one that is no blank line."""
        self._skipping = True
        self._data.clear()
        if self._pieces:
            self._pieces = [b":"]
        self._partial = 0
        self._size = 0


class Splitter:
    """Any split of a stream → whole events, as they stood on the wire. What is not yet whole is held.

    An event over the limit is passed on in pieces, so memory stays bounded and the client misses nothing.
    """

    __slots__ = ("_limit", "_size", "_tail", "held")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self.held: list[bytes] = []
        """Pieces of the event that is not whole yet; empty between two events."""
        self._size = 0
        self._tail = b""
        """The last three bytes held: a boundary may begin in them."""

    def feed(self, data: bytes) -> bytes:
        """The whole events so far."""
        if not self.held:
            if data.endswith(b"\n\n"):
                return data
            return self._hold(data, last_boundary(data))
        cut = last_boundary(self._tail + data) - len(self._tail)
        if cut <= 0:
            return self._hold(data, 0)
        return self.eof() + self._hold(data, cut)

    def eof(self) -> bytes:
        """What never became whole."""
        rest = b"".join(self.held)
        self.held.clear()
        self._size = 0
        self._tail = b""
        return rest

    def _hold(self, data: bytes, cut: int) -> bytes:
        rest = data[cut:]
        if rest:
            self.held.append(rest)
            self._size += len(rest)
            self._tail = rest[-3:] if len(rest) >= 3 else (self._tail + rest)[-3:]
            if self._size > self._limit:
                return data[:cut] + self.eof()
        return data[:cut]


def last_boundary(data: bytes) -> int:
    """The offset behind the last blank line in ``data``; 0 where there is none."""
    found = data.rfind(b"\n\n")
    end = found + 2 if found >= 0 else 0
    if b"\r" in data:
        found = data.rfind(b"\n\r\n")
        end = max(end, found + 3 if found >= 0 else 0)
        found = data.rfind(b"\r\r")
        if found >= 0 and found + 2 > end and data[found + 2 : found + 3] != b"\n":
            end = max(end, found + 2)
    return end
