"""What one request wants to see: read from the model's name, the ``x-sim`` header and the faults that were set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, get_type_hints
from urllib.parse import unquote

_PACED_NAME = re.compile(r"(?:^|/)sim-(\d+)-(\d+(?:\.\d+)?)$")
_SEPARATOR = re.compile(r"[;,+]")


class UnknownKnob(ValueError):
    """A word in ``x-sim`` that means nothing, or a value that is no number where one is wanted."""


@dataclass(frozen=True, slots=True)
class Script:
    """All knobs. Times are milliseconds; ``None`` and 0 mean that the knob is not used.

    Counts such as ``cut=5`` count the events that carry content: text, thinking, pieces of a tool call.
    """

    events: int | None = None  # how many content events, instead of an answer to what was asked
    gap: float = 0  # between two content events
    delay: float = 0  # before the head of the answer
    first: float = 0  # between the head and the first content event
    text: str = ""  # answer with this, percent-encoded
    big: float = 0  # megabytes of answer
    tool: str = ""  # call these, separated by `|`; `any` means the first one declared
    rounds: int = 1  # so many rounds of tool calls before the final text
    thinking: bool = False
    redacted: bool = False  # thinking comes redacted, where the dialect knows that
    finish: str = ""  # length | filter | refusal | blocked
    cached: int = 0  # so many input tokens were read from a cache
    no_usage: bool = False
    no_done: bool = False  # the mark of the end is left out
    status: int = 0  # answer with this error
    retry_after: str = ""
    message: str = ""
    code: str = ""
    html: bool = False  # an error page instead of a JSON error
    drop: bool = False  # close the connection without a byte
    error_first: bool = False  # 200, and the first frame is an error
    error_mid: int | None = None
    cut: int | None = None  # close the connection
    reset: int | None = None  # the same with a TCP reset
    half: int | None = None  # close it in the middle of the next event
    end: int | None = None  # end the body cleanly, before the answer is whole
    bad_chunk: int | None = None  # break HTTP's framing
    stall: int | None = None  # then silence
    malformed: int | None = None  # one frame that is no JSON, then on
    interleave: bool = False  # fragments of parallel calls alternate, where the dialect allows it
    comments: int = 0  # comment lines before the first frame
    split: int = 0  # writes of so many bytes, whatever the frames
    join: bool = False  # the whole stream in one write

    @property
    def chatty(self) -> bool:
        """Whether the answer is about the request, and not just a number of events or bytes."""
        return self.events is None and not self.big and not self.text


_TYPES = get_type_hints(Script)
KNOBS = frozenset(field.name for field in fields(Script))


def _value(name: str, raw: str | None) -> Any:
    kind = _TYPES[name]
    if kind is bool:
        return raw not in {"0", "false", "no"}
    if kind is str:
        return unquote(raw or "")
    try:
        number = float(raw or "")
    except ValueError:
        raise UnknownKnob(f"{name} wants a number, not {raw!r}") from None
    return number if kind is float else int(number)


def _knobs(text: str) -> Iterator[tuple[str, Any]]:
    for word in _SEPARATOR.split(text):
        name, equals, raw = word.strip().partition("=")
        if not name:
            continue
        name = name.strip().lower().replace("-", "_")
        if name not in KNOBS:
            raise UnknownKnob(f"unknown knob {name!r}; known are {', '.join(sorted(KNOBS))}")
        yield name, _value(name, raw.strip() if equals else None)


def read_knobs(text: str) -> dict[str, Any]:
    """The knobs of a header such as ``status=429;retry_after=2``; raises UnknownKnob."""
    return dict(_knobs(text))


def read_script(model: str, header: str | None = None, fault: Mapping[str, Any] | None = None) -> Script:
    """The script of one request; what a fault sets wins over the header, and that over the model's name.

    A name like ``c4ai-command-r+`` or ``a+b`` whose end holds no knobs is just a name. Raises UnknownKnob for the header.
    """
    script = _read(model, header)
    return replace(script, **fault) if fault else script


@lru_cache(maxsize=256)  # a load test asks for the same one again and again
def _read(model: str, header: str | None) -> Script:
    knobs: dict[str, Any] = {}
    name, plus, rest = model.partition("+")
    if plus:
        try:
            knobs = read_knobs(rest)
        except UnknownKnob:
            name = model
    if paced := _PACED_NAME.search(name):
        knobs = {"events": int(paced[1]), "gap": float(paced[2])} | knobs
    if header:
        knobs |= read_knobs(header)
    return Script(**knobs)
