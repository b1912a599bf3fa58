"""The end of every request: one row for the ledger, one line for the log, one call for the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from apipod_proxy.edge.middleware import Seen
from apipod_proxy.exchange import Exchange, Outcome, seconds_to_ms
from apipod_proxy.usage.access_log import LogLine
from apipod_proxy.usage.metrics import Metrics
from apipod_proxy.usage.prices import cost
from apipod_proxy.usage.record import UsageRow

LONGEST_NAME = 256
"""Characters kept of a text that a client chose."""

STRANGERS_PER_SECOND = 20
"""Rows for requests without a valid key. The rest is in the metrics and in the log: who has no key must not fill the database."""

PROBES = frozenset(("/", "/ping", "/health", "/health/live", "/health/ready", "/metrics"))
"""Asked every second by machines: logged on DEBUG only."""


class RowSink(Protocol):
    def record(self, row: UsageRow) -> None: ...


class LineSink(Protocol):
    def record(self, line: LogLine) -> None: ...


class Booking:
    """One per worker. ``clock`` gives epoch seconds, ``provider_of`` the provider of a model, "" where it is not in the catalog.

    ``log_probes``: requests of PROBES have a line too.
    """

    def __init__(
        self,
        ledger: RowSink,
        metrics: Metrics,
        log: LineSink,
        clock: Callable[[], float],
        provider_of: Callable[[str], str],
        *,
        log_probes: bool = False,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._provider_of = provider_of
        self._log_probes = log_probes
        self._second = 0
        self._strangers = 0

    def book(self, x: Exchange) -> None:
        """Book a completion, once."""
        candidate = x.candidate
        duration_ms = seconds_to_ms(x.started, x.answered_at) or 0
        ttft_ms = seconds_to_ms(x.started, x.first_content_at)
        model = candidate.model.name if candidate else ""
        provider = candidate.provider.name if candidate else ""
        account = candidate.account.name if candidate else ""
        outcome = str(x.outcome or Outcome.FAILED)
        principal = x.principal
        requested = x.requested_model[:LONGEST_NAME]
        client_id = (x.client_request_id or "")[:LONGEST_NAME]
        attempts = tuple(x.attempts)
        usage = x.usage
        if principal is not None or self._stranger_fits():
            self._ledger.record(
                UsageRow(
                    request_id=x.id,
                    client_request_id=client_id,
                    started_at=x.started_at,
                    user_id=principal.user.id if principal else "",
                    api_key_id=principal.key.id if principal else "",
                    subscription_id=principal.subscription.id if principal else "",
                    path=x.path[:LONGEST_NAME],
                    dialect=x.dialect.name,
                    requested_model=requested,
                    routed_model=model,
                    provider=provider,
                    account=account,
                    status=x.status,
                    outcome=outcome,
                    streamed=x.streamed,
                    input_tokens=usage.input or 0,
                    cache_read_tokens=usage.cache_read or 0,
                    cache_write_tokens=usage.cache_write or 0,
                    output_tokens=usage.output or 0,
                    reasoning_tokens=usage.reasoning or 0,
                    estimated=x.estimated,
                    ttft_ms=ttft_ms,
                    duration_ms=duration_ms,
                    attempts=attempts,
                    cost_nano=cost(usage, candidate.model.price) if candidate is not None else None,
                )
            )
        self._count(x, model, provider, duration_ms, ttft_ms)
        self._log.record(
            LogLine(
                time_ms=x.started_at,
                request_id=x.id,
                client_request_id=client_id,
                method=x.method,
                path=x.path,
                status=x.status,
                outcome=outcome,
                duration_ms=duration_ms,
                client=x.remote or "",
                key_prefix=principal.key.prefix if principal else "",
                requested_model=requested,
                model=model,
                provider=provider,
                account=account,
                strategy=x.strategy,
                candidates=x.candidates,
                attempts=attempts,
                ttft_ms=ttft_ms,
                streamed=x.streamed,
                usage=usage if attempts else None,
                estimated=x.estimated,
            )
        )

    def _count(self, x: Exchange, model: str, provider: str, duration_ms: int, ttft_ms: int | None) -> None:
        metrics = self._metrics
        metrics.request(
            x.dialect.name,
            model,
            provider,
            x.status,
            duration_ms / 1000,
            None if ttft_ms is None else ttft_ms / 1000,
            x.usage if x.attempts else None,
        )
        if x.error is not None:
            metrics.error(x.error.kind.value)
        for attempt in x.attempts:
            asked = provider if attempt.model == model else self._provider_of(attempt.model)
            metrics.attempt(asked, attempt_outcome(attempt.outcome))
        if len(x.attempts) > 1:
            metrics.count("failovers")

    def seen(self, seen: Seen, remote: str | None) -> None:
        """Book what is no completion: a list of models, a probe, an unknown path."""
        if seen.error is not None:
            self._metrics.error(seen.error.kind.value)
        if seen.path in PROBES and not self._log_probes:
            return
        self._log.record(
            LogLine(
                time_ms=round((self._clock() - seen.seconds) * 1000),
                request_id=seen.request_id,
                client_request_id=(seen.client_request_id or "")[:LONGEST_NAME],
                method=seen.method,
                path=seen.path,
                status=seen.status,
                outcome=str(Outcome.OK if seen.error is None else Outcome.REFUSED),
                duration_ms=round(seen.seconds * 1000),
                client=remote or "",
                key_prefix="",
                requested_model="",
                model="",
                provider="",
                account="",
                strategy="",
                candidates=0,
                attempts=(),
                ttft_ms=None,
                streamed=False,
                usage=None,
                estimated=False,
            )
        )

    def _stranger_fits(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._strangers = second, 0
        self._strangers += 1
        return self._strangers <= STRANGERS_PER_SECOND


def attempt_outcome(outcome: str) -> str:
    """An attempt's own words as one of the labels that the metrics know."""
    return outcome if outcome in ("ok", "cancelled") else "failed"
