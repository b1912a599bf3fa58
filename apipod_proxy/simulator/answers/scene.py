"""What every dialect's answer is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from apipod_proxy.simulator.ask import JSON, Ask
from apipod_proxy.simulator.ids import Ids
from apipod_proxy.simulator.reply import Reply
from apipod_proxy.simulator.script import Script

# One frame of a stream, and whether it carries content: only those are paced and counted.
Frame = tuple[bool, bytes]
_FRAGMENT = 7
# The end of OpenAI's streams of chunks.
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Scene:
    """One request, what it is answered, and all that an answer is made with; `now` is in whole seconds."""

    body: JSON
    ask: Ask
    script: Script
    reply: Reply
    ids: Ids
    now: int
    # What a dialect's stream leaves here for its error, which has to go on from where the stream was.
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return self.ask.model


@dataclass(frozen=True, slots=True)
class Failure:
    """An error to be answered; `retry_after` as the script gives it, in seconds."""

    status: int
    message: str = ""
    code: str | None = None
    param: str | None = None
    retry_after: str = ""


def dumps(value: object) -> bytes:
    """JSON without blanks."""
    return orjson.dumps(value)


def pretty(value: object) -> bytes:
    """JSON as OpenAI's and Google's unary answers are written."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"


def fragments(text: str) -> Iterator[str]:
    """A tool call's arguments in the small pieces in which they come."""
    for start in range(0, len(text), _FRAGMENT):
        yield text[start : start + _FRAGMENT]


def arguments_of(arguments: Mapping[str, Any]) -> str:
    """A tool call's arguments as one JSON text."""
    return json.dumps(arguments, ensure_ascii=False)
