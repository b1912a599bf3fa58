"""The end of every request: one row for the ledger, one line for the log, one call for the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from apipod_proxy.edge.middleware import CLIENT_GONE, Seen
from apipod_proxy.exchange import Exchange, Outcome
from apipod_proxy.usage.access_log import LogLine
from apipod_proxy.usage.metrics import Metrics
from apipod_proxy.usage.prices import cost
from apipod_proxy.usage.record import LONGEST_NAME, MOST, UsageRow, attempts_json, fit_number, fit_text

STRANGERS_PER_SECOND = 20
"""Rows for requests without a valid key. The rest is in the metrics and in the log: who has no key must not fill the database."""

PROBES = frozenset(("/", "/ping", "/health", "/health/live", "/health/ready", "/metrics"))
"""Asked every second by machines: logged on DEBUG only."""


FLUSH_SECONDS = 0.02
BATCH = 64
"""Requests are booked in batches, at the latest so long after they ended: code that runs many times in a row is in the processor's caches,
which halves its time."""

Later = Callable[[float, Callable[[], None]], object]
"""As an event loop's ``call_later``."""


class RowSink(Protocol):
    def record(self, row: UsageRow) -> None: ...


class LineSink(Protocol):
    def record(self, line: LogLine) -> None: ...


class Booking:
    """One per worker. ``clock`` gives epoch seconds, ``provider_of`` the provider of a model, "" where it is not in the catalog.

    ``later`` is the loop's ``call_later``. ``log_probes``: requests of PROBES have a line too.
    """

    def __init__(
        self,
        ledger: RowSink,
        metrics: Metrics,
        log: LineSink,
        clock: Callable[[], float],
        provider_of: Callable[[str], str],
        later: Later,
        *,
        log_probes: bool = False,
    ) -> None:
        self._ledger = ledger
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._provider_of = provider_of
        self._later = later
        self._log_probes = log_probes
        self._ended: list[Exchange] = []
        self._waiting = False
        self._second = 0
        self._strangers = 0

    def book(self, x: Exchange) -> None:
        """Take a completion in that has ended; it is booked within FLUSH_SECONDS, or with the next BATCH."""
        # The request itself is let go at once.
        x.body = b""
        x.top = x.call = None
        ended = self._ended
        ended.append(x)
        if not self._waiting:
            self._waiting = True
            self._later(FLUSH_SECONDS, self.flush)
        elif len(ended) >= BATCH:
            self._book_all()

    def flush(self) -> None:
        """Book what has ended; also to be called at the end."""
        self._waiting = False
        self._book_all()

    def _book_all(self) -> None:
        ended, self._ended = self._ended, []
        for x in ended:
            row = row_of(x)
            if x.principal is not None or self._stranger_fits():
                self._ledger.record(row)
            self._count(x, row)
            self._log.record(line_of(x, row))

    def _count(self, x: Exchange, row: UsageRow) -> None:
        metrics, attempts, model, provider = self._metrics, x.attempts, row.routed_model, row.provider
        ttft_ms = row.ttft_ms
        metrics.request(
            row.dialect,
            model,
            provider,
            row.status,
            row.duration_ms / 1000,
            None if ttft_ms is None else ttft_ms / 1000,
            x.usage if attempts else None,
        )
        if x.error is not None:
            metrics.error(x.error.kind.value)
        for attempt in attempts:
            asked = provider if attempt.model == model else self._provider_of(attempt.model)
            metrics.attempt(asked, attempt_outcome(attempt.outcome))
        if len(attempts) > 1:
            metrics.count("failovers")

    def seen(self, seen: Seen, remote: str | None) -> None:
        """Book what is no completion: a list of models, a probe, an unknown path."""
        if seen.error is not None:
            self._metrics.error(seen.error.kind.value)
        if seen.path in PROBES and not self._log_probes:
            return
        outcome = Outcome.OK if seen.error is None else Outcome.REFUSED
        row = UsageRow(
            request_id=seen.request_id,
            client_request_id=(seen.client_request_id or "")[:LONGEST_NAME],
            started_at=round((self._clock() - seen.seconds) * 1000),
            user_id="",
            api_key_id="",
            subscription_id="",
            path=seen.path[:LONGEST_NAME],
            dialect="",
            requested_model="",
            routed_model="",
            provider="",
            account="",
            status=seen.status,
            outcome=str(Outcome.CANCELLED if seen.status == CLIENT_GONE else outcome),
            streamed=0,
            input_tokens=0,
            cache_read_tokens=0,
            cache_write_tokens=0,
            output_tokens=0,
            reasoning_tokens=0,
            estimated=0,
            ttft_ms=None,
            duration_ms=round(seen.seconds * 1000),
        )
        self._log.record(LogLine(row, seen.method, remote or "", "", "", 0, (), None))

    def _stranger_fits(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._strangers = second, 0
        self._strangers += 1
        return self._strangers <= STRANGERS_PER_SECOND


def row_of(x: Exchange) -> UsageRow:
    """The row of a finished exchange. Texts that the client chose are cut to LONGEST_NAME, and what no database takes is made fit."""
    candidate, principal, usage, started = x.candidate, x.principal, x.usage, x.started
    taken, read, written = usage.input or 0, usage.cache_read or 0, usage.cache_write or 0
    output, reasoning = usage.output or 0, usage.reasoning or 0
    asked_id, path, asked = x.client_request_id or "", x.path, x.requested_model
    if candidate is None:
        model, provider, account, charged = "", "", "", None
    else:
        model, provider, account = candidate.model.name, candidate.provider.name, candidate.account.name
        charged = cost(usage, candidate.model.price)
    # One look at all that others chose: hardly ever is there anything to do.
    chosen = f"{asked_id}{path}{asked}{model}"
    if len(chosen) > LONGEST_NAME or not chosen.isascii() or "\x00" in chosen:
        asked_id, path, asked, model = (
            fit_text(text[:LONGEST_NAME]) for text in (asked_id, path, asked, model)
        )
    if (taken | read | written | output | reasoning | (charged or 0)) > MOST:
        taken, read, written, output, reasoning = map(fit_number, (taken, read, written, output, reasoning))
        charged = None if charged is None else fit_number(charged)
    first, last = x.first_content_at, x.answered_at
    # In the order of the columns and past the constructor with its names, which saves a microsecond for each request.
    return tuple.__new__(
        UsageRow,
        (
            x.id,
            asked_id,
            x.started_at,
            "" if principal is None else principal.user.id,
            "" if principal is None else principal.key.id,
            "" if principal is None else principal.subscription.id,
            path,
            x.dialect.name,
            asked,
            model,
            provider,
            account,
            x.status,
            (x.outcome or Outcome.FAILED)._value_,
            1 if x.streamed else 0,
            taken,
            read,
            written,
            output,
            reasoning,
            1 if x.estimated else 0,
            None if first is None else round((first - started) * 1000),
            0 if last is None else round((last - started) * 1000),
            attempts_json(x.attempts),
            charged,
        ),
    )


def line_of(x: Exchange, row: UsageRow) -> LogLine:
    """The log line of a finished exchange; ``row`` is its row."""
    attempts, principal = tuple(x.attempts), x.principal
    told = (
        row,
        x.method,
        x.remote or "",
        "" if principal is None else principal.key.prefix,
        x.strategy,
        x.candidates,
        attempts,
        x.usage if attempts else None,
    )
    return tuple.__new__(LogLine, told)


def attempt_outcome(outcome: str) -> str:
    """An attempt's own words as one of the labels that the metrics know."""
    return outcome if outcome in ("ok", "cancelled") else "failed"
