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
        row = row_of(x)
        if x.principal is not None or self._stranger_fits():
            self._ledger.record(row)
        self._count(x, row)
        self._log.record(line_of(x, row))

    def _count(self, x: Exchange, row: UsageRow) -> None:
        metrics = self._metrics
        metrics.request(
            row.dialect,
            row.routed_model,
            row.provider,
            row.status,
            row.duration_ms / 1000,
            None if row.ttft_ms is None else row.ttft_ms / 1000,
            x.usage if row.attempts else None,
        )
        if x.error is not None:
            metrics.error(x.error.kind.value)
        for attempt in row.attempts:
            asked = row.provider if attempt.model == row.routed_model else self._provider_of(attempt.model)
            metrics.attempt(asked, attempt_outcome(attempt.outcome))
        if len(row.attempts) > 1:
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


def row_of(x: Exchange) -> UsageRow:
    """The row of a finished exchange. Texts that the client chose are cut to LONGEST_NAME."""
    candidate, principal, usage = x.candidate, x.principal, x.usage
    # In the order of the columns and without their names, which saves a microsecond for each request.
    return UsageRow(
        x.id,
        (x.client_request_id or "")[:LONGEST_NAME],
        x.started_at,
        principal.user.id if principal else "",
        principal.key.id if principal else "",
        principal.subscription.id if principal else "",
        x.path[:LONGEST_NAME],
        x.dialect.name,
        x.requested_model[:LONGEST_NAME],
        candidate.model.name if candidate else "",
        candidate.provider.name if candidate else "",
        candidate.account.name if candidate else "",
        x.status,
        str(x.outcome or Outcome.FAILED),
        x.streamed,
        usage.input or 0,
        usage.cache_read or 0,
        usage.cache_write or 0,
        usage.output or 0,
        usage.reasoning or 0,
        x.estimated,
        seconds_to_ms(x.started, x.first_content_at),
        seconds_to_ms(x.started, x.answered_at) or 0,
        tuple(x.attempts),
        cost(usage, candidate.model.price) if candidate else None,
    )


def line_of(x: Exchange, row: UsageRow) -> LogLine:
    """The log line of a finished exchange; ``row`` is its row."""
    # In the order of its fields, as above.
    return LogLine(
        row.started_at,
        row.request_id,
        row.client_request_id,
        x.method,
        x.path,
        row.status,
        row.outcome,
        row.duration_ms,
        x.remote or "",
        x.principal.key.prefix if x.principal else "",
        row.requested_model,
        row.routed_model,
        row.provider,
        row.account,
        x.strategy,
        x.candidates,
        row.attempts,
        row.ttft_ms,
        row.streamed,
        x.usage if row.attempts else None,
        row.estimated,
    )


def attempt_outcome(outcome: str) -> str:
    """An attempt's own words as one of the labels that the metrics know."""
    return outcome if outcome in ("ok", "cancelled") else "failed"
