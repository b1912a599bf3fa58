"""Fields of a catalog file: each read as what it is meant to be, and every mistake noted as one line with its path."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from apipod_proxy.catalog.model import BUCKETS, LIMIT_KINDS, NO_LIMITS, Limit, LimitTable
from apipod_proxy.catalog.references import Malformed, Unset, expand, has_reference
from apipod_proxy.catalog.texts import is_name, is_one_line
from apipod_proxy.catalog.yaml_file import Node, Plain

Choice = TypeVar("Choice", bound=StrEnum)

MOST_MISTAKES = 100
MOST_NUMBER = 10**15
ONE_LINE = "a text of one line without control characters"
NAME = "1 to 250 printable characters, no blanks around them"
LATIN = "characters of Latin-1, which is what a header takes"
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


class Mistakes:
    """What is wrong with a file, in the order in which it was found."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, path: str, problem: str) -> None:
        if len(self.lines) < MOST_MISTAKES:
            self.lines.append(f"{path}: {problem}" if path else problem)
        elif len(self.lines) == MOST_MISTAKES:
            self.lines.append("and more mistakes after these")

    def found(self, path: str, node: Node, allowed: str, *, secret: bool = False) -> None:
        self.add(path, f"found {describe(node, secret=secret)}; allowed: {allowed}")


def describe(node: Node, *, secret: bool = False) -> str:
    """What stands there, short and without secrets."""
    if node is None:
        return "nothing"
    if isinstance(node, list):
        return "a list"
    if isinstance(node, dict):
        return "a table"
    if secret:
        return "a text that is not shown"
    text = str(node)
    short = text if len(text) <= 60 else text[:57] + "…"
    return short if isinstance(node, Plain) else repr(short)


def step(path: str, name: str) -> str:
    """The path of a member; a name with odd characters is quoted, so that the path stays readable and on its line."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        shown = name if name.isprintable() else name.encode("unicode_escape").decode()
        return f'{path}["{shown}"]'
    return f"{path}.{name}" if path else name


def did_you_mean(name: str, allowed: Collection[str]) -> str:
    close = difflib.get_close_matches(name, allowed, 1)
    return f"did you mean '{close[0]}'? " if close else ""


class Table:
    """A table of the file at ``path``. Reading a field that is wrong notes a mistake and gives its default."""

    __slots__ = ("_environment", "_is_table", "_mistakes", "_nodes", "path")

    def __init__(
        self,
        node: Node,
        path: str,
        allowed: tuple[str, ...] | None,
        environment: Mapping[str, str],
        mistakes: Mistakes,
        secret: bool = False,
    ) -> None:
        """``allowed`` None: the names are free. ``node`` None is an empty table. ``secret``: what stands in its place may be one."""
        self.path = path
        self._environment = environment
        self._mistakes = mistakes
        self._nodes: dict[str, Node] = {}
        self._is_table = node is None or isinstance(node, dict)
        if isinstance(node, dict):
            self._nodes = node
        elif node is not None:
            expected = "a table" + (f" with {', '.join(allowed)}" if allowed else "")
            mistakes.found(path, node, expected, secret=secret)
        if allowed is not None:
            for name in self._nodes:
                if name not in allowed:
                    hint = did_you_mean(name, allowed)
                    mistakes.add(step(path, name), f"unknown field; {hint}allowed: {', '.join(allowed)}")

    def __contains__(self, name: str) -> bool:
        return self._nodes.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def at(self, name: str) -> str:
        return step(self.path, name)

    def mistake(self, name: str, problem: str) -> None:
        self._mistakes.add(self.at(name), problem)

    def raw(self, name: str) -> Node:
        return self._nodes.get(name)

    # Tables and lists

    def table(self, name: str, allowed: tuple[str, ...] | None) -> Table:
        return Table(self._nodes.get(name), self.at(name), allowed, self._environment, self._mistakes)

    def tables(self, allowed: tuple[str, ...]) -> Iterator[tuple[str, Table]]:
        """Each member as a table, for tables whose names are free."""
        for name in self._nodes:
            if self._is_name(name):
                yield name, self.table(name, allowed)

    def items(
        self, name: str, allowed: tuple[str, ...], short: str = "", *, secret: bool = False
    ) -> list[Table]:
        """A list of tables; where ``short`` is a field, a text in the list stands for a table with that field alone."""
        node = self._nodes.get(name)
        if node is None:
            return []
        if not isinstance(node, list):
            self._mistakes.found(self.at(name), node, "a list", secret=secret)
            return []
        tables = []
        for place, item in enumerate(node):
            entry: Node = {short: item} if short and isinstance(item, str) else item
            path = f"{self.at(name)}[{place}]"
            if entry is None:
                self._mistakes.found(path, entry, f"a table with {', '.join(allowed)}")
            else:
                tables.append(Table(entry, path, allowed, self._environment, self._mistakes, secret))
        return tables

    def names(self, name: str, known: tuple[str, ...] | None = None) -> frozenset[str] | None:
        """A list of texts, of ``known`` ones if that is given; None if the field is absent."""
        node = self._nodes.get(name)
        if node is None:
            return None
        if not isinstance(node, list):
            self._mistakes.found(self.at(name), node, "a list of texts")
            return None
        names = set()
        for place, item in enumerate(node):
            path = f"{self.at(name)}[{place}]"
            text = self._expanded(item, path, "a text")
            if text is not None and known is not None and text not in known:
                self._mistakes.add(
                    path, f"found {text!r}; {did_you_mean(text, known)}allowed: {', '.join(known)}"
                )
            elif text is not None:
                names.add(text)
        return frozenset(names)

    def strings(self, name: str) -> dict[str, str]:
        """A table of texts."""
        # Headers are such a table, and some of them are secrets.
        table = Table(self._nodes.get(name), self.at(name), None, self._environment, self._mistakes, True)
        return {key: table.text(key, secret=True) for key in table}

    # Scalars

    def text(self, name: str, default: str = "", *, secret: bool = False) -> str:
        text = self._expanded(self._nodes.get(name), self.at(name), "a text", secret=secret)
        return default if text is None else text

    def required(self, name: str, allowed: str, *, secret: bool = False) -> str:
        """A text that must be there and not be empty."""
        if name not in self:
            if self._is_table:
                self.mistake(name, f"found nothing; allowed: {allowed}")
        elif (
            text := self._expanded(self._nodes.get(name), self.at(name), allowed, secret=secret)
        ) is not None:
            if text:
                return text
            self.mistake(name, f"found an empty text; allowed: {allowed}")
        return ""

    def label(self, name: str, default: str) -> str:
        """What something is called in lists, logs and measures; an empty one is the default."""
        text = self.text(name) or default
        if not is_name(text):
            self.mistake(name, f"found {text[:60]!r}; allowed: {NAME}")
        return text

    def choice(self, name: str, default: Choice) -> Choice:
        kind = type(default)
        allowed = [member.value for member in kind]
        text = self.text(name, default.value)
        if text in allowed:
            return kind(text)
        self.mistake(name, f"found {text!r}; {did_you_mean(text, allowed)}allowed: {', '.join(allowed)}")
        return default

    def boolean(self, name: str, default: bool) -> bool:
        text = self._scalar(name, "true or false")
        if text is None:
            return default
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        self._mistakes.found(self.at(name), self._nodes[name], "true or false")
        return default

    def number(
        self, name: str, default: float, low: float = 0.0, high: float = 1e9, *, above: bool = False
    ) -> float:
        """A number from ``low`` (``above``: more than it) to ``high``."""
        allowed = f"a number {'above' if above else 'from'} {low:g} {'up ' if above else ''}to {high:g}"
        text = self._scalar(name, allowed)
        if text is None:
            return default
        value = float(text.replace("_", "")) if _NUMBER.fullmatch(text) else math.nan
        if low <= value <= high and not (above and value == low):
            return value
        self._mistakes.found(self.at(name), self._nodes[name], allowed)
        return default

    def whole(self, name: str, low: int = 0, high: int = MOST_NUMBER) -> int | None:
        """A whole number; None if the field is absent or wrong."""
        allowed = f"a whole number from {low}" + ("" if high == MOST_NUMBER else f" to {high}")
        text = self._scalar(name, allowed)
        if text is None:
            return None
        value = float(text.replace("_", "")) if _NUMBER.fullmatch(text) else math.nan
        if low <= value <= high and value.is_integer():
            return int(value)
        self._mistakes.found(self.at(name), self._nodes[name], allowed)
        return None

    def time(self, name: str) -> int | None:
        """A moment as epoch milliseconds; None if the field is absent or wrong."""
        allowed = "a date or time as 2027-01-31 or 2027-01-31T12:00:00Z (UTC unless it says otherwise)"
        text = self._expanded(self._nodes.get(name), self.at(name), allowed)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text.strip())
            moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
            # An offset can carry it out of the years that there are, and then it could never be shown again.
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self._mistakes.found(self.at(name), self._nodes[name], allowed)
            return None
        return round(moment.timestamp() * 1000)

    def limits(self, name: str = "limits") -> LimitTable:
        table = self.table(name, LIMIT_KINDS)
        limits = {}
        for kind in table:
            if kind not in LIMIT_KINDS:
                continue
            if isinstance(table.raw(kind), dict):
                entry = table.table(kind, ("limit", "burst"))
                limit = entry.whole("limit")
                burst = entry.whole("burst", 1) if "burst" in entry else None
                if "limit" not in entry:
                    entry.mistake("limit", "found nothing; allowed: a whole number from 0")
                if kind not in BUCKETS and burst not in (None, limit):
                    entry.mistake(
                        "burst", f"found {burst}; only {', '.join(BUCKETS)} have a burst: leave it out"
                    )
            else:
                limit, burst = table.whole(kind), None
            if limit:
                limits[kind] = Limit(limit, burst or limit)
        return limits or NO_LIMITS

    # Helpers

    def _scalar(self, name: str, allowed: str) -> str | None:
        """The text of a number or boolean: plain, or what a reference stands for. A quoted one is text, and a mistake."""
        node = self._nodes.get(name)
        if isinstance(node, str) and not isinstance(node, Plain) and not has_reference(node):
            self._mistakes.found(self.at(name), node, f"{allowed}, without quotes")
            return None
        # ${NAME:-} with nothing behind it is the same as no field.
        return self._expanded(node, self.at(name), allowed) or None

    def _expanded(self, node: Node, path: str, allowed: str, *, secret: bool = False) -> str | None:
        if node is None:
            return None
        if not isinstance(node, str):
            self._mistakes.found(path, node, allowed)
            return None
        try:
            text = expand(node, self._environment)
        except (Unset, Malformed) as exc:
            self._mistakes.add(path, str(exc))
            return None
        if not is_one_line(text):
            self._mistakes.found(path, repr(text), ONE_LINE, secret=secret)
            return None
        return str(text)

    def _is_name(self, name: str) -> bool:
        if is_name(name):
            return True
        self._mistakes.add(self.path, f"found the name {name[:60]!r}; allowed: {NAME}")
        return False
