"""The flow of a completion: which candidate is asked, what happens when it fails, and that all that was taken is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Protocol

from apipod_proxy.attempt import Asking, Prepared
from apipod_proxy.catalog.model import Candidate
from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.edge.answer import Answer, header_lines
from apipod_proxy.edge.limit_headers import LimitLines
from apipod_proxy.errors import (
    BadRequest,
    Kind,
    NoCandidate,
    ProxyError,
    ShuttingDown,
    UpstreamError,
    UpstreamStatus,
)
from apipod_proxy.exchange import Exchange, Outcome
from apipod_proxy.limit.backend import Limits
from apipod_proxy.limit.estimate import Outputs, attachments, input_tokens, reserve
from apipod_proxy.limit.model import Lease
from apipod_proxy.room import Room
from apipod_proxy.route import capabilities
from apipod_proxy.route.capabilities import NO_NEEDS, Needs
from apipod_proxy.route.classify import Action, Verdict, classify
from apipod_proxy.route.health import Health
from apipod_proxy.route.index import Plan
from apipod_proxy.route.router import Router
from apipod_proxy.serving import Serving, Way
from apipod_proxy.stream.outlet import Outlet
from apipod_proxy.stream.pump import StreamPump, WholePump
from apipod_proxy.usage.record import NOTHING, Attempt, Charge, charge

JSON = b"application/json"
MAX_TURNS = 10
"""The most attempts on one account that a catalog can ask for."""

MAX_LEARNT = 10_000
"""Models whose output lengths are remembered; names behind a star are the clients' choice."""


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
        self._loop = loop
        self._outputs: dict[str, Outputs] = {}
        self._running: set[StreamPump | WholePump] = set()
        self._stopping = False
        self._limit_lines = LimitLines(parts.clock)

    def replace(self, serving: Serving) -> None:
        """Serve from a new snapshot; requests under way keep theirs."""
        self.serving = serving
        self.parts.router.index = serving.routes
        self._limit_lines.clear()

    async def complete(self, x: Exchange, client: Answer) -> None:
        """Answer one completion. Raises the ProxyError to answer with while nothing of an answer has been sent."""
        serving, parts = self.serving, self.parts
        assert x.principal is not None
        way = serving.way(x.principal, x.requested_model, x.narrowed_to)
        plan = way.plan
        x.strategy, x.candidates = plan.strategy, len(plan.pairs)
        outlet = Outlet(client, DialectFrames(x), parts.ping_seconds, self._loop) if x.streamed else None
        room = Room(parts.limits, way.half, self._reservation(x, plan))
        try:
            await self._ask(x, way, room, client, outlet)
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

    async def _ask(self, x: Exchange, way: Way, room: Room, client: Answer, outlet: Outlet | None) -> None:
        """Each candidate once, best first; then, after a pause and within a budget, those again that may be asked again."""
        parts, serving = self.parts, self.serving
        failed: ProxyError | None = None
        for turn in range(MAX_TURNS):
            again: Candidate | None = None
            for candidate in self._candidates(x, way, failed):
                if turn and not parts.repeats.try_take():
                    break
                lease = await room.admit(serving.seat(candidate).half)
                if lease is None:
                    parts.health.skipped(candidate)
                    continue
                failed = await self._attempt(x, candidate, room, lease, client, outlet)
                if failed is None:
                    return
                verdict = verdict_on(failed, candidate)
                if verdict.action is Action.FINAL:
                    raise failed
                if verdict.again and turn + 1 < candidate.provider.retries.attempts:
                    again = candidate
            if again is None:
                break
            await asyncio.sleep(self._pause(again, turn))
        raise last_word(failed, room, way.plan)

    def _pause(self, candidate: Candidate, turn: int) -> float:
        """Full jitter: anything up to the exponential bound, so that clients who failed together do not return together."""
        retries = candidate.provider.retries
        return self.parts.random() * min(retries.max, retries.base * 2.0**turn)

    def _candidates(self, x: Exchange, way: Way, failed: ProxyError | None) -> Iterable[Candidate]:
        """Best first; none where nobody is in service any more after ``failed``."""
        lone = way.lone
        if lone is not None and self.parts.health.admits(lone, self._loop.time()):
            return (lone.candidate,)
        try:
            # The first one is drawn now, so that it is known here whether there is any.
            draw = self._draw(x, way.plan)
            return chain((next(draw),), draw)
        except NoCandidate:
            if failed is None:
                raise
            return ()

    def _draw(self, x: Exchange, plan: Plan) -> Iterator[Candidate]:
        assert x.top is not None
        hints = x.top.hints()
        mask = sum(bit for bit, held in zip(HINT_BITS, hints, strict=False) if held)
        needs = (
            Needs(mask, x.input_estimate, x.top.max_tokens or 0) if mask or plan.context_window else NO_NEEDS
        )
        affinity = None
        if hints.assistant and len(plan.pairs) > len(plan.options):
            affinity = int.from_bytes(blake2b(x.top.beginning(), digest_size=8).digest(), "little")
        return self.parts.router.draw(plan, needs, affinity)

    async def _attempt(
        self,
        x: Exchange,
        candidate: Candidate,
        room: Room,
        lease: Lease,
        client: Answer,
        outlet: Outlet | None,
    ) -> ProxyError | None:
        """Ask ``candidate``; None when the client has its answer, or as much of it as there will be."""
        attempt = Try(self, x, candidate, room, lease)
        try:
            prepared = self.parts.asking.prepare(x, candidate)
            if outlet is not None:
                client.headers = self._headers(x, candidate)
                await attempt.stream(prepared, outlet)
            else:
                body = await attempt.whole(prepared)
                x.answer_bytes = len(body)
                client.headers = self._headers(x, candidate)
                client.send(200, JSON, body)
        except ProxyError as error:
            attempt.failed(error)
            if attempt.started and outlet is not None:
                x.error = error
                x.outcome = Outcome.STOPPED if isinstance(error, ShuttingDown) else Outcome.TRUNCATED
                outlet.fail(error)
                return None
            return error
        finally:
            attempt.close()
            if outlet is not None:
                x.answer_bytes = outlet.sent
        x.outcome = Outcome.OK
        return None

    def _reservation(self, x: Exchange, plan: Plan) -> int:
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

    def _headers(self, x: Exchange, candidate: Candidate) -> bytes:
        """Lines, not pairs: they are made for every answer."""
        assert x.principal is not None
        serving = self.serving
        half = serving.caller_half(x.principal)
        more = b""
        if x.dialect.name == "anthropic":
            more = b"request-id: %b\r\n" % x.id.encode()
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


class Try:
    """One attempt under way: whatever way it ends, its lease is settled once and it has its entry among the attempts."""

    __slots__ = (
        "_candidate",
        "_gateway",
        "_lease",
        "_outcome",
        "_pump",
        "_reported",
        "_room",
        "_started_at",
        "_status",
        "_whole",
        "_x",
    )

    def __init__(self, gateway: Gateway, x: Exchange, candidate: Candidate, room: Room, lease: Lease) -> None:
        self._gateway = gateway
        self._x = x
        self._candidate = candidate
        self._room = room
        self._lease = lease
        self._pump: StreamPump | WholePump | None = None
        self._reported: Usage | None = None
        self._whole = False
        self._outcome = "cancelled"
        self._status: int | None = None
        self._started_at = gateway._loop.time()

    @property
    def started(self) -> bool:
        """Whether content of this attempt reached the client."""
        return isinstance(self._pump, StreamPump) and self._pump.started

    async def stream(self, prepared: Prepared, outlet: Outlet) -> None:
        asking = self._gateway.parts.asking
        pump = self._pump = StreamPump(outlet, asking.lens(self._x, prepared), self._gateway._loop)
        await self._run(prepared, pump)
        if pump.is_stream:
            self._reported = pump.lens.usage
        else:
            self._reported = asking.replay(self._x, prepared, pump, outlet)
        self._succeed(pump)

    async def whole(self, prepared: Prepared) -> bytes:
        pump = self._pump = WholePump(self._gateway._loop)
        await self._run(prepared, pump)
        body, self._reported = self._gateway.parts.asking.whole(self._x, prepared, pump)
        self._succeed(pump)
        return body

    async def _run(self, prepared: Prepared, pump: StreamPump | WholePump) -> None:
        gateway, x = self._gateway, self._x
        gateway.watch(pump)
        gateway.parts.asking.send(x, prepared, self._candidate, pump)
        await pump.waiter
        self._status = pump.status or None
        if pump.error is not None:
            raise pump.error
        if pump.status >= 300:
            raise gateway.parts.asking.refused(x, prepared, self._candidate, pump)

    def _succeed(self, pump: StreamPump | WholePump) -> None:
        self._whole = True
        self._outcome = "ok"
        x = self._x
        x.candidate = self._candidate
        x.first_content_at = pump.first_content_at
        first = None if pump.first_content_at is None else pump.first_content_at - self._started_at
        self._gateway.parts.health.succeeded(
            self._candidate, first if x.streamed else None, self._gateway._loop.time()
        )

    def failed(self, error: ProxyError) -> None:
        verdict = verdict_on(error, self._candidate)
        self._outcome = verdict.reason
        self._x.candidate = self._candidate
        if isinstance(error, UpstreamError):
            self._gateway.parts.health.failed(self._candidate, verdict, self._gateway._loop.time())
        else:
            self._gateway.parts.health.skipped(self._candidate)

    def close(self) -> None:
        pump, x, gateway = self._pump, self._x, self._gateway
        sent = False
        if pump is not None:
            gateway.unwatch(pump)
            if pump.call is not None:
                sent = pump.call.sent
                pump.call.abort()
            if isinstance(pump, StreamPump) and self._reported is None:
                self._reported = pump.lens.usage
        if self._outcome == "cancelled":
            gateway.parts.health.skipped(self._candidate)
            x.candidate = self._candidate
        used = self._charge(sent)
        self._room.settle(self._lease, used.tokens, sent=sent)
        if self._whole or self.started or self._outcome == "cancelled":
            x.usage, x.estimated = used.usage, used.estimated
            self._room.charged = used.tokens
            if pump is not None:
                x.first_content_at = pump.first_content_at
        if self._whole and used.usage.output is not None:
            gateway.learn(self._candidate.model.name, used.usage.output + (used.usage.reasoning or 0))
        x.attempts.append(
            Attempt(
                self._candidate.model.name,
                self._candidate.account.name,
                self._outcome,
                self._status,
                used.usage if sent else None,
                round((gateway._loop.time() - self._started_at) * 1000),
            )
        )

    def _charge(self, sent: bool) -> Charge:
        """An error status is a report of nothing: the provider did no work. What broke off without a report is estimated."""
        if self._status is not None and self._status >= 300:
            return NOTHING
        x = self._x
        return charge(
            self._reported,
            input_estimate=x.input_estimate,
            sent=sent,
            answer_bytes=self._pump.received if self._pump is not None else 0,
            streamed=x.streamed,
            whole=self._whole,
        )


HINT_BITS = (
    capabilities.TOOLS,
    capabilities.VISION,
    capabilities.DOCUMENTS,
    capabilities.AUDIO,
    capabilities.STRUCTURED_OUTPUT,
    capabilities.THINKING,
)
"""In the order of ``identity.Hints``."""


def verdict_on(error: ProxyError, candidate: Candidate) -> Verdict:
    """What ``error`` means for this candidate."""
    if isinstance(error, BadRequest):
        return Verdict(Action.NEXT, "cannot carry the request")
    return classify(error, candidate.provider)


def last_word(failed: ProxyError | None, room: Room, plan: Plan) -> ProxyError:
    """What the client is told when no candidate is left."""
    if failed is None:
        return room.refusal or NoCandidate(plan.requested, 1)
    if isinstance(failed, UpstreamStatus) and failed.retryable:
        if failed.kind is Kind.RATE_LIMIT:
            failed.status = 429
        elif failed.kind is Kind.OVERLOADED:
            failed.status = 503
    return failed
