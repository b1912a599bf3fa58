"""What is said to ``limits.lua``: the commands as bytes, built from parts that a half has ready (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha1
from pathlib import Path
from typing import NamedTuple

from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.buckets import Window
from apipod_proxy.limit.model import (
    CONCURRENCY,
    PERIODS,
    TOKEN_KINDS,
    Counter,
    Row,
    capacity,
    cell,
    window_start,
)
from apipod_proxy.limit.wire import pack

SOURCE = Path(__file__).with_name("limits.lua").read_bytes()
BY_DIGEST = pack(b"EVALSHA", sha1(SOURCE, usedforsecurity=False).hexdigest().encode())
BY_SOURCE = pack(b"EVAL", SOURCE)


class Call(NamedTuple):
    """A call of the script: how many arguments follow its name, and those as bytes."""

    arguments: int
    tail: bytes

    def encode(self, name: bytes = BY_DIGEST) -> bytes:
        return b"*%d\r\n%b%b" % (self.arguments + 2, name, self.tail)


class Known:
    """What Redis last said of a counter: how much was left, at which epoch millisecond of this process."""

    __slots__ = ("__weakref__", "at", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.at = 0


class Entry(NamedTuple):
    """A counter as the script knows it."""

    key: bytes
    kind: bytes
    """rb tb rd td rm tm g"""
    limit: int
    capacity: int
    unit: int
    counter: Counter
    known: Known


def entry(prefix: str, counter: Counter, known: Known | None = None) -> Entry:
    """``prefix`` stands in braces: one hash tag puts all keys on one node of a cluster."""
    key = f"{{{prefix}}}:{counter.scope}:{counter.owner}:{counter.kind}".encode()
    if counter.kind == CONCURRENCY:
        kind = b"g"
    else:
        counts = b"t" if counter.kind in TOKEN_KINDS else b"r"
        period = b"b" if counter.kind in PERIODS else b"m" if counter.kind.endswith("_per_month") else b"d"
        kind = counts + period
    most = capacity(counter)
    return Entry(key, kind, counter.limit, most, PERIODS.get(counter.kind, 1), counter, known or Known(most))


class RedisHalf(Half):
    """A half whose counters are in Redis, with the bytes of its commands, and its stand-in here while Redis is away."""

    __slots__ = ("arguments", "bound_gauges", "entries", "keys", "shadow", "shadow_age")

    def __init__(self, entries: Sequence[Entry], gauges: Half) -> None:
        """``gauges``: the counters of what is under way in this process, which are kept here too."""
        super().__init__([e.counter for e in entries], (), ())
        self.entries = tuple(entries)
        self.gauges = gauges.gauges
        self.bound_gauges = gauges
        self.keys = pack(*(e.key for e in entries))
        self.arguments = pack(
            *(part for e in entries for part in (e.kind, b"%d" % e.limit, b"%d" % e.capacity, b"%d" % e.unit))
        )
        self.shadow: Half | None = None
        self.shadow_age = 0


def admit(
    caller: RedisHalf | None,
    candidate: RedisHalf | None,
    identity: bytes,
    tokens: int,
    lease: int,
    now: bytes,
) -> Call:
    """``identity`` names the lease, ``lease`` is its life in milliseconds, ``now`` is empty for Redis's own clock."""
    first = len(caller.entries) if caller is not None else 0
    second = len(candidate.entries) if candidate is not None else 0
    head = pack(b"%d" % (first + second))
    own = pack(b"admit", now, b"%d" % lease, identity, b"%d" % first, b"%d" % tokens)
    return Call(
        7 + 5 * (first + second),
        b"".join(
            (
                head,
                caller.keys if caller is not None else b"",
                candidate.keys if candidate is not None else b"",
                own,
                caller.arguments if caller is not None else b"",
                candidate.arguments if candidate is not None else b"",
            )
        ),
    )


def renew(prefix_keys: Iterable[tuple[bytes, Sequence[bytes]]], lease: int, now: bytes) -> Call:
    """Let the leases of each gauge live on."""
    keys: list[bytes] = []
    arguments = [b"renew", now, b"%d" % lease]
    for key, identities in prefix_keys:
        keys.append(key)
        arguments += (b"%d" % len(identities), *identities)
    return call(keys, arguments)


def beat(prefix: str, process: bytes, lifetime: int, now: bytes) -> Call:
    """Say that this process lives; answered with the number of those that do, and the epoch."""
    return call([processes_key(prefix), epoch_key(prefix)], [b"beat", now, b"%d" % lifetime, process])


def processes_key(prefix: str) -> bytes:
    """Holds the processes that live, by the time until which they are believed to."""
    return f"{{{prefix}}}:processes".encode()


def epoch_key(prefix: str) -> bytes:
    """Holds the run id of the Redis whose windows were last counted up from the usage log, and a mark of that time."""
    return f"{{{prefix}}}:epoch".encode()


def seed(prefix: str, rows: Iterable[Row], now: bytes) -> Call:
    """Raise windows to what was used; only rows of windows count."""
    keys: list[bytes] = []
    arguments = [b"seed", now]
    for row in rows:
        if isinstance(cell(row.kind), Window):
            made = entry(prefix, Counter(row.scope, row.owner, row.kind, 1, 1))
            keys.append(made.key)
            arguments += (made.kind, b"%d" % row.value, b"%d" % row.at)
    return call(keys, arguments)


def call(keys: Sequence[bytes], arguments: Sequence[bytes]) -> Call:
    """A call of any operation."""
    return Call(1 + len(keys) + len(arguments), pack(b"%d" % len(keys), *keys, *arguments))


class Settlements:
    """Settlements that wait to be sent, summed per counter: their size is bounded by the counters and the leases in use."""

    MOST_ENTRIES = 500
    """In one batch: the script holds up every other client while it runs."""
    MOST_LEASES = 100_000
    """Ended leases beyond these are left to expire."""

    def __init__(self) -> None:
        self._buckets: dict[bytes, tuple[Entry, int]] = {}
        self._windows: dict[tuple[bytes, int], tuple[Entry, int]] = {}
        self._leases: dict[bytes, list[bytes]] = {}
        self._ended = 0

    def __bool__(self) -> bool:
        return bool(self._buckets or self._windows or self._leases)

    def add(self, owner: Entry, at: int, difference: int) -> None:
        """Correct a take at ``at`` (epoch milliseconds): positive was not used, negative was used beyond."""
        if difference == 0:
            return
        if owner.kind[1:] == b"b":
            known = self._buckets.get(owner.key)
            # The newest catalog's numbers are the ones to refill by.
            self._buckets[owner.key] = (owner, difference + (known[1] if known else 0))
        else:
            place = (owner.key, window_start(owner.counter.kind, at))
            other = self._windows.get(place)
            self._windows[place] = (owner, difference + (other[1] if other else 0))

    def end(self, gauge: Entry, identity: bytes) -> None:
        """The lease no longer counts as under way."""
        if self._ended < self.MOST_LEASES:
            self._ended += 1
            self._leases.setdefault(gauge.key, []).append(identity)

    def batches(self, prefix: str, name: bytes, now: bytes) -> Iterable[Call]:
        """Empty it into calls, each of which counts once however often it is sent; ``name`` must be unique."""
        keys: list[bytes] = []
        arguments: list[bytes] = []
        number = 0
        for key, parts in self._drain():
            keys.append(key)
            arguments += parts
            if len(keys) + len(arguments) // 5 >= self.MOST_ENTRIES:
                yield self._batch(prefix, b"%b.%d" % (name, number), now, keys, arguments)
                keys, arguments, number = [], [], number + 1
        if keys:
            yield self._batch(prefix, b"%b.%d" % (name, number), now, keys, arguments)

    def _batch(self, prefix: str, name: bytes, now: bytes, keys: list[bytes], arguments: list[bytes]) -> Call:
        marker = b"{%b}:batch:%b" % (prefix.encode(), name)
        return call([marker, *keys], [b"settle", now, *arguments])

    def _drain(self) -> Iterable[tuple[bytes, list[bytes]]]:
        buckets, self._buckets = self._buckets, {}
        windows, self._windows = self._windows, {}
        leases, self._leases = self._leases, {}
        self._ended = 0
        for key, (owner, difference) in buckets.items():
            numbers = (owner.limit, owner.capacity, owner.unit, difference)
            yield key, [owner.kind, *(b"%d" % number for number in numbers)]
        for (key, start), (owner, difference) in windows.items():
            yield key, [owner.kind, b"%d" % start, b"%d" % difference]
        for key, identities in leases.items():
            for first in range(0, len(identities), self.MOST_ENTRIES):
                chunk = identities[first : first + self.MOST_ENTRIES]
                yield key, [b"g", b"%d" % len(chunk), *chunk]
