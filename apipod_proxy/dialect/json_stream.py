"""JSON objects out of a stream that is no event stream: an array that arrives element by element, or objects one after another."""

from __future__ import annotations

import re

from apipod_proxy.dialect.sse import MAX_FRAME

_MARKS = re.compile(rb'["{}]')
_IN_STRING = re.compile(rb'["\\]')


class ObjectReader:
    """Takes any split of the bytes and gives each object of the outermost level; what stands between objects is skipped.

    An object longer than ``limit`` is given up as an empty piece. Each byte is looked at once.
    """

    __slots__ = ("_depth", "_escaped", "_held", "_in_string", "_limit", "_size")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._held: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that ``data`` completes."""
        objects: list[bytes] = []
        start = at = 0
        while True:
            if self._in_string:
                at = self._string(data, at)
                if self._in_string:
                    break
            found = _MARKS.search(data, at)
            if found is None:
                break
            mark = found[0]
            at = found.end()
            if mark == b'"':
                self._in_string = True
            elif mark == b"{":
                if self._depth == 0:
                    start = found.start()
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    objects.append(
                        b"".join((*self._held, data[start:at])) if self._size <= self._limit else b""
                    )
                    self._held.clear()
                    self._size = 0
                    start = at
        if self._depth:
            self._hold(data[start:])
        return objects

    @property
    def inside(self) -> bool:
        """Whether an object has begun and is not whole."""
        return self._depth > 0

    def _string(self, data: bytes, at: int) -> int:
        """Skip to the end of the string that ``data`` is in at ``at``."""
        if self._escaped and at < len(data):
            self._escaped = False
            at += 1
        while found := _IN_STRING.search(data, at):
            at = found.end()
            if found[0] == b'"':
                self._in_string = False
                return at
            if at == len(data):
                self._escaped = True
            at += 1
        return len(data)

    def _hold(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= self._limit:
            self._held.append(piece)
        else:
            self._held.clear()
