"""One attempt under way: a candidate that has a lease and is being asked."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from apipod_proxy.attempt import Prepared, cleaned
from apipod_proxy.catalog.model import Candidate
from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.errors import ProxyError, UpstreamBroken, UpstreamError, UpstreamStatus
from apipod_proxy.exchange import Outcome
from apipod_proxy.limit.model import Lease
from apipod_proxy.stream.outlet import Outlet
from apipod_proxy.stream.pump import StreamPump, WholePump
from apipod_proxy.upstream.oauth import Token
from apipod_proxy.usage.record import NO_USAGE, NOTHING, Attempt, Charge, charge

if TYPE_CHECKING:
    from apipod_proxy.exchange import Exchange
    from apipod_proxy.gateway import Gateway
    from apipod_proxy.hedging import Race
    from apipod_proxy.room import Room


class Outrun(UpstreamError):
    """Another attempt at the same request answered first. No client is ever told."""

    def __str__(self) -> str:
        return "Another attempt answered first."


class Trial:
    """One attempt under way: whatever way it ends, its lease is settled once and it has its entry among the attempts."""

    __slots__ = (
        "_gateway",
        "_lease",
        "_outcome",
        "_race",
        "_refused",
        "_reported",
        "_room",
        "_settled",
        "_status",
        "_whole",
        "_x",
        "candidate",
        "prepared",
        "pump",
        "started_at",
    )

    def __init__(
        self,
        gateway: Gateway,
        x: Exchange,
        room: Room,
        candidate: Candidate,
        lease: Lease,
        race: Race | None = None,
    ) -> None:
        """``race`` is set where the request may be hedged."""
        self._gateway = gateway
        self._x = x
        self.candidate = candidate
        self._room = room
        self._lease = lease
        self._race = race
        self.prepared: Prepared | None = None
        self.pump: StreamPump | WholePump | None = None
        self._reported: Usage | None = None
        self._whole = False
        self._refused = False
        self._settled = False
        self._outcome = "cancelled"
        self._status: int | None = None
        self.started_at = gateway.loop.time()

    @property
    def started(self) -> bool:
        """Whether content of this attempt reached the client."""
        return isinstance(self.pump, StreamPump) and self.pump.started

    async def stream(self, prepared: Prepared, outlet: Outlet) -> None:
        asking, loop = self._gateway.parts.asking, self._gateway.loop
        token = await self._token() if prepared.wire.provider_type.oauth is not None else None
        pump = StreamPump(outlet, asking.lens(self._x, prepared), loop)
        self._send(prepared, pump, token)
        await pump.waiter
        if token is not None and self._refuses(token, pump):
            pump = StreamPump(outlet, asking.lens(self._x, prepared), loop)
            await self._again(prepared, pump)
        self._check(prepared, pump)
        if pump.is_stream:
            self._reported = pump.lens.usage
        else:
            try:
                self._reported = asking.replay(self._x, prepared, pump, outlet)
            except UpstreamStatus as error:
                self._make_discreet(error)
                raise
        self._succeed(pump)

    async def whole(self, prepared: Prepared) -> bytes:
        token = await self._token() if prepared.wire.provider_type.oauth is not None else None
        pump = WholePump(self._gateway.loop)
        self._send(prepared, pump, token)
        await pump.waiter
        if token is not None and self._refuses(token, pump):
            pump = WholePump(self._gateway.loop)
            await self._again(prepared, pump)
        self._check(prepared, pump)
        try:
            body, self._reported = self._gateway.parts.asking.whole(self._x, prepared, pump)
        except UpstreamStatus as error:
            self._make_discreet(error)
            raise
        self._succeed(pump)
        return body

    # One attempt in three steps, of which none is a coroutine: each of those costs every request a microsecond.

    def _token(self) -> Awaitable[Token | None]:
        """What an account shows in place of a key, for the few that do."""
        return self._gateway.parts.asking.authorise(self.candidate)

    def _send(self, prepared: Prepared, pump: StreamPump | WholePump, token: Token | None) -> None:
        gateway = self._gateway
        self.pump = pump
        if self._race is not None:
            self.prepared = prepared
            self._race.enter(self)
        gateway.watch(pump)
        gateway.parts.asking.send(self._x, prepared, self.candidate, pump, token)

    def _refuses(self, token: Token, pump: StreamPump | WholePump) -> bool:
        """Whether a stale token was refused and a new one is worth another try."""
        if pump.error is not None or pump.status != 401:
            return False
        self._gateway.parts.asking.forget(self.candidate, token)
        if self._race is not None:
            # The race holds this pump; another attempt gets the new token.
            raise UpstreamBroken("the token ended early")
        self._gateway.unwatch(pump)
        return True

    async def _again(self, prepared: Prepared, pump: StreamPump | WholePump) -> None:
        token = await self._token()
        self._send(prepared, pump, token)
        await pump.waiter
        if token is not None:
            self._refuses(token, pump)

    def _check(self, prepared: Prepared, pump: StreamPump | WholePump) -> None:
        """Raises what the attempt failed with."""
        if pump.error is not None:
            self._make_discreet(pump.error)
            raise pump.error
        if pump.status >= 300:
            raise self._gateway.parts.asking.refused(self._x, prepared, self.candidate, pump)

    def _make_discreet(self, error: ProxyError) -> None:
        """What a provider says within an answer may hold its names and keys as well as what comes with an error status."""
        if isinstance(error, UpstreamStatus):
            cleaned(error, self._x, self.candidate)

    def _succeed(self, pump: StreamPump | WholePump) -> None:
        self._whole = True
        self._outcome = "ok"
        x = self._x
        x.candidate = self.candidate
        x.first_content_at = pump.first_content_at
        first = None if pump.first_content_at is None else pump.first_content_at - self.started_at
        self._gateway.parts.health.succeeded(
            self.candidate, first if x.streamed else None, self._gateway.loop.time()
        )

    def outrun(self) -> None:
        """Another attempt answers: stop this one, and settle it as a loser."""
        if self._settled:
            return
        self._outcome = "outrun"
        health, pump = self._gateway.parts.health, self.pump
        if pump is not None:
            pump.give_up(Outrun())
        if pump is not None and pump.call is not None and pump.call.sent:
            now = self._gateway.loop.time()
            # Its time to the first content is not known, but it is longer than this.
            health.outrun(self.candidate, now - self.started_at, now)
        else:
            health.skipped(self.candidate)
        self.close()

    def failed(self, error: ProxyError) -> None:
        """Remember why it failed, of this attempt and of its candidate."""
        if isinstance(error, Outrun):
            self.outrun()
            return
        verdict = self._gateway.verdict(error, self.candidate)
        self._outcome = verdict.reason
        self._refused = isinstance(error, UpstreamStatus) and not self.started
        self._x.candidate = self.candidate
        if isinstance(error, UpstreamError):
            self._gateway.parts.health.failed(self.candidate, verdict, self._gateway.loop.time())
        else:
            self._gateway.parts.health.skipped(self.candidate)

    def close(self) -> None:
        """Settle it. Only the first call counts."""
        if self._settled:
            return
        self._settled = True
        pump, x, gateway = self.pump, self._x, self._gateway
        if self._outcome == "cancelled" and isinstance(pump, StreamPump) and pump.delivered:
            # The client left between the last event and the end of the message, as SDKs do.
            self._succeed(pump)
            x.outcome = Outcome.OK
        sent = False
        if pump is not None:
            gateway.unwatch(pump)
            self._status = pump.status or None
            if pump.call is not None:
                sent = pump.call.sent
                pump.call.abort()
            if sent and isinstance(pump, StreamPump) and self._reported is None:
                self._reported = pump.lens.usage
        if self._outcome == "cancelled":
            gateway.parts.health.skipped(self.candidate)
            x.candidate = self.candidate
        used = self._charge(sent)
        self._room.settle(self._lease, used.tokens, sent=sent)
        if self._whole or self.started or self._outcome == "cancelled":
            x.usage, x.estimated = used.usage, used.estimated
            self._room.charged = used.tokens
            if pump is not None:
                x.first_content_at = pump.first_content_at
        if self._whole and used.usage.output is not None:
            gateway.learn(self.candidate.model.name, used.usage.output + (used.usage.reasoning or 0))
        if self._outcome == "outrun" and not sent:
            return
        x.attempts.append(
            Attempt(
                self.candidate.model.name,
                self.candidate.account.name,
                self._outcome,
                self._status,
                used.usage if sent else None,
                round((gateway.loop.time() - self.started_at) * 1000),
            )
        )

    def _charge(self, sent: bool) -> Charge:
        """An error status is a report of nothing, also within an answer: the provider did no work. What broke off without a report is
        estimated."""
        if self._status is not None and self._status >= 300:
            return NOTHING
        if self._refused and self._reported in (None, NO_USAGE):
            return NOTHING
        x = self._x
        return charge(
            self._reported,
            input_estimate=x.input_estimate,
            sent=sent,
            answer_bytes=self.pump.received if self.pump is not None else 0,
            streamed=x.streamed,
            whole=self._whole,
        )
