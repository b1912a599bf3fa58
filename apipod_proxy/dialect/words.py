"""Whether a JSON text holds certain strings, told without reading it.

``bytes.find`` is used throughout: ``in`` would try the bytes as a number first, which takes longer than the search of a short text. The search
for a single byte is twenty times as fast as that for a word, so rare bytes come first.
"""

from __future__ import annotations

from collections.abc import Collection

_FEW = 16
_SPACING = 8 * 1024
"""How many places of a rare byte are looked at: a few, and one more for every so many bytes."""


class Words:
    """Strings to look for. ``stems``: each of the words with its quotes contains one of them, so fewer searches can rule out all."""

    __slots__ = ("_plain", "_stems", "_tails", "_written")

    def __init__(self, *words: bytes, stems: Collection[bytes] = ()) -> None:
        self._written = tuple(b'"%b"' % word for word in words)
        self._stems = tuple(stems) or self._written
        self._plain = tuple(b'"%b"' % word for word in words if b"_" not in word)
        # What follows their first underscore.
        self._tails = tuple(b'%b"' % word.partition(b"_")[2] for word in words if b"_" in word)

    def stand_in(self, body: bytes) -> bool:
        """Whether one of the words stands in ``body`` as a whole string, a name or a value. Strings with escapes are not seen through."""
        find = body.find
        stems = self._stems
        if self._tails:
            at = find(b"_") + 1
            for _ in range(_FEW + len(body) // _SPACING):
                if not at:
                    stems = self._plain
                    break
                if body.startswith(self._tails, at):
                    break
                at = find(b"_", at) + 1
        for stem in stems:
            if find(stem) >= 0:
                return any(find(word) >= 0 for word in self._written)
        return False


def may_hold_url(body: bytes) -> bool:
    """Whether a string in ``body`` may be a URL of the web; URLs in longer strings are mostly taken for such, too."""
    find = body.find
    at = find(b"/")
    for _ in range(_FEW + len(body) // _SPACING):
        if at < 0:
            return False
        # The slash itself may be escaped.
        if body[at - 7 if at > 7 else 0 : at].lower().find(b"http") >= 0:
            return True
        at = find(b"/", at + 1)
    return find(b"http") >= 0
