"""Chunked bodies, as far as a read holds whole chunks of the plain form. Pure; everything else is for the HTTP parser."""

from __future__ import annotations

import re

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,7})\r\n")


def whole_chunks(data: bytes) -> tuple[bytes, int]:
    """The content of the whole chunks at the start of ``data``, which begins with one, and where they end.

    The last chunk, one with an extension, and one that is not whole end them.
    """
    pieces = []
    at = 0
    while (found := _SIZE.match(data, at)) is not None:
        start = found.end()
        end = start + int(found[1], 16)
        if end == start or not data.startswith(b"\r\n", end):
            break
        pieces.append(data[start:end])
        at = end + 2
    return b"".join(pieces), at
