"""Token buckets, calendar windows and gauges in whole numbers; ``limits.lua`` says the same to Redis.

Times are epoch milliseconds and arguments. A bucket's level is counted in parts: one request or token has as many parts as its
period has milliseconds, so that a limit of N refills exactly N parts a millisecond and nothing is ever rounded. All numbers stay
below 2**53, where Lua's doubles are exact too.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar, Protocol

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MOST = 2_000_000_000
"""The largest limit that is told from none: an hour's bucket of it still has fewer than 2**53 parts."""

NEVER = -1


class Cell(Protocol):
    """The state of one counter. ``at`` of a lease is the moment of its admission."""

    told: tuple[int, int] | None
    """What ``save`` said when it was last asked by somebody who wrote it down."""

    def bound(self, now: int, limit: int, burst: int) -> None:
        """Set the numbers; what was used stays used."""

    def take(self, now: int, amount: int) -> bool:
        """Take ``amount`` if there is room for all of it, else nothing."""

    def give(self, at: int, amount: int) -> None:
        """Put back all that a take at ``at`` took."""

    def settle(self, now: int, at: int, difference: int) -> None:
        """Correct a take at ``at``: a positive ``difference`` was not used, a negative one was used beyond."""

    def wait(self, now: int, amount: int) -> int:
        """Milliseconds until ``amount`` can be taken if nobody else takes anything; 0 if it can be now."""

    def remaining(self, now: int) -> int:
        """Whole requests or tokens that could be taken now."""

    def reset(self, now: int) -> int:
        """Milliseconds until all of it is free again."""

    def save(self) -> tuple[int, int] | None:
        """The state as (value, epoch milliseconds), None if there is nothing to keep."""

    def load(self, value: int, at: int) -> None:
        """Take over a saved state unless a fuller one is here already."""

    def rests(self, now: int) -> bool:
        """Whether a fresh cell would be no different."""


class Bucket:
    """A token bucket of ``burst`` that refills at ``limit`` per period. Below zero it owes what was used beyond a reservation."""

    __slots__ = ("at", "cap", "level", "rate", "told", "unit")

    def __init__(self, period: int) -> None:
        self.unit = period
        self.rate = 0
        self.cap = 0
        self.level = 0
        self.at = NEVER
        self.told: tuple[int, int] | None = None

    def bound(self, now: int, limit: int, burst: int) -> None:
        if self.at == NEVER:
            self.level = burst * self.unit
        elif self.rate:
            # The time until now was refilled at the old rate; one that was only loaded has had none yet.
            self._refill(now)
        self.rate = limit
        self.cap = burst * self.unit
        self.level = min(self.level, self.cap)

    def _refill(self, now: int) -> None:
        elapsed = now - self.at
        # A clock that was set back gives nothing, and counts from where it stands now.
        self.at = now
        if elapsed > 0:
            level = self.level + elapsed * self.rate
            self.level = level if level < self.cap else self.cap

    def take(self, now: int, amount: int) -> bool:
        # The refill is written out here: this runs a dozen times for every request, and a call costs as much as the rest.
        elapsed = now - self.at
        if elapsed:
            self.at = now
            if elapsed > 0:
                level = self.level + elapsed * self.rate
                self.level = level if level < self.cap else self.cap
        level = self.level - amount * self.unit
        if level < 0:
            return False
        self.level = level
        return True

    def give(self, at: int, amount: int) -> None:
        level = self.level + amount * self.unit
        self.level = level if level < self.cap else self.cap

    def settle(self, now: int, at: int, difference: int) -> None:
        # Refilled first: a debt counts against what is in the bucket now, not against what it could not hold.
        self._refill(now)
        self.level = min(self.level + difference * self.unit, self.cap)

    def wait(self, now: int, amount: int) -> int:
        self._refill(now)
        missing = amount * self.unit - self.level
        return -(-missing // self.rate) if missing > 0 else 0

    def remaining(self, now: int) -> int:
        self._refill(now)
        return max(0, self.level // self.unit)

    def reset(self, now: int) -> int:
        self._refill(now)
        return -(-(self.cap - self.level) // self.rate)

    def save(self) -> tuple[int, int] | None:
        return None if self.at == NEVER else (self.level, self.at)

    def load(self, value: int, at: int) -> None:
        if self.at == NEVER:
            self.level = value
            self.at = at

    def rests(self, now: int) -> bool:
        if not self.rate:
            return False
        self._refill(now)
        return self.level == self.cap


class Window:
    """A count that begins anew with each calendar period of UTC. What a lease took counts in the window of its admission."""

    __slots__ = ("bounds", "end", "limit", "start", "told", "used")

    def __init__(self, bounds: Callable[[int], tuple[int, int]]) -> None:
        self.bounds = bounds
        self.limit = 0
        self.used = 0
        self.start = NEVER
        self.end = NEVER
        self.told: tuple[int, int] | None = None

    def bound(self, now: int, limit: int, burst: int) -> None:
        self.limit = limit

    def _turn(self, now: int) -> None:
        # A clock set back over midnight stays in the later window, or a day could be used twice. A whole day back is believed: such
        # a clock had been wrong before.
        if now >= self.end or now < self.start - DAY:
            self.start, self.end = self.bounds(now)
            self.used = 0

    def take(self, now: int, amount: int) -> bool:
        if now >= self.end or now < self.start:
            self._turn(now)
        used = self.used + amount
        if used > self.limit:
            return False
        self.used = used
        return True

    def give(self, at: int, amount: int) -> None:
        if at >= self.start:
            self.used = max(0, self.used - amount)

    def settle(self, now: int, at: int, difference: int) -> None:
        self.give(at, difference)

    def wait(self, now: int, amount: int) -> int:
        self._turn(now)
        return self.end - now if self.used + amount > self.limit else 0

    def remaining(self, now: int) -> int:
        self._turn(now)
        return max(0, self.limit - self.used)

    def reset(self, now: int) -> int:
        self._turn(now)
        return self.end - now

    def save(self) -> tuple[int, int] | None:
        return (self.used, self.start) if self.used else None

    def load(self, value: int, at: int) -> None:
        start, end = self.bounds(at)
        if start > self.start:
            self.used, self.start, self.end = value, start, end
        elif start == self.start:
            self.used = max(self.used, value)

    def rests(self, now: int) -> bool:
        self._turn(now)
        return self.used == 0


class Gauge:
    """How many are under way at once."""

    __slots__ = ("limit", "told", "used")
    WAIT: ClassVar[int] = 1000
    """Nobody knows when a running request ends: told to come back in a second."""

    def __init__(self) -> None:
        self.limit = 0
        self.used = 0
        self.told: tuple[int, int] | None = None

    def bound(self, now: int, limit: int, burst: int) -> None:
        self.limit = limit

    def take(self, now: int, amount: int) -> bool:
        used = self.used
        if used >= self.limit:
            return False
        self.used = used + 1
        return True

    def give(self, at: int, amount: int) -> None:
        self.used -= 1

    def settle(self, now: int, at: int, difference: int) -> None:
        self.used -= 1

    def wait(self, now: int, amount: int) -> int:
        return self.WAIT if self.used >= self.limit else 0

    def remaining(self, now: int) -> int:
        return max(0, self.limit - self.used)

    def reset(self, now: int) -> int:
        return self.WAIT if self.used else 0

    def save(self) -> tuple[int, int] | None:
        return None

    def load(self, value: int, at: int) -> None:
        """What was under way before a restart is not any more."""

    def rests(self, now: int) -> bool:
        return self.used == 0


def day(now: int) -> tuple[int, int]:
    """The first millisecond of the UTC day of ``now``, and that of the next."""
    start = now - now % DAY
    return start, start + DAY


def month(now: int) -> tuple[int, int]:
    """The first millisecond of the UTC month of ``now``, and that of the next."""
    first = datetime.fromtimestamp(now // 1000, UTC).replace(day=1, hour=0, minute=0, second=0)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(first.timestamp()) * 1000, int(following.timestamp()) * 1000


def believable(tokens: int) -> int:
    """``tokens`` as a provider reports them, within what a counter can hold: nonsense must not become a debt that no number can say."""
    return 0 if tokens < 0 else tokens if tokens < MOST else MOST


def seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up."""
    return -(-milliseconds // 1000)
