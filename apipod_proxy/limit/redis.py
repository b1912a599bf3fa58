"""Limits kept in a Redis that several processes share; each keeps to its share while Redis is slow or away.

An admission is one call of ``limits.lua``. Settlements are summed and sent together every few milliseconds, each batch counting once. What is
under way is a lease that lives for a minute and is renewed in batches, so that the leases of a process that died free themselves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import ClassVar
from weakref import WeakValueDictionary

from hiredis import ReplyError

from apipod_proxy.limit import script
from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.buckets import believable, day, month, seconds
from apipod_proxy.limit.fallback import Fallback
from apipod_proxy.limit.link import AWAY, Link, Reseed, ask
from apipod_proxy.limit.memory import put_back, spend, take
from apipod_proxy.limit.model import (
    CONCURRENCY,
    PERIODS,
    TOKEN_KINDS,
    Admission,
    Counter,
    Level,
    Refusal,
    Row,
    Waited,
    distinct,
)
from apipod_proxy.limit.pace import Lines
from apipod_proxy.limit.script import BY_DIGEST, BY_SOURCE, Call, Entry, Known, RedisHalf, Settlements
from apipod_proxy.limit.wire import Wire

LOG = logging.getLogger(__name__)

LEASE = 60_000
RENEW = 20.0
"""Seconds after which a lease is renewed: two renewals may fail before it expires."""
GATHER = 0.004
"""Seconds for which settlements are gathered."""
MOST_UNANSWERED = 1000
REMEMBERED = 100.0
"""Seconds for which a batch may be sent again: Redis knows its name for a little longer."""
POLL = 0.02
"""Seconds after which who waits looks whether another process has made room."""


class RedisLease:
    """What one half took. ``repr`` says held, settled or returned."""

    __slots__ = ("age", "at", "half", "identity", "limits", "reserved", "shadow", "state")

    def __init__(
        self,
        limits: RedisLimits,
        half: RedisHalf,
        identity: bytes,
        at: int,
        reserved: int,
        shadow: Half | None,
        age: int,
    ) -> None:
        """``shadow`` and ``age``: set when it was taken here, while Redis was away for the ``age``th time."""
        self.limits = limits
        self.half = half
        self.identity = identity
        self.at = at
        self.reserved = reserved
        self.shadow = shadow
        self.age = age
        self.state = "held"

    def settle(self, tokens: int | None, *, sent: bool) -> None:
        if self.state == "held":
            self.state = "settled" if sent else "returned"
            self.limits.settle(self, tokens, sent)

    def __repr__(self) -> str:
        return f"<Lease {self.state}: {self.half!r}>"


class RedisLimits:
    """``reseed`` gives the window totals of the usage log for a Redis that has lost them; ``processes`` is the least that are known to
    live. With ``own_time`` unset, Redis goes by ``clock`` (epoch seconds) instead of its own."""

    admit_now: ClassVar[None] = None
    """Redis is always waited for."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "apipod",
        clock: Callable[[], float] = time.time,
        reseed: Reseed | None = None,
        processes: int = 1,
        own_time: bool = True,
    ) -> None:
        self._prefix = prefix
        self._own_time = own_time
        self._reseed = reseed
        self._fallback = Fallback(clock)
        self._fallback.begin(processes)
        self._link = Link(url, prefix, self._now, reseed, processes, self._lost, self._found, self._renew)
        self._count = 0
        self._known: WeakValueDictionary[bytes, Known] = WeakValueDictionary()
        self._live: dict[RedisLease, float] = {}
        """Leases of what is under way, the one renewed longest ago first."""
        self._settlements = Settlements()
        self._unanswered: dict[bytes, tuple[Call, float]] = {}
        """Batches by name, and when each was first sent."""
        self._delivery: asyncio.TimerHandle | None = None
        self._delivered = asyncio.Event()
        self._seeds: list[Row] = []
        self._lines = Lines(self.admit, POLL)

    async def start(self, patience: float = 0.5) -> None:
        """Connect, waiting ``patience`` seconds at most: without Redis, requests are served by this process's share."""
        await self._link.start(patience)
        if self._link.reason and self._reseed is not None:
            try:
                self._fallback.know(await self._reseed())
            except Exception:
                # Whatever the store raises: a process that cannot know what was used serves all the same.
                LOG.exception("limits: the usage log could not be counted up")

    # Admission

    def half(self, counters: Sequence[Counter]) -> RedisHalf:
        kept = distinct(counters)
        gauges = self._fallback.memory.half([c for c in kept if c.kind == CONCURRENCY])
        return RedisHalf([self._entry(counter) for counter in kept], gauges)

    def _entry(self, counter: Counter) -> Entry:
        made = script.entry(self._prefix, counter)
        known = self._known.setdefault(made.key, made.known)
        return made._replace(known=known)

    async def admit(self, caller: Half | None, candidate: Half | None, tokens: int) -> Admission:
        assert caller is None or isinstance(caller, RedisHalf)
        assert candidate is None or isinstance(candidate, RedisHalf)
        tokens = max(0, tokens)
        ended = bool(self._settlements)
        admission = await self._try(caller, candidate, tokens)
        if admission.refused and ended:
            # What refused may be among what had ended here and was not delivered yet.
            self._deliver()
            if admission.refused == "caller":
                return await self._try(caller, candidate, tokens)
            try:
                again = await self._try(None, candidate, tokens)
            except asyncio.CancelledError:
                if admission.caller is not None:
                    admission.caller.settle(None, sent=False)
                raise
            return again._replace(caller=admission.caller)
        return admission

    async def _try(self, caller: RedisHalf | None, candidate: RedisHalf | None, tokens: int) -> Admission:
        link = self._link
        wire = link.wire
        if link.reason or wire is None:
            return self._admit_here(caller, candidate, tokens)
        identity = self._identity()
        call = script.admit(caller, candidate, identity, tokens, LEASE, self._now())
        try:
            reply = await ask(wire, call, partial(self._late, caller, candidate, identity, tokens))
        except AWAY as exc:
            link.lose(exc, wire)
            if isinstance(exc, ConnectionError):
                self._disown(caller, candidate, identity)
            return self._admit_here(caller, candidate, tokens)
        return self._heard(caller, candidate, identity, tokens, reply)

    def _identity(self) -> bytes:
        self._count += 1
        return b"%b.%x" % (self._link.name, self._count)

    def _heard(
        self,
        caller: RedisHalf | None,
        candidate: RedisHalf | None,
        identity: bytes,
        tokens: int,
        reply: list[int],
    ) -> Admission:
        worst, wait, at = reply[0], reply[1], reply[2]
        now = self._fallback.memory.now()
        entries = (
            *(caller.entries if caller is not None else ()),
            *(candidate.entries if candidate is not None else ()),
        )
        for owner, left in zip(entries, reply[3:], strict=False):
            owner.known.left = left
            owner.known.at = now
        callers = len(caller.entries) if caller is not None else 0
        if 0 < worst <= callers:
            return Admission(None, None, Refusal(entries[worst - 1].counter, seconds(wait)), "caller")
        first = self._lease(caller, identity, at, tokens)
        if worst:
            return Admission(first, None, Refusal(entries[worst - 1].counter, seconds(wait)), "candidate")
        return Admission(first, self._lease(candidate, identity, at, tokens), None, "")

    def _lease(self, half: RedisHalf | None, identity: bytes, at: int, tokens: int) -> RedisLease | None:
        if half is None:
            return None
        lease = RedisLease(self, half, identity, at, tokens, None, 0)
        if half.gauges:
            for gauge in half.gauges:
                gauge.used += 1
            self._live[lease] = asyncio.get_running_loop().time()
        return lease

    def _late(
        self,
        caller: RedisHalf | None,
        candidate: RedisHalf | None,
        identity: bytes,
        tokens: int,
        reply: object,
    ) -> None:
        """An answer for which nobody waits any more: what it took goes back."""
        if isinstance(reply, list):
            admission = self._heard(caller, candidate, identity, tokens, reply)
            for lease in (admission.caller, admission.candidate):
                if lease is not None:
                    lease.settle(None, sent=False)
        elif isinstance(reply, ConnectionError):
            self._disown(caller, candidate, identity)

    def _disown(self, caller: RedisHalf | None, candidate: RedisHalf | None, identity: bytes) -> None:
        """Nobody will ever know whether it was admitted: should it be under way, it must not be for the minute that a lease lives."""
        for half in (caller, candidate):
            for owner in half.entries if half is not None else ():
                if owner.kind == b"g":
                    self._settlements.end(owner, identity)

    def _admit_here(self, caller: RedisHalf | None, candidate: RedisHalf | None, tokens: int) -> Admission:
        first: RedisLease | None = None
        if caller is not None:
            taken = self._take_here(caller, tokens)
            if isinstance(taken, Refusal):
                return Admission(None, None, taken, "caller")
            first = taken
        if candidate is None:
            return Admission(first, None, None, "")
        taken = self._take_here(candidate, tokens)
        if isinstance(taken, Refusal):
            return Admission(first, None, taken, "candidate")
        return Admission(first, taken, None, "")

    def _take_here(self, half: RedisHalf, tokens: int) -> RedisLease | Refusal:
        shadow, now = self._fallback.shadow(half), self._fallback.memory.now()
        refusal = take(shadow, now, tokens)
        if refusal is not None:
            whole = next(c for c in half.counters if c[:3] == refusal.counter[:3])
            return refusal._replace(counter=whole)
        lease = RedisLease(self, half, self._identity(), now, tokens, shadow, self._fallback.age)
        if half.gauges:
            self._live[lease] = 0.0
        return lease

    def waiting(self, line: str) -> int:
        return self._lines.waiting(line)

    async def wait(
        self, candidates: Sequence[Half], tokens: int, *, line: str, key: str, max_wait: float
    ) -> Waited:
        return await self._lines.wait(candidates, tokens, line=line, key=key, max_wait=max_wait)

    # Settlement

    def settle(self, lease: RedisLease, tokens: int | None, sent: bool) -> None:
        """Called once by each lease."""
        self._settle(lease, tokens, sent)
        if self._lines:
            self._deliver()
            self._lines.room()

    def _settle(self, lease: RedisLease, tokens: int | None, sent: bool) -> None:
        half, reserved = lease.half, lease.reserved
        self._live.pop(lease, None)
        if lease.shadow is not None and self._link.reason and lease.age == self._fallback.age:
            if sent:
                spend(lease.shadow, self._fallback.memory.clock, lease.at, reserved, tokens)
            else:
                put_back(lease.shadow, lease.at, reserved)
            return
        for gauge in half.gauges:
            gauge.used -= 1
        settlements = self._settlements
        for owner in half.entries:
            if owner.kind == b"g":
                settlements.end(owner, lease.identity)
            elif owner.counter.kind not in TOKEN_KINDS:
                settlements.add(owner, lease.at, 0 if sent else 1)
            else:
                most = min(reserved, owner.capacity)
                used = 0 if not sent else most if tokens is None else believable(tokens)
                settlements.add(owner, lease.at, most - used)
        if settlements and self._delivery is None and not self._link.reason:
            self._delivery = asyncio.get_running_loop().call_later(GATHER, self._deliver)

    def _deliver(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        wire = self._link.wire
        if self._link.reason or wire is None:
            return
        name = self._identity()
        for number, call in enumerate(self._settlements.batches(self._prefix, name, self._now())):
            self._send_batch(wire, b"%b.%d" % (name, number), call)

    def _send_batch(self, wire: Wire, name: bytes, call: Call, verb: bytes = BY_DIGEST) -> None:
        if name not in self._unanswered:
            self._unanswered[name] = (call, asyncio.get_running_loop().time())
            if len(self._unanswered) > MOST_UNANSWERED:
                # Ends of leases are made good by their expiry; what else is lost is the corrections of a few milliseconds.
                del self._unanswered[next(iter(self._unanswered))]
        wire.post(call.encode(verb), partial(self._answered, wire, name, call))

    def _answered(self, wire: Wire, name: bytes, call: Call, reply: object) -> None:
        if isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT"):
            self._send_batch(wire, name, call, BY_SOURCE)
            return
        if isinstance(reply, Exception):
            # Sent again when Redis is back; its name keeps it from counting twice.
            self._link.lose(reply, wire)
            return
        self._unanswered.pop(name, None)
        if not self._unanswered:
            self._delivered.set()

    async def flush(self, patience: float = 1.0) -> None:
        """Deliver all settlements so far, within ``patience`` seconds; what Redis does not take by then stays undelivered."""
        try:
            async with asyncio.timeout(patience):
                while not self._link.reason and (self._settlements or self._unanswered):
                    self._deliver()
                    self._delivered.clear()
                    if self._unanswered:
                        await self._delivered.wait()
        except TimeoutError:
            LOG.warning("limits: Redis did not take %d batches of settlements in time", len(self._unanswered))

    # What is known

    def levels(self, half: Half) -> list[Level]:
        assert isinstance(half, RedisHalf)
        if self._link.reason:
            return self._fallback.levels(half)
        now = self._fallback.memory.now()
        return [_level(owner, now) for owner in half.entries]

    def seed(self, rows: Iterable[Row]) -> None:
        self._seeds += rows
        if not self._link.reason:
            self._sow()

    def _sow(self) -> None:
        rows, self._seeds = self._seeds, []
        wire = self._link.wire
        if wire is not None:
            for first in range(0, len(rows), Settlements.MOST_ENTRIES):
                call = script.seed(self._prefix, rows[first : first + Settlements.MOST_ENTRIES], self._now())
                wire.post(call.encode(BY_SOURCE), partial(self._heed, wire))

    def snapshot(self) -> Iterator[list[Row]]:
        """Nothing: Redis keeps its counters over a restart of this process."""
        return iter(())

    def status(self) -> str:
        reason, processes = self._link.reason, self._link.processes
        return (
            f"degraded: {reason}; limits are kept at 1/{processes} in each of {processes} processes"
            if reason
            else ""
        )

    async def close(self) -> None:
        await self._lines.close()
        await self.flush()
        if self._delivery is not None:
            self._delivery.cancel()
        await self._link.close()

    def _now(self) -> bytes:
        return b"" if self._own_time else b"%d" % self._fallback.memory.now()

    # Redis is lost, found, still there

    def _lost(self) -> None:
        self._fallback.begin(self._link.processes)
        self._delivered.set()

    def _found(self, wiped: bool) -> None:
        """All of this leaves before the next admission, on the same connection."""
        now = self._fallback.memory.now()
        if wiped:
            # What was to be corrected is gone; the usage log has brought back the rest.
            self._settlements = Settlements()
            self._unanswered.clear()
        for owed in self._fallback.owed():
            if wiped and owed.entry.kind[1:] != b"b":
                self._seeds.append(Row(*owed.entry.counter[:3], owed.before + owed.taken, now))
            else:
                self._settlements.add(owed.entry, now, -owed.taken)
        self._renew(everything=True)
        self._sow()
        wire = self._link.wire
        assert wire is not None
        oldest = asyncio.get_running_loop().time() - REMEMBERED
        for name, (call, sent) in list(self._unanswered.items()):
            if sent > oldest:
                self._send_batch(wire, name, call)
            else:
                del self._unanswered[name]
        self._deliver()

    def _renew(self, everything: bool = False) -> None:
        """Let the leases live on that were not renewed for a while."""
        now = asyncio.get_running_loop().time()
        gauges: dict[bytes, list[bytes]] = {}
        count = 0
        for lease, renewed in list(self._live.items()):
            if not everything and now - renewed < RENEW:
                break
            del self._live[lease]
            self._live[lease] = now
            for owner in lease.half.entries:
                if owner.kind == b"g":
                    gauges.setdefault(owner.key, []).append(lease.identity)
                    count += 1
            if count >= Settlements.MOST_ENTRIES:
                self._send_renewal(gauges)
                gauges, count = {}, 0
        if gauges:
            self._send_renewal(gauges)

    def _send_renewal(self, gauges: dict[bytes, list[bytes]]) -> None:
        wire = self._link.wire
        if wire is not None:
            wire.post(
                script.renew(gauges.items(), LEASE, self._now()).encode(BY_SOURCE), partial(self._heed, wire)
            )

    def _heed(self, wire: Wire, reply: object) -> None:
        if isinstance(reply, Exception):
            self._link.lose(reply, wire)


def _level(owner: Entry, now: int) -> Level:
    """What is left by Redis's last answer and the time since."""
    known, counter = owner.known, owner.counter
    if owner.kind == b"g":
        return Level(counter, max(0, known.left), 1 if known.left < owner.capacity else 0)
    if counter.kind in PERIODS:
        parts = min(
            owner.capacity * owner.unit, known.left * owner.unit + max(0, now - known.at) * owner.limit
        )
        wait = -(-(owner.capacity * owner.unit - parts) // owner.limit)
        return Level(counter, max(0, parts // owner.unit), seconds(wait))
    start, end = (month if counter.kind.endswith("_per_month") else day)(now)
    return Level(counter, max(0, known.left) if known.at >= start else owner.capacity, seconds(end - now))
