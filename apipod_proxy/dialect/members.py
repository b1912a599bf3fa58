"""Where the members of a JSON object stand in its text, so that one of them can be replaced and every other byte be left alone.

Two passes in C find them: one gives each member's raw value, and since the lengths of all members add up to the length of the text, their
places follow by addition. That sum comes out only if there is no duplicate and no blank; else the members are walked one by one.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import msgspec

from apipod_proxy.dialect.vocabulary import Json

Members = dict[str, msgspec.Raw]

DECODER = msgspec.json.Decoder(Members)
_KEY = re.compile(rb'[ \t\r\n]*[{,][ \t\r\n]*("(?:[^"\\]|\\.)*+")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_END = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*\Z")
_LENIENT = json.JSONDecoder(strict=False)


class Span(NamedTuple):
    """A member: where its name begins, where its value begins and ends."""

    name: str
    start: int
    value: int
    end: int


def is_compact(text: bytes, members: Members) -> bool:
    """Whether ``text`` is ``members`` written without blanks, duplicates and escapes in names: each of these makes it longer."""
    if not members:
        return text == b"{}"
    # The loops run in C, since every request is asked.
    size = 1 + 4 * len(members) + sum(map(len, members)) + sum(map(len, members.values()))
    return size == len(text)


def spans(text: bytes, members: Members) -> list[Span]:
    """The members in the order of the text, each duplicate too. ``members`` is what ``DECODER`` made of ``text``."""
    if is_compact(text, members):
        found = []
        at = 1
        for name, raw in members.items():
            value = at + len(name) + 3
            end = value + len(raw)
            found.append(Span(name, at, value, end))
            at = end + 1
        return found
    return _walk(text, members) or _scan(text)


def _walk(text: bytes, members: Members) -> list[Span] | None:
    """By the raw values' lengths; None if that goes wrong, as it does where a name stands twice."""
    found = []
    at = 0
    for name, raw in members.items():
        key = _KEY.match(text, at)
        if key is None:
            return None
        value = key.end()
        at = value + len(raw)
        if not text.startswith(bytes(raw), value):
            return None
        found.append(Span(name, key.start(1), value, at))
    return found if _END.match(text, at) else None


def _scan(text: bytes) -> list[Span]:
    """By reading each value; only for texts that hold a name twice."""
    # As Latin-1 every byte is one character, so offsets agree; what the strings mean does not matter here.
    characters = text.decode("latin-1")
    found = []
    at = 0
    while key := _KEY.match(text, at):
        value = key.end()
        _, at = _LENIENT.raw_decode(characters, value)
        found.append(Span(msgspec.json.decode(key[1], type=str), key.start(1), value, at))
    return found


def duplicates(found: list[Span]) -> set[str]:
    """The names that stand more than once."""
    seen: set[str] = set()
    twice: set[str] = set()
    for span in found:
        (twice if span.name in seen else seen).add(span.name)
    return twice


def read(text: bytes) -> Members | None:
    """The members of ``text``, None where it is no JSON object."""
    try:
        return DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def edited(
    text: bytes, found: list[Span], values: dict[str, bytes], drop: frozenset[str] = frozenset()
) -> bytes:
    """``text`` with the values of members replaced and members left out; those of ``values`` that are new are put first."""
    fresh = b"".join(
        b"%b:%b," % (dumps(name), value)
        for name, value in values.items()
        if all(s.name != name for s in found)
    )
    kept = [span for span in found if span.name not in drop]
    if not kept:
        return b"{" + fresh.removesuffix(b",") + b"}"
    pieces = [text[: found[0].start], fresh]
    for index, span in enumerate(kept):
        value = values.get(span.name)
        pieces.append(text[span.start : span.end] if value is None else text[span.start : span.value] + value)
        if index + 1 < len(kept):
            following = found.index(span) + 1
            pieces.append(text[span.end : found[following].start])
    pieces.append(text[found[-1].end :])
    return b"".join(pieces)


def dumps(value: Json) -> bytes:
    """``value`` as compact JSON."""
    return msgspec.json.encode(value)
