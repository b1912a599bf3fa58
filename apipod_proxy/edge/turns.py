"""How many requests begin in one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

MOST: Final = 16
"""What they cost until they wait for something is about two milliseconds, and for so long no event of any stream moves."""


class Beginner(Protocol):
    def start(self) -> None: ...


class Turns:
    """Lets those that come together begin a few at a time, in their order.

    A loop takes up all that has arrived before it looks for more: two hundred requests of one moment would hold up every event of the streams
    under way for as long as two hundred first steps take. Between these turns the events pass.
    """

    __slots__ = ("_begun", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begun = 0
        """How many of this turn."""
        self._waiting: deque[Beginner] = deque()

    def enter(self, beginner: Beginner) -> None:
        """Start ``beginner`` now, or when its turn comes."""
        if self._begun == MOST:
            self._waiting.append(beginner)
            return
        if not self._begun:
            self._loop.call_soon(self._turn)
        self._begun += 1
        beginner.start()

    def _turn(self) -> None:
        waiting = self._waiting
        self._begun = begun = min(len(waiting), MOST)
        if begun:
            self._loop.call_soon(self._turn)
        for _ in range(begun):
            waiting.popleft().start()
