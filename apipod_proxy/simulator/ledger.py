"""What the simulator remembers: counts per path, model and key, the last requests, and the faults that were set."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from apipod_proxy.simulator.script import read_knobs

_DISTINCT = 1000
_OTHER = "(other)"


@dataclass(slots=True)
class Counts:
    """How many requests there were and are; `aborted` ones were given up by the client before the answer was whole."""

    requests: int = 0
    streams: int = 0
    open: int = 0
    open_streams: int = 0
    aborted: int = 0
    peak: int = 0
    peak_streams: int = 0

    def enter(self) -> None:
        self.requests += 1
        self.open += 1
        self.peak = max(self.peak, self.open)

    def start_stream(self) -> None:
        self.streams += 1
        self.open_streams += 1
        self.peak_streams = max(self.peak_streams, self.open_streams)

    def reset(self) -> None:
        """Forgets the past; what is open stays counted."""
        self.requests = self.streams = self.aborted = 0
        self.peak, self.peak_streams = self.open, self.open_streams


class Visit:
    """One request while it is served; says in which counts it appears."""

    def __init__(self, counts: tuple[Counts, ...]) -> None:
        self._counts = counts
        self._streaming = False

    def start_stream(self) -> None:
        self._streaming = True
        for counts in self._counts:
            counts.start_stream()

    def abort(self) -> None:
        for counts in self._counts:
            counts.aborted += 1

    def leave(self) -> None:
        for counts in self._counts:
            counts.open -= 1
            counts.open_streams -= self._streaming


class Stats:
    """The counts of everything, and by path, model and key."""

    def __init__(self) -> None:
        self.total = Counts()
        self.paths: dict[str, Counts] = {}
        self.models: dict[str, Counts] = {}
        self.keys: dict[str, Counts] = {}

    def __getattr__(self, name: str) -> int:
        # The totals under their own names: stats.requests, stats.open_streams …
        if name in Counts.__dataclass_fields__:
            return int(getattr(self.total, name))
        raise AttributeError(name)

    @contextmanager
    def visit(self, path: str, model: str, key: str) -> Iterator[Visit]:
        """Counts a request in on entry and out on exit."""
        counts = (self.total, _of(self.paths, path), _of(self.models, model), _of(self.keys, key))
        for one in counts:
            one.enter()
        visit = Visit(counts)
        try:
            yield visit
        finally:
            visit.leave()

    def reset(self) -> None:
        """Starts to count anew."""
        self.total.reset()
        for group in (self.paths, self.models, self.keys):
            for name, counts in list(group.items()):
                counts.reset()
                if not counts.open:
                    del group[name]

    def as_dict(self) -> dict[str, Any]:
        groups = {"paths": self.paths, "models": self.models, "keys": self.keys}
        return asdict(self.total) | {
            name: {key: asdict(counts) for key, counts in group.items()} for name, group in groups.items()
        }


def _of(group: dict[str, Counts], name: str) -> Counts:
    if name not in group:
        # A client that makes up names must not make this grow without end.
        name = name if len(group) < _DISTINCT else _OTHER
        group.setdefault(name, Counts())
    return group[name]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as it arrived."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The parsed JSON, or the text of what is none."""
        try:
            return orjson.loads(self.raw) if self.raw else None
        except ValueError:
            return self.raw.decode(errors="replace")

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": {str(name): value for name, value in self.headers.items()},
            "body": self.body,
        }


@dataclass(slots=True)
class _Fault:
    knobs: dict[str, Any]
    text: str
    key: str | None
    model: str | None
    path: str | None
    share: float
    # Fires whenever the shares add up to a whole: every second time for 0.5, and the same in every run.
    due: float = field(default=0.0)

    def concerns(self, path: str, model: str, key: str) -> bool:
        return (
            self.key in (None, key)
            and self.model in (None, model)
            and (self.path is None or path.startswith(self.path))
        )

    def fires(self) -> bool:
        self.due += self.share
        if self.due >= 1 - 1e-9:
            self.due -= 1
            return True
        return False


class Faults:
    """Scripts that are laid over the requests of a key, a model or a path."""

    def __init__(self) -> None:
        self._faults: list[_Fault] = []

    def set(
        self,
        fault: str,
        *,
        key: str | None = None,
        model: str | None = None,
        path: str | None = None,
        share: float = 1.0,
    ) -> None:
        """Lays `fault`, written as in ``x-sim``, over what is named; an empty one takes it away. Raises UnknownKnob."""
        knobs = read_knobs(fault)
        self._faults = [f for f in self._faults if (f.key, f.model, f.path) != (key, model, path)]
        if knobs:
            self._faults.append(_Fault(knobs, fault, key, model, path, share))

    def clear(self) -> None:
        """Takes all faults away."""
        self._faults = []

    def find(self, path: str, model: str, key: str) -> dict[str, Any]:
        """The knobs that apply to one request; of several faults the later one wins."""
        found: dict[str, Any] = {}
        for fault in self._faults:
            if fault.concerns(path, model, key) and fault.fires():
                found |= fault.knobs
        return found

    def as_list(self) -> list[dict[str, Any]]:
        return [
            {"fault": f.text, "key": f.key, "model": f.model, "path": f.path, "share": f.share}
            for f in self._faults
        ]


class Memory:
    """What lasts from one request to the next: cached prefixes, and stored responses by their id."""

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._prefixes: dict[bytes, None] = {}
        self._responses: dict[str, list[Any]] = {}

    def knows_prefix(self, prefix: bytes) -> bool:
        """Whether this prefix of a prompt was seen before; from now on it was."""
        known = prefix in self._prefixes
        _remember(self._prefixes, prefix, None, self._size)
        return known

    def store(self, response: str, items: list[Any]) -> None:
        _remember(self._responses, response, items, self._size)

    def stored(self, response: str) -> list[Any] | None:
        return self._responses.get(response)


def _remember(held: dict[Any, Any], key: Any, value: Any, size: int) -> None:
    held.pop(key, None)
    held[key] = value
    if len(held) > size:
        del held[next(iter(held))]


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of it."""

    stats: Stats = field(default_factory=Stats)
    faults: Faults = field(default_factory=Faults)
    memory: Memory = field(default_factory=Memory)
    requests: deque[Recorded] = field(default_factory=lambda: deque(maxlen=200))
