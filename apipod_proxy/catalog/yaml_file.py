"""YAML → plain tables, lists and texts. What a scalar means is decided by the field that it stands in, not by how it looks.

Guards: no second document, no duplicate keys, no tags, no deep nesting, and aliases count as often as they are used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser is ten times as fast; not every build of PyYAML has it."""

MOST_NODES = 2_000_000
MOST_DEPTH = 20

Node = None | str | list["Node"] | dict[str, "Node"]
"""A quoted scalar is a str, a plain one a Plain, and null is None."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_PLAIN = (None, "")
_NO_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*(?::-[^{}\n]*)?)\}")
_OPEN, _CLOSE = "\ue000", "\ue001"  # of the private use area: they mean nothing to anybody
_LINE_END = re.compile(r"\r\n|[\r\n]")
_STRING_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})


class Plain(str):
    """A scalar without quotes, which may be meant as a number or a boolean."""

    __slots__ = ()


class YamlMistake(Exception):
    """``line`` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


@dataclass(slots=True)
class _Frame:
    """A list or table that is not complete yet; ``nodes`` is how many there were when it began."""

    anchor: str | None
    nodes: int
    items: list[Node] | None = None
    table: dict[str, Node] = field(default_factory=dict)
    key: str | None = None
    merges: list[dict[str, Node]] = field(default_factory=list)


def parse_yaml(text: str) -> Node:
    """The one document in ``text``, None if there is none; raises YamlMistake."""
    shielded = _shield(text)
    builder = _Builder(shielded is not text)
    try:
        for event in yaml.parse(shielded, Loader=LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise YamlMistake(mark.line + 1 if mark else 1, exc.problem or "this is no YAML") from exc
    except (yaml.YAMLError, UnicodeEncodeError) as exc:
        raise _unreadable(text, exc) from exc
    return builder.root


def _unreadable(text: str, exc: Exception) -> YamlMistake:
    """What cannot stand in YAML at all, and on which line: the parsers tell the place in bytes, in characters or not at all."""
    found = _NO_YAML.search(text)
    if found is None:
        return YamlMistake(1, f"this is no YAML: {str(exc).splitlines()[0]}")
    lines = len(_LINE_END.findall(text, 0, found.start()))
    return YamlMistake(lines + 1, f"this is no YAML: the character U+{ord(found[0]):04X} cannot stand in it")


def _shield(text: str) -> str:
    """``text`` with other braces around references: those of YAML would end ``{api_key: ${NAME}}`` in the middle of it."""
    if "${" not in text or _OPEN in text or _CLOSE in text:
        return text
    return _REFERENCE.sub(rf"{_OPEN}\1{_CLOSE}", text)


class _Builder:
    def __init__(self, shielded: bool) -> None:
        self.root: Node = None
        self._shielded = shielded
        self._documents = 0
        self._nodes = 0
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Node, int]] = {}

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            if self._shielded:
                event.value = event.value.replace(_OPEN, "${").replace(_CLOSE, "}")
            self._scalar(event, line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close(line)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlMistake(line, "a second document begins here; allowed: one")

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise YamlMistake(
                line, f"more than {MOST_NODES} values, counting each alias as what it stands for"
            )

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        self._count(1, line)
        value: Node = event.value
        if event.tag is not None and event.tag not in _STRING_TAGS:
            raise YamlMistake(line, f"the tag {event.tag!r} is not allowed")
        frame = self._frames[-1] if self._frames else None
        if frame is not None and frame.items is None and frame.key is None:
            self._key(frame, event, line)
            return
        if event.style in _PLAIN and event.tag is None:
            value = None if event.value in _NULL else Plain(event.value)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._attach(value, line)

    def _key(self, frame: _Frame, event: yaml.ScalarEvent, line: int) -> None:
        if event.value in frame.table:
            raise YamlMistake(line, f"'{event.value}' stands here twice")
        if event.anchor is not None:
            self._anchors[event.anchor] = (event.value, 1)
        frame.key = event.value
        if event.value != "<<" or event.style not in _PLAIN:
            frame.table[event.value] = None

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        self._count(1, line)
        if event.tag is not None and event.tag != "!":
            raise YamlMistake(line, f"the tag {event.tag!r} is not allowed")
        if len(self._frames) >= MOST_DEPTH:
            raise YamlMistake(line, f"nested deeper than {MOST_DEPTH} levels")
        self._no_key(line)
        frame = _Frame(event.anchor, self._nodes)
        if isinstance(event, yaml.SequenceStartEvent):
            frame.items = []
        self._frames.append(frame)

    def _close(self, line: int) -> None:
        frame = self._frames.pop()
        node: Node = frame.items
        if frame.items is None:
            for merged in frame.merges:
                for key, value in merged.items():
                    frame.table.setdefault(key, value)
            node = frame.table
        if frame.anchor is not None:
            self._anchors[frame.anchor] = (node, self._nodes - frame.nodes + 1)
        self._attach(node, line)

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        found = self._anchors.get(event.anchor or "")
        if found is None:
            raise YamlMistake(
                line, f"the alias *{event.anchor} stands for nothing that is complete before it"
            )
        node, nodes = found
        self._count(nodes, line)
        self._no_key(line)
        self._attach(node, line)

    def _no_key(self, line: int) -> None:
        if self._frames and self._frames[-1].items is None and self._frames[-1].key is None:
            raise YamlMistake(line, "a name must be text")

    def _attach(self, node: Node, line: int) -> None:
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        if frame.items is not None:
            frame.items.append(node)
            return
        assert frame.key is not None
        if frame.key == "<<" and "<<" not in frame.table:
            merged = node if isinstance(node, list) else [node]
            if not all(isinstance(each, dict) for each in merged):
                raise YamlMistake(
                    line, "'<<' merges tables; allowed: an alias of one, or a list of such aliases"
                )
            frame.merges += [each for each in merged if isinstance(each, dict)]
        else:
            frame.table[frame.key] = node
        frame.key = None
