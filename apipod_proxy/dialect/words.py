"""Whether a JSON text holds certain strings, told without reading it.

``bytes.find`` is used throughout: ``in`` would try the bytes as a number first, which takes longer than the search of a short text.
"""

from __future__ import annotations

from collections.abc import Collection

LONG = 8 * 1024
FEW = 128
"""A text longer than LONG with fewer quotes is mostly one long string: leaping from quote to quote takes a tenth of a search."""


class Words:
    """Strings to look for. ``stems``: each of the words with its quotes contains one of them, so fewer searches can rule out all."""

    __slots__ = ("_stems", "_words", "_written")

    def __init__(self, *words: bytes, stems: Collection[bytes] = ()) -> None:
        self._words = frozenset(words)
        self._written = tuple(b'"%b"' % word for word in words)
        self._stems = tuple(stems) or self._written

    def stand_in(self, body: bytes) -> bool:
        """Whether one of the words stands in ``body`` as a whole string, a name or a value. Strings with escapes are not seen through."""
        find = body.find
        if len(body) > LONG:
            found = _leap(body, self._words)
            if found is not None:
                return found
        for stem in self._stems:
            if find(stem) >= 0:
                return any(find(word) >= 0 for word in self._written)
        return False


def may_begin(body: bytes, beginning: bytes) -> bool:
    """Whether a string in ``body`` may begin so, which is given in lower case; in a text with many strings it can also stand elsewhere."""
    find = body.find
    if len(body) > LONG:
        at, size = find(b'"') + 1, len(beginning)
        for _ in range(FEW):
            if not at:
                return False
            if body[at : at + size].lower() == beginning:
                return True
            at = find(b'"', at) + 1
    return find(beginning) >= 0


def _leap(body: bytes, words: Collection[bytes]) -> bool | None:
    """The answer where ``body`` has few quotes, else None. An escaped quote leaves a backslash behind, so text never looks like a word."""
    find = body.find
    start = find(b'"')
    for _ in range(FEW):
        end = find(b'"', start + 1)
        if start < 0 or end < 0:
            return False
        if end - start < 64 and body[start + 1 : end] in words:
            return True
        start = end
    return None
