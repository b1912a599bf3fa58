"""Ids that look like those of the real providers."""

from __future__ import annotations

import random

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE64URL = _BASE62 + "-_"
_LOWER = "abcdefghijklmnopqrstuvwxyz0123456789"
_HEX = "0123456789abcdef"


class Ids:
    """Makes ids from a source of randomness, so that a seeded one gives the same ids again."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def _some(self, alphabet: str, length: int) -> str:
        return "".join(self._source.choices(alphabet, k=length))

    def chat(self) -> str:
        return "chatcmpl-" + self._some(_BASE62, 29)

    def completion(self) -> str:
        return "cmpl-" + self._some(_BASE62, 29)

    def call(self) -> str:
        return "call_" + self._some(_BASE62, 24)

    def message(self) -> str:
        return "msg_01" + self._some(_BASE58, 22)

    def tool_use(self) -> str:
        return "toolu_01" + self._some(_BASE58, 22)

    def request(self) -> str:
        return "req_011C" + self._some(_BASE58, 20)

    def response_item(self, prefix: str) -> str:
        """An id of the Responses API: ``resp``, ``msg``, ``fc``, ``ctc`` or ``rs``."""
        return f"{prefix}_{self._some(_HEX, 50)}"

    def gemini_response(self) -> str:
        return self._some(_BASE64URL, 23)

    def gemini_call(self) -> str:
        return self._some(_LOWER, 8)

    def obfuscation(self) -> str:
        """Padding that hides the length of a delta: up to 16 characters."""
        return self._some(_BASE62, self._source.randrange(1, 16))
