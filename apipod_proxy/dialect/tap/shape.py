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
_CONTENT = b'"content":'
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


class _Tools(NamedTuple):
    """What takes several events apart and puts them together again. ``find`` gives the strings of all events in a row, behind the first head; it
    is made of lengths alone, so that other streams can share it. ``row`` puts strings and what stands between them together, ``join`` events.
    """

    find: Callable[[bytes, int], list[Any]]
    join: bytes
    our_join: bytes
    row: Row | None
    """None where there is but one string."""
    our_row: Row | None
    """None where it is the same."""


NO_FRAME = Frame(b"\0", 1, b"", 0, b"", b"", False)
"""That of no event."""


class Shape:
    """The bytes around and between the strings, as the provider writes them and as the client gets them."""

    __slots__ = ("_between", "_our_between", "_tools", "_with_text", "frame")

    def __init__(self, theirs: list[bytes], ours: list[bytes], *, with_text: bool) -> None:
        head, tail = theirs[0], theirs[-1]
        self.frame = Frame(head, len(head), tail, -len(tail), ours[0], ours[-1], len(theirs) == 2)
        self._between, self._our_between = theirs[1:-1], ours[1:-1]
        self._with_text = with_text
        self._tools: _Tools | None = None
        """Made when there is more to pass than one event with one string; many streams have no such."""

    def passed(self, data: bytes) -> tuple[bytes, int] | None:
        """``data`` as it is passed on and how many events it holds, where it is nothing but events of this shape.

        ``data`` begins with the head and ends with the tail.
        """
        frame = self.frame
        find, join, our_join, row, our_row = self._tools or self._make_tools()
        rows = found = find(data, frame.size)
        if not self._with_text and any(
            b"" in strings if isinstance(strings, tuple) else not strings for strings in found
        ):
            return None
        if row is not None:
            rows = list(map(row, found))
        # Only lengths were leapt over, so what was found has to make up the whole again.
        if join.join(rows) != data[frame.size : frame.end]:
            return None
        if our_row is not None:
            rows = list(map(our_row, found))
        return frame.our_head + our_join.join(rows) + frame.our_tail, len(rows)

    def _make_tools(self) -> _Tools:
        frame, between = self.frame, self._between
        join, our_join = frame.tail + frame.head, frame.our_tail + frame.our_head
        row = _row(between) if between else None
        our_row = None if between == self._our_between else _row(self._our_between)
        leaps = b"".join(b"(%b).{%d}" % (_STRING, len(piece)) for piece in between)
        # Matches anything that is left, so that the time stays linear where events are of another form.
        find = re.compile(b"(?s)%b(%b).{1,%d}" % (leaps, _STRING, len(join))).findall
        self._tools = _Tools(find, join, our_join, row, our_row)
        return self._tools


def _row(between: list[bytes]) -> Row:
    if len(between) == 1:
        return between[0].join
    form = b"%b".join((b"", *(piece.replace(b"%", b"%%") for piece in between), b""))
    return form.__mod__


def shape_of_text(event: bytes, start: int, end: int, model: bytes) -> Shape | None:
    """``shape_of`` by few searches, for an event of which is known that its ``content`` is its only string that carries text; None where they
    do not tell the shape.
    """
    left = event.find(_CONTENT)
    if left < 0 or not event.endswith(b"\n\n"):
        return None
    left += len(_CONTENT)
    if event[left : left + 1] == b" ":
        left += 1
    if event[left : left + 1] != b'"':
        return None
    left += 1
    right = event.find(b'"', left)
    head, tail = event[:left], event[right:]
    if (
        event.find(b"\\", left, right) >= 0
        or event.find(_CONTENT, right) >= 0
        or len(head) + len(tail) > MOST_FIXED
        or end > left
    ):
        return None
    return Shape([head, tail], [event[:start] + model + event[end:left], tail], with_text=True)


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
