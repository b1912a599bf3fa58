"""Counts of tokens: asked of a provider where the name leads to one that counts, else estimated. Nothing is charged, and no failure counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from apipod_proxy.attempt import discreet, text_headers
from apipod_proxy.catalog.model import Candidate
from apipod_proxy.dialect import Aim, Dialect, counts
from apipod_proxy.edge.counting import Count, Question
from apipod_proxy.errors import BadRequest, ProxyError
from apipod_proxy.limit.estimate import attachments
from apipod_proxy.route.capabilities import ability_of
from apipod_proxy.route.health import Health
from apipod_proxy.route.index import Plan
from apipod_proxy.serving import Serving
from apipod_proxy.stream.pump import WholePump
from apipod_proxy.upstream.wire import Upstream, Wire

log = logging.getLogger("apipod_proxy.counting")

SECONDS = 10.0
"""What a provider gets to count; clients ask before they go on."""

REJECTS = frozenset({400, 413, 422})
"""With these a provider refuses what it is to count."""


class Counting:
    """One for each worker."""

    def __init__(
        self,
        upstream: Upstream,
        dialects: Mapping[str, Dialect],
        serving: Callable[[], Serving],
        health: Health,
        seconds: float = SECONDS,
    ) -> None:
        self._upstream = upstream
        self._dialects = dialects
        self._serving = serving
        self._health = health
        self._seconds = seconds

    async def count(self, question: Question) -> Count:
        """Raises BadRequest, UnknownModel, Forbidden, and the refusal of a provider that finds the request itself wrong."""
        asked = counts.read(question.dialect, question.body, question.model)
        way = self._serving().way(question.principal, asked.model, question.vendor)
        found = self._counter(way.plan, question.dialect)
        if found is not None:
            candidate, spoken = found
            tokens = await self._ask(question, asked, candidate, spoken)
            if tokens is not None:
                return Count(counts.told(question.dialect, tokens), candidate.provider.name)
        tokens = counts.estimate(question.body, *attachments(question.body))
        return Count(counts.told(question.dialect, tokens), "")

    def _counter(self, plan: Plan, dialect: str) -> tuple[Candidate, str] | None:
        """A candidate in service that counts, and in which dialect: the client's own where there is one."""
        now = asyncio.get_running_loop().time()
        usable = [pair.candidate for pair in plan.pairs if self._health.usable(pair, now)]
        for spoken in sorted(counts.SURFACES, key=lambda name: name != dialect):
            for candidate in usable:
                if counts.SURFACES[spoken] in self._upstream.type_of(candidate.provider).surfaces:
                    return candidate, spoken
        return None

    async def _ask(
        self, question: Question, asked: counts.Counting, candidate: Candidate, spoken: str
    ) -> int | None:
        """What the provider counts, None where it does not. Raises what it says of a request that is wrong."""
        wire = self._upstream.wire(candidate, counts.SURFACES[spoken])
        if wire is None:
            return None
        try:
            body = self._body(question, asked, candidate, wire, spoken)
        except BadRequest:
            # What cannot be translated is refused when it is sent, and estimated until then.
            return None
        pump = WholePump(asyncio.get_running_loop())
        pump.call = self._upstream.send(
            wire, candidate.upstream_model, body, pump, forwarded=question.forwarded
        )
        try:
            async with asyncio.timeout(self._seconds):
                await pump.waiter
        except TimeoutError:
            return None
        finally:
            pump.call.abort()
        if pump.error is None and pump.status == 200:
            return counts.tokens_in(spoken, pump.collected)
        if pump.error is None and pump.status in REJECTS and spoken == question.dialect:
            raise self._refusal(asked, candidate, spoken, pump)
        reason = str(pump.error or f"status {pump.status}")
        log.debug("A provider did not count.", extra={"provider": candidate.provider.name, "reason": reason})
        return None

    def _body(
        self, question: Question, asked: counts.Counting, candidate: Candidate, wire: Wire, spoken: str
    ) -> bytes:
        if spoken == question.dialect:
            return counts.same(spoken, question.body, candidate.upstream_model)
        call = self._dialects[question.dialect].decode_request(asked.whole, model=asked.model, stream=False)
        ability = ability_of(candidate.model)
        signs = wire.provider_type.signs
        aim = Aim(candidate.upstream_model, ability.max_output, wire.surface.quirks, ability.thinks, signs)
        encoded = self._dialects[spoken].encode_request(call, aim)
        return counts.around(spoken, encoded.body, candidate.upstream_model)

    def _refusal(
        self, asked: counts.Counting, candidate: Candidate, spoken: str, pump: WholePump
    ) -> ProxyError:
        error = self._dialects[spoken].decode_error(pump.status, text_headers(pump.headers), pump.collected)
        if error.retryable:
            return BadRequest("The provider could not count the tokens of this request.")
        if error.message is not None:
            error.message = discreet(error.message, candidate, asked.model)
        return error
