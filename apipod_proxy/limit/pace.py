"""Waiting for room instead of being refused, and budgets for what is done beyond what was asked."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from aiolimiter import AsyncLimiter

from apipod_proxy.limit.backend import Half
from apipod_proxy.limit.model import CONCURRENCY, PERIODS, REQUEST_KINDS, Admission, Counter, Refusal, Waited

MOST = 1000
"""Waiters in one line; more are refused."""
SOONEST = 0.01
"""Seconds between two looks for room that time brings."""
LATEST = 1.0


class Budget:
    """Leave for repeats, hedges or probes: at most ``most`` per ``seconds``, and if ``share`` is given, never more than that part of what
    was earned before (0.05: one for every twenty)."""

    __slots__ = ("_earned", "_limiter", "_share")

    def __init__(self, most: float, seconds: float, share: float | None = None) -> None:
        self._limiter = AsyncLimiter(most, seconds)
        self._share = share
        self._earned = 0.0

    def earn(self) -> None:
        """Count one request as it was asked for."""
        if self._share is not None:
            # What nobody used in a quiet hour must not all be spent in a bad minute.
            self._earned = min(self._earned + self._share, self._limiter.max_rate)

    def try_take(self) -> bool:
        """Take one if there is leave for it; needs a running loop."""
        # A sum of twenty times 0.05 is a little less than one.
        if (self._share is not None and self._earned < 1.0 - 1e-9) or not self._limiter.has_capacity():
            return False
        if self._share is not None:
            self._earned -= 1.0
        # With capacity there, acquiring never waits: the coroutine is run to its end in one step.
        try:
            self._limiter.acquire().send(None)
        except StopIteration:
            return True
        raise AssertionError("a limiter with capacity let its taker wait")


class _Pacer(NamedTuple):
    counter: Counter
    gap: float
    """Seconds from one to the next."""
    limiter: AsyncLimiter


class _Waiter:
    __slots__ = ("candidates", "future", "refusal", "tokens")

    def __init__(self, candidates: Sequence[Half], tokens: int, future: asyncio.Future[Waited]) -> None:
        self.candidates = candidates
        self.tokens = tokens
        self.future = future
        self.refusal: Refusal | None = None


class _Line:
    """Those who wait for the same model, by key: each key's first in turn."""

    __slots__ = ("count", "keys", "refusal", "room", "usher")

    def __init__(self) -> None:
        self.keys: dict[str, dict[_Waiter, None]] = {}
        self.count = 0
        self.refusal: Refusal | None = None
        self.room = asyncio.Event()
        self.usher: asyncio.Task[None] | None = None

    def join(self, key: str, waiter: _Waiter) -> None:
        self.keys.setdefault(key, {})[waiter] = None
        self.count += 1

    def leave(self, key: str, waiter: _Waiter) -> None:
        waiters = self.keys.get(key, {})
        if waiter in waiters:
            del waiters[waiter]
            self.count -= 1
            if not waiters:
                del self.keys[key]

    def next_turn(self, key: str) -> None:
        """The key was served: it comes after all others."""
        waiters = self.keys.pop(key, None)
        if waiters:
            self.keys[key] = waiters


class Lines:
    """``admit`` is that of the back end; ``poll``: seconds after which a full gauge is looked at again, for room that others make."""

    def __init__(self, admit: Callable[[None, Half, int], Awaitable[Admission]], poll: float) -> None:
        self._admit = admit
        self._poll = poll
        self._lines: dict[str, _Line] = {}
        self._pacers: dict[tuple[str, str, str], _Pacer] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def waiting(self, line: str) -> int:
        """How many wait in ``line``; who comes newly should then wait too, or it would push in."""
        found = self._lines.get(line)
        return found.count if found is not None else 0

    def room(self) -> None:
        """Something was given back."""
        for line in self._lines.values():
            line.room.set()

    async def wait(
        self, candidates: Sequence[Half], tokens: int, *, line: str, key: str, max_wait: float
    ) -> Waited:
        """See ``Limits.wait``."""
        refusal: Refusal | None = None
        if not self.waiting(line):
            for index, half in enumerate(candidates):
                admission = await self._admit(None, half, tokens)
                if not admission.refused:
                    return Waited(index, admission)
                refusal = _sooner(refusal, admission.refusal)
            if refusal is None or _hopeless(refusal, max_wait):
                return _refused(refusal)
        joined = self._lines.get(line)
        if joined is None:
            joined = self._lines[line] = _Line()
        too_long = self._too_long(joined, candidates, max_wait)
        if too_long is not None:
            return _refused(too_long)
        waiter = _Waiter(candidates, tokens, asyncio.get_running_loop().create_future())
        waiter.refusal = refusal or joined.refusal
        return await self._stand(line, joined, key, waiter, max_wait)

    async def _stand(self, name: str, line: _Line, key: str, waiter: _Waiter, max_wait: float) -> Waited:
        line.join(key, waiter)
        line.room.set()
        if line.usher is None:
            line.usher = asyncio.create_task(self._usher(name, line), name=f"line for {name}")
        future = waiter.future
        try:
            async with asyncio.timeout(max_wait):
                return await future
        except TimeoutError:
            # Let in at the very moment in which the time was up.
            return future.result() if future.done() and not future.cancelled() else _refused(waiter.refusal)
        except asyncio.CancelledError:
            # Let in at the very moment in which the client left.
            if future.done() and not future.cancelled():
                _give_back(future.result().admission)
            raise
        finally:
            line.leave(key, waiter)

    def _too_long(self, line: _Line, candidates: Sequence[Half], max_wait: float) -> Refusal | None:
        """Why it makes no sense to join ``line``, if so."""
        if line.count >= MOST:
            return line.refusal
        pacers = [pacer for half in candidates if (pacer := self._pacer(half)) is not None]
        if len(pacers) < len(candidates):
            return None
        turn = (line.count + 1) / sum(1.0 / pacer.gap for pacer in pacers)
        # The first to come may find its gap over already.
        return Refusal(pacers[0].counter, math.ceil(turn)) if line.count and turn > max_wait else None

    async def _usher(self, name: str, line: _Line) -> None:
        """Let in whom there is room for, until nobody waits."""
        try:
            while line.count:
                line.room.clear()
                delay = await self._look(line)
                if line.count:
                    try:
                        async with asyncio.timeout(delay):
                            await line.room.wait()
                    except TimeoutError:
                        pass  # time itself may have made room
        finally:
            line.usher = None
            if not line.count and self._lines.get(name) is line:
                del self._lines[name]

    async def _look(self, line: _Line) -> float:
        """Let in the first of each key in turn while there is room; the seconds after which to look again."""
        full: dict[Half, Refusal] = {}
        delay, served = LATEST, True
        while served:
            served = False
            for key in list(line.keys):
                waiter = next(iter(line.keys.get(key, ())), None)
                if waiter is None:
                    continue
                for index, half in enumerate(waiter.candidates):
                    # Who is refused first keeps its place before this candidate: smaller requests behind do not slip past a large one.
                    if half not in full:
                        refusal, soon = await self._let_in(waiter, index)
                        if refusal is None:
                            served = True
                            line.leave(key, waiter)
                            line.next_turn(key)
                            break
                        full[half], delay = refusal, min(delay, soon)
                    waiter.refusal = line.refusal = _sooner(waiter.refusal if index else None, full[half])
        return delay

    async def _let_in(self, waiter: _Waiter, index: int) -> tuple[Refusal | None, float]:
        """None if it was let in, else what refused it; and the seconds after which that may have changed."""
        half = waiter.candidates[index]
        pacer = self._pacer(half)
        if pacer is not None and not pacer.limiter.has_capacity():
            return Refusal(pacer.counter, math.ceil(pacer.gap)), max(SOONEST, min(pacer.gap, LATEST))
        admission = await self._admit(None, half, waiter.tokens)
        if admission.refusal is not None:
            return admission.refusal, self._delay(admission.refusal)
        if pacer is not None:
            try:
                await pacer.limiter.acquire()
            except asyncio.CancelledError:
                _give_back(admission)
                raise
        if waiter.future.done():
            # Gone while the back end was asked.
            _give_back(admission)
        else:
            waiter.future.set_result(Waited(index, admission))
        return None, 0.0

    def _delay(self, refusal: Refusal) -> float:
        counter = refusal.counter
        if counter.kind == CONCURRENCY:
            return self._poll
        # A refusal tells whole seconds; a fast bucket has room for one much sooner.
        gap = PERIODS.get(counter.kind, 60_000) / counter.limit / 1000
        return min(LATEST, refusal.retry_after, max(SOONEST, gap))

    def _pacer(self, half: Half) -> _Pacer | None:
        """The limiter of the model's slowest rate, where it has one."""
        slowest: Counter | None = None
        slowest_gap = 0.0
        for counter in half.counters:
            if counter.kind in PERIODS and counter.kind in REQUEST_KINDS:
                gap = PERIODS[counter.kind] / counter.limit / 1000
                if gap > slowest_gap:
                    slowest, slowest_gap = counter, gap
        if slowest is None:
            return None
        pacer = self._pacers.get(slowest[:3])
        if pacer is None or pacer.counter != slowest:
            # A quarter of a second's worth at once: a late timer costs no throughput.
            most = max(1.0, 0.25 / slowest_gap)
            pacer = _Pacer(slowest, slowest_gap, AsyncLimiter(most, most * slowest_gap))
            self._pacers[slowest[:3]] = pacer
        return pacer

    async def close(self) -> None:
        """Let nobody in any more; who waits is refused when its time is up."""
        ushers = [line.usher for line in self._lines.values() if line.usher is not None]
        for usher in ushers:
            usher.cancel()
        await asyncio.gather(*ushers, return_exceptions=True)


def _refused(refusal: Refusal | None) -> Waited:
    return Waited(-1, Admission(None, None, refusal, "candidate"))


def _sooner(one: Refusal | None, other: Refusal | None) -> Refusal | None:
    if one is None or other is None:
        return one or other
    return other if other.retry_after < one.retry_after else one


def _hopeless(refusal: Refusal, max_wait: float) -> bool:
    """Whether time alone says so; what runs may end, or have reserved more tokens than it uses, at any moment."""
    return refusal.counter.kind not in (CONCURRENCY, "tpm") and refusal.retry_after - 1 >= max_wait


def _give_back(admission: Admission) -> None:
    if admission.candidate is not None:
        admission.candidate.settle(None, sent=False)
