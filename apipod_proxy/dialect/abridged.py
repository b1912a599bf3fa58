"""A long request made short for reading it.

Most of a long request is one of two things: a few long strings (a document, an image in base64), or a long list of messages. Who looks for
members, types and words needs neither, so each is read once where it stands and something short of its kind takes its place. That what was
left out is valid on its own, and that what is left is valid with the stand-in, makes the whole valid too: a JSON value can stand wherever
another one can.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
import orjson

from apipod_proxy.dialect.members import Members, Span

LONG = 8 * 1024
"""Shorter texts are read as they are."""

LONG_STRING = 4 * 1024
_SPACING = 1024
"""Bytes for each quote at the least: to leap from quote to quote is only quick where there are few."""

_BEGINNING = 64
_FILLER = b"x" * 600
"""Makes the stand-in of a string longer than any name may be."""

_BACKSLASH = 0x5C
_AFTER_VALUES = (b",", b"}", b"]")
_STRING = msgspec.json.Decoder(msgspec.Raw)
_TRAILING = re.compile(r"JSON is malformed: trailing characters \(byte (\d+)\)")
_ONE_OBJECT = b"[{}]"


class _Anything(msgspec.Struct, gc=False):
    """Any object; its members are skipped."""


_OBJECTS = msgspec.json.Decoder(list[_Anything])


class Cut(NamedTuple):
    """From ``place`` in the short text on, everything stands ``missing`` bytes later in the whole one."""

    place: int
    missing: int


class Abridged(NamedTuple):
    """``text`` stands for ``whole``: a list of objects for a list of objects, a string for a string that begins the same."""

    text: bytes
    whole: bytes
    cuts: tuple[Cut, ...]

    def restored(self, found: list[Span]) -> list[Span]:
        """Where members of the short text stand in the whole one."""
        for place, missing in reversed(self.cuts):
            found = [
                Span(
                    name,
                    start + missing if start >= place else start,
                    value + missing if value >= place else value,
                    end + missing if end >= place else end,
                )
                for name, start, value, end in found
            ]
        return found

    def filled(self, members: Members, found: list[Span]) -> None:
        """Put the whole values into ``members``, which stand at ``found`` in the whole text."""
        for name, _, value, end in found:
            if end - value != len(members[name]):
                members[name] = msgspec.Raw(memoryview(self.whole)[value:end])


def without_strings(body: bytes) -> Abridged | None:
    """``body`` with each long string cut down to its beginning; None where that gains nothing or anything is odd."""
    if not _has_gap(body):
        return None
    find = body.find
    pieces: list[bytes] = []
    cuts: list[Cut] = []
    opened, at, done, place = -1, find(b'"'), 0, 0
    for _ in range(len(body) // _SPACING):
        if at < 0:
            break
        if opened < 0:
            opened = at
        elif body[at - 1] != _BACKSLASH or not _is_escaped(body, at):
            # A name is not cut: two names that begin the same must stay different.
            if at - opened > LONG_STRING and body[at + 1 : at + 2] in _AFTER_VALUES:
                if not _is_string(memoryview(body)[opened : at + 1]):
                    return None
                short = _beginning(body, opened + 1) + _FILLER
                pieces += (body[done : opened + 1], short)
                place += opened + 1 - done + len(short)
                cuts.append(Cut(place, at - opened - 1 - len(short)))
                done = at
            opened = -1
        at = find(b'"', at + 1)
    else:
        return None
    if not cuts or opened >= 0:
        return None
    pieces.append(body[done:])
    return Abridged(b"".join(pieces), body, tuple(cuts))


def without_list(body: bytes, opening: re.Pattern[bytes]) -> Abridged | None:
    """``body`` with the list of objects behind ``opening`` cut down to one; None where that is not found near its beginning or is another thing."""
    found = opening.search(body, 0, LONG)
    if found is None:
        return None
    start = found.end()
    try:
        _OBJECTS.decode(memoryview(body)[start:])
    except msgspec.DecodeError as exc:
        # The decoder reads one value and complains of what follows: so it tells where the value ends.
        trailing = _TRAILING.fullmatch(str(exc))
    except RecursionError:
        return None
    else:
        return None
    if trailing is None:
        return None
    end = start + int(trailing[1]) - 1
    if end - start < LONG or body[end - 1 : end] != b"]" or not _is_text(body):
        return None
    cut = Cut(start + len(_ONE_OBJECT), end - start - len(_ONE_OBJECT))
    return Abridged(b"".join((body[:start], _ONE_OBJECT, body[end:])), body, (cut,))


def _has_gap(body: bytes) -> bool:
    """Whether a long stretch has no quotes, told from one place in every so many bytes."""
    find = body.find
    return any(find(b'"', place, place + LONG_STRING) < 0 for place in range(LONG_STRING, len(body), LONG))


def _is_escaped(body: bytes, at: int) -> bool:
    first = at
    while body[first - 1] == _BACKSLASH:
        first -= 1
    return (at - first) % 2 == 1


def _is_text(body: bytes) -> bool:
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_string(quoted: memoryview) -> bool:
    """Whether it is valid JSON and UTF-8."""
    try:
        text = str(quoted[1:-1], "ascii")
    except UnicodeDecodeError:
        text = ""
    if text and "\\" not in text:
        # Written again it is longer if it holds what has to be escaped. That writer takes many characters in one step, no reader does.
        return len(orjson.dumps(text)) == len(quoted)
    try:
        if not text:
            str(quoted, "utf-8")
        _STRING.decode(quoted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _beginning(body: bytes, start: int) -> bytes:
    """The first characters of a string, up to the first escape."""
    text, _, _ = body[start : start + _BEGINNING].partition(b"\\")
    return text if text.isascii() else text.decode(errors="ignore").encode()
