"""Limits kept in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from weakref import WeakSet

from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.buckets import Cell, Gauge, believable, seconds
from apipod_proxy.limit.model import (
    TOKEN_KINDS,
    Admission,
    Counter,
    Level,
    Refusal,
    Row,
    Waited,
    capacity,
    cell,
    distinct,
)
from apipod_proxy.limit.pace import LATEST, Lines

Identity = tuple[str, str, str]

SLICE = 2000
"""Counters that are looked at in one go: a millisecond or so."""


class MemoryLease:
    """What one half took. ``repr`` says held, settled or returned."""

    __slots__ = ("_at", "_half", "_limits", "_tokens", "state")

    def __init__(self, half: Half, limits: MemoryLimits, at: int, tokens: int) -> None:
        self._half = half
        self._limits = limits
        self._at = at
        self._tokens = tokens
        self.state = "held"

    def settle(self, tokens: int | None, *, sent: bool) -> None:
        if self.state != "held":
            return
        limits = self._limits
        if sent:
            self.state = "settled"
            spend(self._half, limits.clock, self._at, self._tokens, tokens)
        else:
            self.state = "returned"
            put_back(self._half, self._at, self._tokens)
        if limits.lines:
            limits.lines.room()

    def __repr__(self) -> str:
        return f"<Lease {self.state}: {self._half!r}>"


class MemoryLimits:
    """``clock`` gives epoch seconds. Not for use from several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._cells: dict[Identity, Cell] = {}
        self._bound: dict[Identity, Counter] = {}
        self._halves: WeakSet[Half] = WeakSet()
        self._prune_at = 4096
        self.lines = Lines(self.admit, LATEST)

    def now(self) -> int:
        """Epoch milliseconds; rounded so that whole seconds between two readings stay whole."""
        return int(self.clock() * 1000 + 0.5)

    def half(self, counters: Sequence[Counter]) -> Half:
        now = self.now()
        kept = distinct(counters)
        if len(self._cells) > self._prune_at:
            self._prune(now)
        cells = [self._cell(counter, now) for counter in kept]
        half = Half(kept, cells, [capacity(c) if c.kind in TOKEN_KINDS else None for c in kept])
        self._halves.add(half)
        return half

    def _cell(self, counter: Counter, now: int) -> Cell:
        identity = counter[:3]
        found = self._cells.get(identity)
        if found is None:
            found = self._cells[identity] = cell(counter.kind)
        if self._bound.get(identity) != counter:
            self._bound[identity] = counter
            found.bound(now, counter.limit, counter.burst)
        return found

    def _prune(self, now: int) -> None:
        """Forget the counters that no half holds and that would begin no differently."""
        held = {counter[:3] for half in self._halves for counter in half.counters}
        for identity in [i for i, owner in self._cells.items() if i not in held and owner.rests(now)]:
            del self._cells[identity]
            self._bound.pop(identity, None)
        self._prune_at = max(4096, 2 * len(self._cells))

    def forget(self) -> None:
        """Begin all counters anew but those of what is under way."""
        for identity in [i for i, owner in self._cells.items() if not isinstance(owner, Gauge)]:
            del self._cells[identity]
            self._bound.pop(identity, None)

    async def admit(self, caller: Half | None, candidate: Half | None, tokens: int) -> Admission:
        return self.admit_now(caller, candidate, tokens)

    def admit_now(self, caller: Half | None, candidate: Half | None, tokens: int) -> Admission:
        """``admit``, which never waits here: a coroutine for each request costs as much as half of the counters."""
        now = int(self.clock() * 1000 + 0.5)
        first: MemoryLease | None = None
        if caller is not None:
            refusal = take(caller, now, tokens)
            if refusal is not None:
                return Admission(None, None, refusal, "caller")
            first = MemoryLease(caller, self, now, tokens)
        if candidate is None:
            return Admission(first, None, None, "")
        refusal = take(candidate, now, tokens)
        if refusal is not None:
            return Admission(first, None, refusal, "candidate")
        return Admission(first, MemoryLease(candidate, self, now, tokens), None, "")

    def waiting(self, line: str) -> int:
        return self.lines.waiting(line)

    async def wait(
        self, candidates: Sequence[Half], tokens: int, *, line: str, key: str, max_wait: float
    ) -> Waited:
        return await self.lines.wait(candidates, tokens, line=line, key=key, max_wait=max_wait)

    def levels(self, half: Half) -> list[Level]:
        now = self.now()
        return [
            Level(counter, owner.remaining(now), seconds(owner.reset(now)))
            for counter, owner in zip(half.counters, half.cells, strict=True)
        ]

    def seed(self, rows: Iterable[Row]) -> None:
        for row in rows:
            identity = (row.scope, row.owner, row.kind)
            found = self._cells.get(identity)
            if found is None:
                found = self._cells[identity] = cell(row.kind)
            found.load(row.value, row.at)

    def snapshot(self) -> Iterator[list[Row]]:
        cells = list(self._cells.items())
        for first in range(0, len(cells), SLICE):
            # Requests may have come since the last part, and no counter may be taken back in time.
            now, rows = self.now(), list[Row]()
            for identity, owner in cells[first : first + SLICE]:
                # Most counters were not touched, and many rest: a bucket that is full again, a window of yesterday.
                if owner.save() != owner.told:
                    rests = owner.rests(now)
                    saved = owner.told = owner.save()
                    if saved is not None and not rests:
                        rows.append(Row(*identity, *saved))
            yield rows

    def status(self) -> str:
        return ""

    async def close(self) -> None:
        """What must last is the caller's to save with ``snapshot``."""
        await self.lines.close()

    def __repr__(self) -> str:
        return f"<MemoryLimits of {len(self._cells)} counters>"


def take(half: Half, now: int, tokens: int) -> Refusal | None:
    """Take all of ``half`` or nothing."""
    for owner in half.ones:
        if not owner.take(now, 1):
            return _refuse(half, owner, now, tokens)
    for owner, most in half.tokens:
        if not owner.take(now, tokens if tokens < most else most):
            return _refuse(half, owner, now, tokens)
    return None


def _refuse(half: Half, full: Cell, now: int, tokens: int) -> Refusal:
    """Undo the takes before ``full``, then find the counter to wait longest for."""
    for owner in half.ones:
        if owner is full:
            break
        owner.give(now, 1)
    else:
        for owner, most in half.tokens:
            if owner is full:
                break
            owner.give(now, min(tokens, most))
    longest, worst = -1, half.counters[0]
    for counter, owner in zip(half.counters, half.cells, strict=True):
        amount = min(tokens, capacity(counter)) if counter.kind in TOKEN_KINDS else 1
        wait = owner.wait(now, amount)
        if wait > longest:
            longest, worst = wait, counter
    return Refusal(worst, max(1, seconds(longest)))


def put_back(half: Half, at: int, tokens: int) -> None:
    """Undo the take of ``half`` at ``at``."""
    for owner in half.ones:
        owner.give(at, 1)
    for owner, most in half.tokens:
        owner.give(at, tokens if tokens < most else most)


def spend(half: Half, clock: Callable[[], float], at: int, reserved: int, tokens: int | None) -> None:
    """End the take of ``half`` at ``at`` that reserved ``reserved`` and used ``tokens``; None: what was reserved."""
    for gauge in half.gauges:
        gauge.used -= 1
    if tokens is not None and half.tokens:
        now = int(clock() * 1000 + 0.5)
        used = believable(tokens)
        for owner, most in half.tokens:
            difference = (reserved if reserved < most else most) - used
            if difference:
                owner.settle(now, at, difference)
