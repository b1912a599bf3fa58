"""Request ids: ``req_`` and 24 URL-safe characters, of which the first eight say when."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable

RANDOM_BYTES = 12
IDS_PER_DRAW = 256

TICK = 0.01
"""Seconds that share one time."""

# No capitals: every database, whatever its language, sorts digits before letters, but not all agree about capitals.
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class RequestIds:
    """Makes ids from ``random_bytes(n)`` and ``clock``, epoch seconds.

    They ascend with time, so the index of a table that is millions of rows long grows at its end: random ones would touch a page
    for each row. Randomness for 256 of them is drawn at once, which saves a system call for each request.
    """

    __slots__ = ("_clock", "_pool", "_prefix", "_random_bytes", "_since")

    def __init__(self, random_bytes: Callable[[int], bytes], clock: Callable[[], float] = time.time) -> None:
        self._random_bytes = random_bytes
        self._clock = clock
        self._pool: list[str] = []
        self._since = 0.0
        self._prefix = _prefix(0.0)

    def __call__(self) -> str:
        if not self._pool:
            # 12 bytes are exactly 16 characters, so one encoding of all can be cut into ids.
            text = urlsafe_b64encode(self._random_bytes(RANDOM_BYTES * IDS_PER_DRAW)).decode()
            self._pool = [text[at : at + 16] for at in range(0, len(text), 16)]
        now = self._clock()
        if not 0 <= now - self._since < TICK:
            self._since = now
            self._prefix = _prefix(now)
        return self._prefix + self._pool.pop()


def _prefix(seconds: float) -> str:
    """Eight digits of base 36 for the milliseconds. They last until 2059 and start anew then, which costs nothing but the order."""
    left = int(seconds * 1000)
    text = ""
    for _ in range(8):
        left, digit = divmod(left, len(DIGITS))
        text = DIGITS[digit] + text
    return f"req_{text}"
