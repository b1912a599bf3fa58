"""What the events of one stream have in common: the same bytes, but for a few strings that carry text.

Once one event was read and nothing in it counts, the others of its shape need not be read: a string that carries text means nothing else,
whatever stands in it, and every other byte is known.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

_STRING = rb'[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+'
is_string = re.compile(_STRING).fullmatch
"""Whether bytes may stand between two quotes. No line ends in them, so they lie within one event."""

_CARRIERS = rb"reasoning_content|reasoning|thinking|refusal|arguments|obfuscation|text"
_WITH_TEXT = re.compile(rb'"(?:content|%b)": ?"(%b)"' % (_CARRIERS, _STRING))
_WITHOUT = re.compile(rb'"(?:%b)": ?"(%b)"' % (_CARRIERS, _STRING))
MOST = 3
"""Strings in one event: an answer's text, and reasoning in two forms."""
MOST_FIXED = 4096
"""Bytes of an event around its strings."""


Row = Callable[[tuple[bytes, ...]], bytes]
"""The strings of one event → these and what stands between them."""


class Frame(NamedTuple):
    """What stands around the strings of one event. ``size`` is that of ``head``, ``end`` minus that of ``tail``; ``our_…``: as the client gets it.

    ``lone``: there is but one string.
    """

    head: bytes
    size: int
    tail: bytes
    end: int
    our_head: bytes
    our_tail: bytes
    lone: bool


NO_FRAME = Frame(b"\0", 1, b"", 0, b"", b"", False)
"""That of no event."""


class Shape:
    """The bytes around and between the strings, as the provider writes them and as the client gets them."""

    __slots__ = ("_find", "_join", "_our_join", "_our_row", "_row", "_sizes", "_with_text", "frame")

    def __init__(self, theirs: list[bytes], ours: list[bytes], *, with_text: bool) -> None:
        head, tail = theirs[0], theirs[-1]
        self.frame = Frame(head, len(head), tail, -len(tail), ours[0], ours[-1], len(theirs) == 2)
        self._join, self._our_join = tail + head, ours[-1] + ours[0]
        self._row = _row(theirs[1:-1])
        self._our_row = self._row if theirs[1:-1] == ours[1:-1] else _row(ours[1:-1])
        self._sizes = tuple(len(piece) for piece in (*theirs[1:-1], self._join))
        self._with_text = with_text
        self._find: Callable[[bytes, int], list[Any]] | None = None

    def passed(self, data: bytes) -> tuple[bytes, int] | None:
        """``data`` as it is passed on and how many events it holds, where it is nothing but events of this shape.

        ``data`` begins with the head and ends with the tail.
        """
        frame = self.frame
        rows = found = (self._find or self._finder())(data, frame.size)
        if not self._with_text and any(b"" in row if isinstance(row, tuple) else not row for row in found):
            return None
        if not frame.lone:
            rows = list(map(self._row, found))
        # Only lengths were leapt over, so what was found has to make up the whole again.
        if self._join.join(rows) != data[frame.size : frame.end]:
            return None
        if self._our_row is not self._row:
            rows = list(map(self._our_row, found))
        return frame.our_head + self._our_join.join(rows) + frame.our_tail, len(rows)

    def _finder(self) -> Callable[[bytes, int], list[Any]]:
        """Finds the strings of all events in a row, behind the first head. Made of lengths alone, so that other streams can share it."""
        *between, join = self._sizes
        leaps = b"".join(b"(%b).{%d}" % (_STRING, size) for size in between)
        # Matches anything that is left, so that the time stays linear where events are of another form.
        self._find = re.compile(b"(?s)%b(%b).{1,%d}" % (leaps, _STRING, join)).findall
        return self._find


def _row(between: list[bytes]) -> Row:
    if len(between) == 1:
        return between[0].join
    form = b"%b".join((b"", *(piece.replace(b"%", b"%%") for piece in between), b""))
    return form.__mod__


def shape_of(event: bytes, start: int, end: int, model: bytes, *, with_text: bool) -> Shape | None:
    """The shape of ``event``, in which the provider's name of the model stands from ``start`` to ``end``; None where it has none.

    ``with_text``: the strings of the answer itself may differ. Else an event in which there is some, or a string is empty, has another shape.
    """
    if not event.endswith((b"\n\n", b"\n\r\n")):
        return None
    spans = [
        found.span(1)
        for found in (_WITH_TEXT if with_text else _WITHOUT).finditer(event)
        # What is empty now may become the answer.
        if with_text or found[1]
    ]
    if not 0 < len(spans) <= MOST or len(event) - sum(right - left for left, right in spans) > MOST_FIXED:
        return None
    theirs: list[bytes] = []
    ours: list[bytes] = []
    at = 0
    for left, right in (*spans, (len(event), len(event))):
        theirs.append(event[at:left])
        ours.append(event[at:start] + model + event[end:left] if at <= start and end <= left else theirs[-1])
        at = right
    return Shape(theirs, ours, with_text=with_text)
