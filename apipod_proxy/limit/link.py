"""The state of the connection to Redis: away, counted up after a loss, well, slow, away again."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from hiredis import HiredisError, ReplyError

from apipod_proxy.limit import script
from apipod_proxy.limit.model import Row
from apipod_proxy.limit.script import BY_DIGEST, BY_SOURCE, SOURCE, Call, Settlements
from apipod_proxy.limit.wire import Sink, Wire, command, connect, parse_url

LOG = logging.getLogger(__name__)

TIMEOUT = 0.05
"""Seconds in which Redis answers or is slow."""
BEAT = 5.0
LIFETIME = 15_000
"""Milliseconds for which a process counts as alive after its last beat."""
PROBE = 0.1
STUCK = 2.0
"""Seconds of silence after which a connection is given up."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
COUNTING = b"30000"
"""Milliseconds for which one process may be counting up the usage log."""
COUNT_AGAIN = 1.0
"""Seconds until a usage log that could not be read is tried again."""

AWAY = (HiredisError, ConnectionError, TimeoutError)
"""What the calls of a wire raise."""

Reseed = Callable[[], Awaitable[Iterable[Row]]]


async def ask(wire: Wire, call: Call, late: Sink | None = None) -> Any:
    """Call the script by its digest, and by its source where Redis does not know it. Who is cancelled leaves the reply to ``late``."""
    for verb in (BY_DIGEST, BY_SOURCE):
        reply = wire.call(call.encode(verb), late)
        try:
            return await reply
        except asyncio.CancelledError:
            if late is not None and reply.done() and not reply.cancelled():
                # It came in the very moment in which nobody wanted it any more.
                late(reply.exception() or reply.result())
            raise
        except ReplyError as exc:
            # A Redis that took over from another, or was told to forget its scripts.
            if verb is BY_SOURCE or not str(exc).startswith("NOSCRIPT"):
                raise
    raise AssertionError("a script that came with its source cannot be unknown")


class Link:
    """``reason`` is empty while Redis is well, and then ``wire`` is its connection. ``lost`` is called when it no longer is, ``found`` when
    it is again (with whether its data were lost meanwhile), ``beaten`` every few seconds in between."""

    def __init__(
        self,
        url: str,
        prefix: str,
        now: Callable[[], bytes],
        reseed: Reseed | None,
        processes: int,
        lost: Callable[[], None],
        found: Callable[[bool], None],
        beaten: Callable[[], None],
    ) -> None:
        self.name = secrets.token_hex(4).encode()
        self.reason = "Redis is not connected yet"
        self.wire: Wire | None = None
        self.processes = processes
        self._least_processes = processes
        self._address = parse_url(url)
        self._prefix = prefix
        self._now = now
        self._reseed = reseed
        self._lost = lost
        self._found = found
        self._beaten = beaten
        self._epoch = b""
        self._told = ""
        self._warned = False
        self._changed = asyncio.Event()
        self._well = asyncio.Event()
        self._pause = SHORTEST_PAUSE
        self._keeper: asyncio.Task[None] | None = None

    async def start(self, patience: float) -> None:
        """Connect, and go on doing so; returns when Redis is well or after ``patience`` seconds."""
        self._keeper = asyncio.create_task(self._keep(), name="link to redis")
        try:
            async with asyncio.timeout(patience):
                await self._well.wait()
        except TimeoutError:
            LOG.warning("limits: %s", self.reason)

    async def close(self) -> None:
        if self.wire is not None and not self.reason:
            try:
                await self.wire.call(command(b"ZREM", script.processes_key(self._prefix), self.name))
            except AWAY:
                pass  # the others miss it when its last beat is old
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def lose(self, problem: Exception | str, wire: Wire | None) -> None:
        """Redis was slow or refused on ``wire``; one that is no longer in use changes nothing."""
        if wire is not self.wire:
            return
        well, self.reason = not self.reason, _sentence(problem)
        self._changed.set()
        if well:
            LOG.warning("limits: %s; each of %d processes keeps to its share", self.reason, self.processes)
            self._lost()

    async def _keep(self) -> None:
        while True:
            try:
                wire = await connect(self._address, TIMEOUT, self._changed.set)
            except ConnectionError as exc:
                # Where Redis stands is for the log; the reason is shown to everybody who asks for the health.
                if str(exc) != self._told:
                    self._told = str(exc)
                    LOG.warning("limits: no connection to Redis: %s", exc)
                self.lose("Redis cannot be reached", self.wire)
            else:
                try:
                    await self._use(wire)
                except AWAY as exc:
                    self._follow(exc)
                    self.lose(exc, self.wire)
                finally:
                    wire.close()
                    await wire.wait_closed()
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
            self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _follow(self, problem: Exception) -> None:
        """A cluster says at which node the keys are."""
        words = str(problem).split()
        if isinstance(problem, ReplyError) and words[:1] == ["MOVED"]:
            host, _, port = words[2].rpartition(":")
            self._address = self._address._replace(host=host or self._address.host, port=int(port))

    async def _use(self, wire: Wire) -> None:
        """Until the connection fails."""
        while True:
            await self._enter(wire)
            while not self.reason:
                try:
                    async with asyncio.timeout(BEAT):
                        await self._changed.wait()
                except TimeoutError:
                    await self._look(wire)
                if wire.closed:
                    raise ConnectionError("the connection was lost")
                self._changed.clear()
            await self._probe(wire)

    async def _look(self, wire: Wire) -> None:
        try:
            epoch = await self._beat(wire)
        except TimeoutError as exc:
            self.lose(exc, wire)
            return
        if epoch == self._epoch:
            self._beaten()
        else:
            self.lose("Redis has lost its data", wire)

    async def _beat(self, wire: Wire) -> bytes:
        living, epoch = await ask(wire, script.beat(self._prefix, self.name, LIFETIME, self._now()))
        self.processes = max(living, self._least_processes)
        assert isinstance(epoch, bytes)
        return epoch

    async def _probe(self, wire: Wire) -> None:
        """Return when Redis answers in time again."""
        loop = asyncio.get_running_loop()
        good, heard = 0, loop.time()
        while good < 2:
            await asyncio.sleep(PROBE)
            try:
                await self._beat(wire)
            except TimeoutError:
                good = 0
                if loop.time() - heard > STUCK:
                    raise
            else:
                good, heard = good + 1, loop.time()

    async def _enter(self, wire: Wire) -> None:
        """Make sure that this Redis knows what windows have used, then let it serve."""
        await wire.call(command(b"SCRIPT", b"LOAD", SOURCE))
        run = await self._run_id(wire)
        while not (epoch := await self._beat(wire)).startswith(run + b"."):
            if not await self._count_up(wire, run):
                await asyncio.sleep(PROBE)
        wiped = self._epoch not in (b"", epoch)
        self._epoch = epoch
        self._told = ""
        self._pause = SHORTEST_PAUSE
        self._changed.clear()
        self.wire, self.reason = wire, ""
        self._well.set()
        LOG.info("limits: kept in Redis, for %d processes", self.processes)
        self._found(wiped)

    async def _run_id(self, wire: Wire) -> bytes:
        """What changes when Redis restarts or another takes over, from its own file or from nothing."""
        try:
            server = _fields(await wire.call(command(b"INFO", b"server")))
            memory = _fields(await wire.call(command(b"INFO", b"memory")))
        except ReplyError:
            return b"unknown"  # not every operator lets a client ask
        policy = memory.get(b"maxmemory_policy", b"noeviction")
        if policy != b"noeviction" and memory.get(b"maxmemory", b"0") != b"0" and not self._warned:
            self._warned = True
            LOG.warning(
                "limits: this Redis may evict counters (maxmemory-policy %s), and who lost his begins anew; it should be noeviction",
                policy.decode("ascii", "replace"),
            )
        return server.get(b"run_id", b"unknown")

    async def _count_up(self, wire: Wire, run: bytes) -> bool:
        """Seed the windows from the usage log, unless another process is at it."""
        lock = b"{%b}:counting" % self._prefix.encode()
        if await wire.call(command(b"SET", lock, self.name, b"NX", b"PX", COUNTING)) is None:
            return False
        if self._reseed is not None:
            try:
                rows = list(await self._reseed())
            except Exception:
                # Whatever the store raises: until its totals are known, this process keeps to its share.
                LOG.exception("limits: the usage log could not be counted up")
                await wire.call(command(b"DEL", lock))
                self.reason = "the usage log cannot be counted up for Redis"
                await asyncio.sleep(COUNT_AGAIN)
                return False
            for first in range(0, len(rows), Settlements.MOST_ENTRIES):
                await ask(
                    wire,
                    script.seed(self._prefix, rows[first : first + Settlements.MOST_ENTRIES], self._now()),
                )
        epoch = run + b"." + secrets.token_hex(4).encode()
        await wire.call(command(b"SET", script.epoch_key(self._prefix), epoch))
        await wire.call(command(b"DEL", lock))
        return True


def _fields(info: bytes) -> dict[bytes, bytes]:
    """The answer to INFO."""
    return {name: value for name, _, value in (line.partition(b":") for line in info.splitlines())}


def _sentence(problem: Exception | str) -> str:
    if isinstance(problem, TimeoutError):
        return f"Redis takes longer than {TIMEOUT * 1000:.0f} ms"
    if isinstance(problem, ReplyError):
        return f"Redis refuses ({problem})"
    return str(problem)
