"""Limits of one process for as long as Redis is away: each process keeps to its share of every number.

The share is the number divided by the processes that lived when Redis was last heard of, never below 1; windows share what
then remained. So all processes together admit at most the limit, plus for each counter of a smaller number than there are processes one
per process. What was known of Redis may be old by one answer: that, and a burst that is kept here and in Redis at the change, is the
bound by which limits are off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.buckets import Bucket, Window
from apipod_proxy.limit.memory import MemoryLimits
from apipod_proxy.limit.model import Counter, Level, Row, window_start
from apipod_proxy.limit.script import Entry, RedisHalf


class Owed(NamedTuple):
    """What was ``taken`` here of a counter and Redis does not know; ``before``: what a window had counted when it was last heard of."""

    entry: Entry
    taken: int
    before: int


class _Share(NamedTuple):
    entry: Entry
    counter: Counter
    held: Half
    """Of this counter alone: keeps its state from being forgotten while no request uses it."""
    since: int
    missing: int
    """Parts that were missing in a bucket at the start."""
    before: int


class Fallback:
    """Gauges are counted here at all times, so that the share of a gauge knows what runs already."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.memory = MemoryLimits(clock)
        self.age = 0
        """Which loss of Redis this is; shadows of an earlier one are void."""
        self._processes = 1
        self._shares: dict[bytes, _Share] = {}
        self._logged: dict[tuple[str, str, str], Row] = {}

    def know(self, rows: Iterable[Row]) -> None:
        """What the usage log says of windows, for those of which Redis has told nothing."""
        self._logged = {row[:3]: row for row in rows}

    def begin(self, processes: int) -> None:
        """Redis is lost: start afresh with shares of 1 ÷ ``processes``."""
        self.age += 1
        self._processes = max(1, processes)
        self._shares = {}
        self.memory.forget()

    def shadow(self, half: RedisHalf) -> Half:
        """This process's share of ``half``."""
        shadow = half.shadow
        if shadow is None or half.shadow_age != self.age:
            now = self.memory.now()
            shares = [self._share(entry, now) for entry in half.entries]
            shadow = half.shadow = self.memory.half([share.counter for share in shares])
            half.shadow_age = self.age
        return shadow

    def _share(self, entry: Entry, now: int) -> _Share:
        share = self._shares.get(entry.key)
        if share is None or share.entry[:5] != entry[:5]:
            share = self._shares[entry.key] = self._begin(entry, now, share)
        return share

    def _begin(self, entry: Entry, now: int, older: _Share | None) -> _Share:
        counter, known = entry.counter, entry.known
        limit, burst = max(1, counter.limit // self._processes), max(1, counter.burst // self._processes)
        before = 0
        if entry.kind in (b"rd", b"td", b"rm", b"tm"):
            if older is not None:
                # New numbers while Redis is away; what was taken here stays counted in the cell.
                before = older.before
            elif known.at >= window_start(counter.kind, now):
                before = entry.limit - known.left
            else:
                logged = self._logged.get(counter[:3])
                if logged is not None and logged.at >= window_start(counter.kind, now):
                    before = logged.value
            limit = max(1, (entry.limit - before) // self._processes)
        scaled = counter._replace(limit=limit, burst=burst)
        held, missing = self.memory.half([scaled]), 0
        cell = held.cells[0]
        if isinstance(cell, Bucket):
            if older is not None:
                # A wider bucket keeps its level: what it is wider by is missing, and nobody took it.
                missing = max(0, older.missing + (burst - older.counter.burst) * cell.unit)
            elif known.at:
                level = known.left + (now - known.at) * entry.limit // entry.unit
                cell.level = min(level // self._processes * cell.unit, cell.cap)
                cell.at = now
                missing = cell.cap - cell.level
        return _Share(entry, scaled, held, older.since if older is not None else now, missing, before)

    def owed(self) -> list[Owed]:
        """What was taken here since ``begin``, less what the time has refilled."""
        now, found = self.memory.now(), []
        for share in self._shares.values():
            cell, taken = share.held.cells[0], 0
            if isinstance(cell, Bucket):
                cell.remaining(now)
                missing = cell.cap - cell.level
                unpaid = max(0, share.missing - (now - share.since) * cell.rate)
                taken = -(-max(0, missing - unpaid) // cell.unit)
            elif isinstance(cell, Window):
                cell.remaining(now)
                taken = cell.used
            if taken:
                found.append(Owed(share.entry, taken, share.before))
        return found

    def levels(self, half: RedisHalf) -> list[Level]:
        """What this process may still take, under the whole number's name."""
        shares = self.memory.levels(self.shadow(half))
        return [share._replace(counter=counter) for share, counter in zip(shares, half.counters, strict=True)]
