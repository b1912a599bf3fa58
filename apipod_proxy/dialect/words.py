"""Whether a JSON text holds certain strings, told without reading it."""

from __future__ import annotations

from collections.abc import Collection

LONG = 8 * 1024
FEW = 128
"""A text longer than LONG with fewer quotes is mostly one long string: leaping from quote to quote takes a tenth of a search."""


def holds(body: bytes, words: Collection[bytes]) -> bool:
    """Whether one of ``words`` stands in ``body`` as a whole string, a name or a value. Strings with escapes are not seen through."""
    if len(body) > LONG:
        found = _leap(body, words)
        if found is not None:
            return found
    return any(b'"%b"' % word in body for word in words)


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
