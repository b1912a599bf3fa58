"""The heads that the hot path knows: those of ordinary POSTs. Pure.

An HTTP parser for every request that there may be is the library's. Nearly all requests to a gateway are of one plain form, from clients that
send the same head again and again but for its length, so that form is read here, strictly: whatever differs from it in any way is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

MOST_BYTES: Final = 8192
MOST_FIELDS: Final = 64
LENGTH_DIGITS: Final = 9

# A target without escapes, names of token characters, values of printable ASCII. Neither quantifier can take what stands behind it, so the
# match is linear in the size of the head.
_HEAD = re.compile(
    rb"POST (/[!\"$&-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~]*\r\n){1,64})\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)

_ELSEWHERE: Final = frozenset({"transfer-encoding", "content-encoding", "expect", "upgrade", "te", "trailer"})
"""Headers that ask for more than a body of known length."""

NO_QUERY: Mapping[str, str] = MappingProxyType({})


class Head:
    """One head. ``headers`` has lower-case names, none of which stands twice.

    ``before`` and ``after`` are its bytes around the digits of its length: a later request whose head begins and ends with them has this head.
    """

    __slots__ = (
        "after",
        "before",
        "headers",
        "keep_alive",
        "path",
        "query",
        "raw_path",
        "told",
    )

    def __init__(self, target: str, fields: list[tuple[bytes, bytes]], before: bytes, after: bytes) -> None:
        self.raw_path = target
        self.path, _, query = target.partition("?")
        # The first of several members of one name counts, as with every other request.
        self.query: Mapping[str, str] = (
            dict(reversed(parse_qsl(query, keep_blank_values=True))) if query else NO_QUERY
        )
        self.headers = {name.decode().lower(): value.decode() for name, value in fields}
        self.keep_alive = self.headers.get("connection", "").lower() != "close"
        self.before = before
        self.after = after
        self.told: object = None
        """Kept by the handler: what it made of the headers."""

    def __repr__(self) -> str:
        return f"<Head of {self.path}>"


def read_head(data: bytes) -> tuple[Head, int, int] | None:
    """The head at the start of ``data``, the length of its body, and where that begins; None for everything that is not of the plain form."""
    found = _HEAD.match(data)
    if found is None or found.end() > MOST_BYTES:
        return None
    fields = []
    for line in found[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        fields.append((name, value.strip(b" \t")))
    length = _LENGTH.search(data, 0, found.end())
    if length is None:
        return None
    end = found.end()
    head = Head(found[1].decode(), fields, data[: length.start(1)], data[length.end(1) : end])
    headers = head.headers
    if (
        len(headers) != len(fields)
        or "host" not in headers
        or not _ELSEWHERE.isdisjoint(headers)
        or headers.get("connection", "keep-alive").lower() not in ("keep-alive", "close")
    ):
        return None
    return head, int(length[1]), end
