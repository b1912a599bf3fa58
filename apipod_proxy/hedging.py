"""Two attempts at one request: when the first is late a second candidate is asked, and whoever has content first answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from apipod_proxy.catalog.model import Candidate
from apipod_proxy.errors import ProxyError
from apipod_proxy.limit.model import Lease
from apipod_proxy.route.classify import Action
from apipod_proxy.trial import Outrun, Trial

if TYPE_CHECKING:
    from apipod_proxy.gateway import Ask, Gateway


class Ended(NamedTuple):
    """How hedged attempts ended: ``failed`` is None when the client has its answer, else why the last one failed."""

    failed: ProxyError | None
    candidate: Candidate


class Race:
    """The attempts at one request. The first one that wins cuts the others off within the same callback."""

    __slots__ = ("_ask", "_gateway", "_trials", "decided", "winner", "won_after")

    def __init__(self, gateway: Gateway, ask: Ask) -> None:
        self._gateway = gateway
        self._ask = ask
        self._trials: list[Trial] = []
        self.winner: Trial | None = None
        self.won_after = 0.0
        """Seconds from the start of the winning attempt to its first content (its whole answer, where that is not streamed)."""
        self.decided: asyncio.Future[None] = gateway.loop.create_future()
        if ask.outlet is not None:
            ask.outlet.on_claim = self._claimed

    def enter(self, trial: Trial) -> None:
        """``trial`` is about to send its request. Raises Outrun where there is an answer already."""
        if self.winner is not None:
            raise Outrun
        self._trials.append(trial)

    def win(self, trial: Trial) -> None:
        """``trial`` answers; the headers become its own."""
        if self.winner is not None:
            return
        self.winner = trial
        self.won_after = self._gateway.loop.time() - trial.started_at
        others = [other for other in self._trials if other is not trial]
        for other in others:
            # The ledger takes the last attempt for the one that answered, so losers are settled first.
            other.outrun()
        x, client = self._ask.x, self._ask.client
        if trial.prepared is not None:
            x.dropped = trial.prepared.dropped
        client.headers = self._gateway.headers(x, trial.candidate)
        if not self.decided.done():
            self.decided.set_result(None)

    def abandon(self) -> None:
        """No attempt is worth going on with."""
        for trial in self._trials:
            trial.outrun()

    def _claimed(self, pump: object) -> None:
        for trial in self._trials:
            if trial.pump is pump:
                self.win(trial)
                return


def route_of(ask: Ask) -> str:
    """The name of the route among those of all subscriptions, each of which may lead another way by the same name."""
    principal = ask.x.principal
    assert principal is not None
    return f"{principal.subscription.name} {ask.way.plan.route}"


async def hedged(
    gateway: Gateway, ask: Ask, first: Candidate, lease: Lease, rest: Iterable[Candidate]
) -> Ended:
    """Ask ``first``, and one of ``rest`` (an iterator, taken from) too if nothing has come when most requests of the route have their first content.

    Raises what an attempt raises that is no failure of a provider. No task is left behind, also when the client leaves.
    """
    route, hedges = route_of(ask), gateway.hedges
    race = Race(gateway, ask)
    delay = hedges.delay(route)
    if delay is None:
        ended = Ended(await gateway.attempt(ask, first, lease, race), first)
    else:
        ended = await _run(gateway, ask, race, (first, lease), rest, delay)
    if race.winner is not None:
        hedges.observe(route, race.won_after)
    return ended


async def _run(
    gateway: Gateway,
    ask: Ask,
    race: Race,
    first: tuple[Candidate, Lease],
    rest: Iterable[Candidate],
    delay: float,
) -> Ended:
    running = {gateway.loop.create_task(gateway.attempt(ask, *first, race)): first[0]}
    try:
        waiting: list[asyncio.Future[Any]] = [*running, race.decided]
        await asyncio.wait(waiting, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
        late = race.winner is None and not any(task.done() for task in running)
        if late and gateway.hedges.allowed(route_of(ask)):
            second = await _next_with_room(gateway, ask, race, rest)
            if second is not None:
                running[gateway.loop.create_task(gateway.attempt(ask, *second, race))] = second[0]
        return await _outcome(gateway, race, running, first[0])
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _next_with_room(
    gateway: Gateway, ask: Ask, race: Race, rest: Iterable[Candidate]
) -> tuple[Candidate, Lease] | None:
    for candidate in rest:
        try:
            lease = await ask.room.admit(gateway.serving.seat(candidate).half)
        except BaseException:
            gateway.parts.health.skipped(candidate)
            raise
        if lease is not None and race.winner is None:
            return candidate, lease
        gateway.parts.health.skipped(candidate)
        if lease is not None:
            # The answer came while the back end was asked.
            ask.room.settle(lease, None, sent=False)
            return None
    return None


async def _outcome(
    gateway: Gateway,
    race: Race,
    running: dict[asyncio.Task[ProxyError | None], Candidate],
    first: Candidate,
) -> Ended:
    """Wait until one has answered, or the request itself is rejected, or all have failed. Takes those that ended out of ``running``."""
    ended = Ended(None, first)
    while running:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        ends = [Ended(task.result(), running.pop(task)) for task in done]
        for end in ends:
            if end.failed is None:
                # First of all: what ended in the same moment, and in whatever way, came too late.
                return end
        for failed, candidate in ends:
            if failed is not None and not isinstance(failed, Outrun):
                ended = Ended(failed, candidate)
                if gateway.verdict(failed, candidate).action is Action.FINAL:
                    race.abandon()
                    return ended
    return ended
