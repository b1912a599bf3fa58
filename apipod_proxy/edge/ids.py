"""Request ids: ``req_`` and 24 URL-safe characters."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable

ID_BYTES = 18
IDS_PER_DRAW = 256


class RequestIds:
    """Makes ids from ``random_bytes(n)``; 256 of them are drawn at once, which saves a system call for each request."""

    __slots__ = ("_pool", "_random_bytes")

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._pool: list[str] = []

    def __call__(self) -> str:
        if not self._pool:
            # 18 bytes are exactly 24 characters, so one encoding of all can be cut into ids.
            text = urlsafe_b64encode(self._random_bytes(ID_BYTES * IDS_PER_DRAW)).decode()
            self._pool = [f"req_{text[at : at + 24]}" for at in range(0, len(text), 24)]
        return self._pool.pop()
