"""Active probes: providers that ask for it are tried while no request has to risk it, so that a recovery is noticed at once.

Off unless the catalog says ``options: {probe: true}`` of a provider. A probe is the smallest completion there is; it counts against the limits
of its provider, account and model, and against nobody's subscription.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

import orjson

from apipod_proxy.catalog.model import Candidate, Provider, Snapshot
from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.identity import read_request
from apipod_proxy.errors import ProxyError
from apipod_proxy.exchange import Exchange
from apipod_proxy.gateway import Gateway, pair_of
from apipod_proxy.limit.backend import Half
from apipod_proxy.room import Room
from apipod_proxy.route.index import is_for_operation
from apipod_proxy.trial import Trial

log = logging.getLogger("apipod_proxy.probes")

OPTION = "probe"
LOOK_SECONDS = 1.0
TOKENS = 64
"""Reserved for one probe."""


class Budget(Protocol):
    def try_take(self) -> bool: ...


class Prober:
    """Runs a task only while some provider wants to be probed. ``dialect`` is the one that probes are written in."""

    def __init__(
        self, gateway: Gateway, dialect: Dialect, budget: Budget, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._gateway = gateway
        self._dialect = dialect
        self._budget = budget
        self._look_seconds = look_seconds
        self._providers: Mapping[str, Provider] = {}
        self._task: asyncio.Task[None] | None = None
        self._nobody: Half = gateway.parts.limits.half(())

    def follow(self, snapshot: Snapshot) -> None:
        """Probe the providers of ``snapshot`` that ask for it."""
        self._providers = {
            name: provider
            for name, provider in snapshot.providers.items()
            if provider.active and provider.options.get(OPTION, "").lower() == "true"
        }
        if self._providers and self._task is None:
            self._task = asyncio.create_task(self._run(), name="probes")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        health, loop = self._gateway.parts.health, self._gateway.loop
        while self._providers:
            await asyncio.sleep(self._look_seconds)
            due = (self.current(candidate) for candidate in health.probes_due(loop.time()))
            # Together, or one that hangs would keep the others waiting.
            await asyncio.gather(*(self.probe(candidate) for candidate in due if candidate is not None))
        self._task = None

    def current(self, candidate: Candidate) -> Candidate | None:
        """``candidate`` as the catalog has it now; None where it is gone or not to be probed."""
        provider = self._providers.get(candidate.provider.name)
        # Embeddings and the like are not probed: a completion would say nothing of them.
        if provider is None or is_for_operation(candidate):
            return None
        account = next((one for one in provider.accounts if one.id == candidate.account.id), None)
        model = self._gateway.serving.snapshot.models.get(candidate.model.name, candidate.model)
        if account is None or not account.active or not model.active:
            return None
        return Candidate(provider, account, model, candidate.upstream_model)

    async def probe(self, candidate: Candidate) -> None:
        """Ask ``candidate`` for one token, if it may be asked now; health learns of the outcome."""
        gateway, health, now = self._gateway, self._gateway.parts.health, self._gateway.loop.time()
        pair = pair_of(candidate)
        if not (health.admits(pair, now) or health.credential_probe((pair,), now)):
            return
        room = Room(gateway.parts.limits, self._nobody, TOKENS)
        lease = await room.admit(gateway.serving.seat(candidate).half) if self._budget.try_take() else None
        if lease is None:
            health.skipped(candidate)
            return
        x = self._exchange(candidate)
        trial = Trial(gateway, x, room, candidate, lease)
        try:
            await trial.whole(gateway.parts.asking.prepare(x, candidate))
        except ProxyError as error:
            trial.failed(error)
        finally:
            trial.close()
            room.close()
        log.info(
            "A probe ended.",
            extra={
                "provider": candidate.provider.name,
                "account": candidate.account.name,
                "model": candidate.model.name,
                "outcome": x.attempts[-1].outcome,
            },
        )

    def _exchange(self, candidate: Candidate) -> Exchange:
        x = Exchange("probe", self._dialect, "", started=0.0, started_at=0)
        name = candidate.model.name
        x.body = orjson.dumps(
            {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        )
        x.top = read_request(self._dialect.name, x.body)
        x.requested_model = name
        return x
