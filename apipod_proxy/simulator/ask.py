"""What a request asks for, in no dialect: as much of it as the simulator answers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

JSON = dict[str, Any]


class Refusal(Exception):
    """A request that the real provider would refuse, in its words."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that may be called; a `custom` one takes free text instead of JSON."""

    name: str
    schema: object
    custom: bool = False


@dataclass(slots=True)
class Ask:
    """One request; what is listed was counted over all of its messages, `user` and `results` are those of its last turn."""

    model: str
    stream: bool = False
    turns: int = 0
    system: list[str] = field(default_factory=list)
    user: str = ""
    images: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    audio: int = 0
    tools: list[Tool] = field(default_factory=list)
    # auto, none, any, or the name of one tool
    choice: str = "auto"
    parallel: bool = True
    # (name of the tool, what it returned) of the last turn, and how many turns of results there were since the user spoke
    results: list[tuple[str, str]] = field(default_factory=list)
    rounds: int = 0
    thinking: bool = False
    schema: object = None
    max_tokens: int | None = None
    stops: list[str] = field(default_factory=list)
    choices: int = 1
    logprobs: bool = False
    characters: int = 0
    cache_read: int = 0
    cache_write: int = 0

    def says(self, text: str) -> None:
        """The user speaks: a new turn."""
        self.user = text
        self.results = []
        self.rounds = 0

    def returns(self, results: list[tuple[str, str]]) -> None:
        """Tools answered: one more round of the same turn."""
        self.results = results
        self.rounds += 1


def is_object(value: object) -> TypeGuard[JSON]:
    """Whether a parsed value is a JSON object."""
    return isinstance(value, dict)


def listed(value: object) -> list[Any]:
    """A list, or an empty one for whatever is none."""
    return value if isinstance(value, list) else []


def strings(value: object) -> list[str]:
    """A string or a list of strings, as `stop` is given, as a list."""
    return (
        [value]
        if isinstance(value, str)
        else [v for v in value if isinstance(v, str)]
        if isinstance(value, list)
        else []
    )


def data_size(base64_text: str) -> int:
    """How many bytes a base64 text stands for."""
    return len(base64_text) * 3 // 4 - base64_text.count("=", -2)


def media(kind: str, data: object) -> str:
    """How the simulator speaks of something that came as bytes: its type and size."""
    return f"{kind}, {data_size(data) if isinstance(data, str) else 0} bytes"


def media_url(url: str) -> str:
    """The same for something that came by URL; a data URL is taken apart."""
    if not url.startswith("data:"):
        return url
    head, _, data = url[5:].partition(",")
    return media(head.partition(";")[0], data)


def find_unknown(body: Mapping[str, Any], known: frozenset[str]) -> str | None:
    """The first member that is not in `known`."""
    return next((name for name in body if name not in known), None)
