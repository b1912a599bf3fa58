"""The flow of a completion: which candidate is asked, what happens when it fails, and that all that was taken is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

from apipod_proxy.attempt import Asking
from apipod_proxy.catalog.model import Candidate, Strategy
from apipod_proxy.edge.answer import Answer, header_lines
from apipod_proxy.edge.limit_headers import LimitLines
from apipod_proxy.errors import (
    BadRequest,
    Kind,
    NoCandidate,
    ProxyError,
    ShuttingDown,
    UpstreamStatus,
)
from apipod_proxy.exchange import Exchange, Outcome
from apipod_proxy.hedging import Race, hedged
from apipod_proxy.inlining import Inliner
from apipod_proxy.limit.backend import Limits
from apipod_proxy.limit.estimate import Outputs, attachments, input_tokens, reserve
from apipod_proxy.limit.model import Lease
from apipod_proxy.room import Room
from apipod_proxy.route.backoff import pause
from apipod_proxy.route.capabilities import (
    AUDIO,
    DOCUMENTS,
    EVERYTHING,
    NO_NEEDS,
    STREAMING,
    STRUCTURED_OUTPUT,
    THINKING,
    TOOLS,
    VISION,
    Needs,
)
from apipod_proxy.route.classify import Action, Verdict, classify
from apipod_proxy.route.explain import explain
from apipod_proxy.route.health import Health
from apipod_proxy.route.hedge import Hedges
from apipod_proxy.route.index import Pair, Plan
from apipod_proxy.route.router import Router
from apipod_proxy.serving import Serving, Way
from apipod_proxy.stream.outlet import Outlet, Pinger
from apipod_proxy.stream.pump import StreamPump, WholePump
from apipod_proxy.trial import Trial

MAX_TURNS = 10
"""The most attempts on one account that a catalog can ask for."""

MAX_LEARNT = 10_000
"""Models whose output lengths are remembered; names behind a star are the clients' choice."""


HINT_BITS = (
    TOOLS,
    VISION,
    DOCUMENTS,
    AUDIO,
    STRUCTURED_OUTPUT,
    THINKING,
)
"""In the order of ``identity.Hints``."""


Result = TypeVar("Result")


class Budget(Protocol):
    """How many repeats may still be made now."""

    def try_take(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What the gateway is made of. ``clock`` gives epoch seconds, ``random`` a number in [0, 1)."""

    asking: Asking
    limits: Limits
    router: Router
    health: Health
    repeats: Budget
    ping_seconds: float
    clock: Callable[[], float]
    random: Callable[[], float]
    inliner: Inliner | None = None
    """Fetches what a provider cannot load by URL."""


class Ask(NamedTuple):
    """One request on its way through the candidates; ``outlet`` is None where the answer is not streamed."""

    x: Exchange
    way: Way
    room: Room
    client: Answer
    outlet: Outlet | None


class DialectFrames:
    """The frames that the gateway itself puts into a stream, in the client's dialect."""

    __slots__ = ("_x", "ping")

    def __init__(self, x: Exchange) -> None:
        self._x = x
        self.ping = x.dialect.ping

    def error(self, error: ProxyError) -> bytes:
        return self._x.dialect.error_event(error, self._x.id)


class Gateway:
    """Serves completions. One for each worker; ``serving`` is replaced whole when the catalog changes."""

    def __init__(self, parts: Parts, serving: Serving, loop: asyncio.AbstractEventLoop) -> None:
        self.parts = parts
        self.serving = serving
        self.loop = loop
        self._outputs: dict[str, Outputs] = {}
        self.hedges = Hedges()
        self._pinger = Pinger(parts.ping_seconds, loop)
        self._running: set[StreamPump | WholePump] = set()
        self._patience: set[asyncio.Timeout] = set()
        self._stopping = False
        self._limit_lines = LimitLines(parts.clock)

    def replace(self, serving: Serving) -> None:
        """Serve from a new snapshot; requests under way keep theirs."""
        self.serving = serving
        self.parts.router.index = serving.routes
        self.parts.health.follow(serving.snapshot.providers.values(), serving.snapshot.models.values())
        self._limit_lines.clear()

    async def complete(self, x: Exchange, client: Answer) -> None:
        """Answer one completion. Raises the ProxyError to answer with while nothing of an answer has been sent."""
        way = self.way(x)
        plan = way.plan
        x.strategy, x.candidates = plan.strategy, len(plan.pairs)
        outlet = self.outlet(x, client) if x.streamed else None
        room = Room(self.parts.limits, way.half, self.reservation(x, plan))
        try:
            if x.explanation is not None:
                x.explanation = explain(self.parts.router, plan, *wants(x, plan)).as_header()
            if plan.max_wait:
                await self._ask_in_line(Ask(x, way, room, client, outlet))
            else:
                await self._ask(Ask(x, way, room, client, outlet))
        except ProxyError as error:
            if outlet is None or not client.begun:
                raise
            # A ping has gone out, so the status is 200 for good.
            x.error, x.outcome = error, Outcome.FAILED
            outlet.fail(error)
        finally:
            room.close()
            if outlet is not None:
                outlet.close()

    def way(self, x: Exchange) -> Way:
        """Where the name leads for this caller. Raises UnknownModel and Forbidden."""
        assert x.principal is not None
        return self.serving.way(x.principal, x.requested_model, x.narrowed_to)

    def outlet(self, x: Exchange, client: Answer) -> Outlet:
        """What a streamed answer goes through."""
        return Outlet(client, DialectFrames(x), self._pinger, self.loop)

    async def _ask(self, ask: Ask) -> None:
        """Each candidate once, best first; then, after a pause and within a budget, those again that may be asked again."""
        parts, room = self.parts, ask.room
        failed: ProxyError | None = None
        candidates = self.candidates(ask)
        hedge = ask.way.plan.hedge
        if hedge:
            # Hedging draws from the same source as the loop.
            candidates = iter(candidates)
        for turn in range(1, MAX_TURNS + 1):
            again: list[Candidate] | None = None
            for candidate in candidates:
                half = self.serving.seat(candidate).half
                try:
                    lease = room.admit_now(half) if room.instant else await room.admit(half)
                except BaseException:
                    # The caller has no room, or left while the back end was asked.
                    parts.health.skipped(candidate)
                    raise
                if lease is None:
                    parts.health.skipped(candidate)
                    continue
                if hedge:
                    ended, asked = await hedged(self, ask, candidate, lease, candidates)
                else:
                    ended, asked = await self.attempt(ask, candidate, lease), candidate
                if ended is None:
                    return
                failed = weightier(failed, ended)
                if self.may_repeat(ended, asked, turn):
                    again = [*(again or ()), asked]
            if again is None:
                break
            await self._patiently(asyncio.sleep(pause(again[0].provider.retries, turn, parts.random)))
            candidates = self.repeats(again)
        raise last_word(failed, room, ask.way.plan)

    async def _ask_in_line(self, ask: Ask) -> None:
        """As ``_ask``, where a request may wait for room: whoever has room first is asked, and the keys take turns."""
        parts, room, plan = self.parts, ask.room, ask.way.plan
        principal = ask.x.principal
        assert principal is not None
        line = f"{principal.subscription.name} {plan.requested}"
        until = self.loop.time() + plan.max_wait
        failed: ProxyError | None = None
        left = list(self.candidates(ask))
        try:
            for turn in range(1, MAX_TURNS + 1):
                again: list[Candidate] = []
                while left:
                    halves = [self.serving.seat(candidate).half for candidate in left]
                    max_wait = max(0.0, until - self.loop.time())
                    taken = await self._patiently(
                        room.wait(halves, line=line, key=principal.key.id, max_wait=max_wait)
                    )
                    if taken is None:
                        break
                    candidate, lease = left.pop(taken[0]), taken[1]
                    if parts.health.wait_of(pair_of(candidate), self.loop.time(), breakers=False):
                        # It was parked or disabled while this request waited.
                        parts.health.skipped(candidate)
                        room.settle(lease, None, sent=False)
                        continue
                    if plan.hedge:
                        ended, candidate = await hedged(self, ask, candidate, lease, taken_from(left))
                    else:
                        ended = await self.attempt(ask, candidate, lease)
                    if ended is None:
                        return
                    failed = weightier(failed, ended)
                    if self.may_repeat(ended, candidate, turn):
                        again.append(candidate)
                if not again:
                    break
                await self._patiently(asyncio.sleep(pause(again[0].provider.retries, turn, parts.random)))
                left += self.repeats(again)
        finally:
            for candidate in left:
                parts.health.skipped(candidate)
        raise last_word(failed, room, plan)

    async def _patiently(self, waiting: Awaitable[Result]) -> Result:
        """What ``waiting`` gives; ShuttingDown where the grace of a shutdown ends before."""
        patience = asyncio.timeout(0.0 if self._stopping else None)
        self._patience.add(patience)
        try:
            async with patience:
                return await waiting
        except TimeoutError as exc:
            raise ShuttingDown from exc
        finally:
            self._patience.discard(patience)

    def may_repeat(self, failed: ProxyError, candidate: Candidate, turn: int) -> bool:
        """Whether ``candidate`` may be asked once more after its attempt ``turn``. Raises ``failed`` where nobody else is to be asked."""
        verdict = self.verdict(failed, candidate)
        if verdict.action is Action.FINAL:
            raise failed
        return verdict.again and verdict.park <= 0 and turn < candidate.provider.retries.attempts

    def verdict(self, error: ProxyError, candidate: Candidate) -> Verdict:
        """What ``error`` means for this candidate."""
        if isinstance(error, BadRequest):
            return Verdict(Action.NEXT, "cannot carry the request")
        shared = self.parts.asking.type_of(candidate).quota_shared
        return classify(error, candidate.provider, quota_shared=shared)

    def candidates(self, ask: Ask) -> Iterable[Candidate]:
        """Best first. Raises MissingCapability where none can serve the request, NoCandidate where none is in service."""
        way = ask.way
        lone = way.lone
        if lone is not None and self.parts.health.admits(lone, self.loop.time()):
            return (lone.candidate,)
        draw = self._draw(ask.x, way.plan)
        # The first one is drawn now, so that it is known here whether there is any.
        return chain((next(draw),), draw)

    def repeats(self, again: Iterable[Candidate]) -> Iterator[Candidate]:
        """Those of ``again`` that are still in service, for as long as the budget of repeats allows it."""
        for candidate in again:
            if not self.parts.health.admits(pair_of(candidate), self.loop.time()):
                continue
            if not self.parts.repeats.try_take():
                self.parts.health.skipped(candidate)
                return
            yield candidate

    def _draw(self, x: Exchange, plan: Plan) -> Iterator[Candidate]:
        needs, affinity = wants(x, plan)
        return self.parts.router.draw(plan, needs, affinity)

    async def attempt(
        self, ask: Ask, candidate: Candidate, lease: Lease, race: Race | None = None
    ) -> ProxyError | None:
        """Ask ``candidate``; None when the client has its answer, or as much of it as there will be."""
        x, client, outlet = ask.x, ask.client, ask.outlet
        trial = Trial(self, x, ask.room, candidate, lease, race)
        try:
            inliner = self.parts.inliner
            if inliner is not None and inliner.wants(x, candidate):
                await inliner.inline(x, candidate)
            prepared = self.parts.asking.prepare(x, candidate)
            x.dropped = prepared.dropped
            if outlet is not None:
                client.headers = self.headers(x, candidate)
                await trial.stream(prepared, outlet)
            else:
                body = await trial.whole(prepared)
                if race is not None:
                    race.win(trial)
                x.answer_bytes = len(body)
                client.headers = self.headers(x, candidate)
                client.send(200, x.answer_type, body)
        except ProxyError as error:
            trial.failed(error)
            if trial.started and outlet is not None:
                x.error = error
                x.outcome = Outcome.STOPPED if isinstance(error, ShuttingDown) else Outcome.TRUNCATED
                outlet.fail(error)
                return None
            return error
        finally:
            trial.close()
            if outlet is not None:
                x.answer_bytes = outlet.sent
        x.outcome = Outcome.OK
        return None

    def reservation(self, x: Exchange, plan: Plan) -> int:
        """Estimate the input, and the tokens to reserve with it."""
        top = x.top
        assert top is not None
        x.input_estimate = input_tokens(len(x.body), *attachments(x.body))
        learnt = self._outputs.get(plan.options[0].model.name)
        return reserve(
            x.input_estimate,
            top.max_tokens,
            plan.options[0].ability.max_output,
            None if learnt is None else learnt.p99(),
        )

    def learn(self, model: str, tokens: int) -> None:
        """Remember how long an answer of ``model`` was."""
        found = self._outputs.get(model)
        if found is None:
            if len(self._outputs) >= MAX_LEARNT:
                self._outputs.clear()
            found = self._outputs[model] = Outputs()
        found.observe(tokens)

    def headers(self, x: Exchange, candidate: Candidate) -> bytes:
        """Lines, not pairs: they are made for every answer."""
        assert x.principal is not None
        serving = self.serving
        half = serving.caller_half(x.principal)
        more = b""
        if x.dialect.name == "anthropic":
            more = b"request-id: %b\r\n" % x.id.encode()
        if x.explanation:
            more += header_lines((("x-apipod-explain", x.explanation),))
        if x.dropped:
            more += header_lines((("x-apipod-dropped", ", ".join(x.dropped)),))
        return b"x-request-id: %b\r\nx-apipod-attempts: %d\r\n%b%b%b" % (
            x.id.encode(),
            len(x.attempts) + 1,
            serving.seat(candidate).lines,
            more,
            self._limit_lines.lines(x.dialect.name, half, self.parts.limits.levels),
        )

    def watch(self, pump: StreamPump | WholePump) -> None:
        if self._stopping:
            raise ShuttingDown
        self._running.add(pump)

    def unwatch(self, pump: StreamPump | WholePump) -> None:
        self._running.discard(pump)

    @property
    def open_streams(self) -> int:
        """Streamed answers that are under way."""
        return sum(isinstance(pump, StreamPump) for pump in self._running)

    def interrupt(self) -> None:
        """End what still runs: the grace of a shutdown is over."""
        self._stopping = True
        for pump in tuple(self._running):
            pump.give_up(ShuttingDown())
        for patience in self._patience:
            patience.reschedule(self.loop.time())


def weightier(before: ProxyError | None, failed: ProxyError) -> ProxyError:
    """Which of two failures in a row to tell: that one candidate cannot carry the request matters only where no other failed at it."""
    return before if before is not None and isinstance(failed, BadRequest) else failed


def last_word(failed: ProxyError | None, room: Room, plan: Plan) -> ProxyError:
    """What the client is told when no candidate is left."""
    if isinstance(failed, BadRequest):
        # Who had no room might have carried it.
        return room.refusal or failed
    if failed is None:
        return room.refusal or NoCandidate(plan.requested, 1)
    if isinstance(failed, UpstreamStatus) and failed.retryable:
        if failed.kind is Kind.RATE_LIMIT:
            failed.status = 429
        elif failed.kind is Kind.OVERLOADED:
            failed.status = 503
    return failed


def wants(x: Exchange, plan: Plan) -> tuple[Needs, int | None]:
    """What the request needs of a candidate, and the hash of its conversation where turns should stay with one account."""
    top = x.top
    assert top is not None
    several = len(plan.pairs) > len(plan.options)
    by_cost = plan.strategy is Strategy.COST
    if plan.mask == EVERYTHING and plan.context_window is None and not several and not by_cost:
        return NO_NEEDS, None
    hints = top.hints()
    mask = STREAMING if x.streamed else 0
    for bit, held in zip(HINT_BITS, hints, strict=False):
        if held:
            mask |= bit
    needs = NO_NEEDS
    if mask or by_cost or plan.context_window is not None:
        needs = Needs(mask, x.input_estimate, top.max_tokens or 0)
    if not several or not hints.assistant:
        return needs, None
    return needs, int.from_bytes(blake2b(top.beginning(), digest_size=8).digest(), "little")


def taken_from(left: list[Candidate]) -> Iterator[Candidate]:
    """The candidates of ``left``, each taken out of it when it is drawn."""
    while left:
        yield left.pop(0)


def pair_of(candidate: Candidate) -> Pair:
    """``candidate`` as health knows it."""
    return Pair(candidate, (candidate.account.id, candidate.model.id), candidate.account.weight, 0)
