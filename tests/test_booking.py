from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from apipod_proxy.auth import Principal
from apipod_proxy.booking import (
    BATCH,
    STRANGERS_PER_SECOND,
    Booking,
    Later,
    attempt_outcome,
    line_of,
    row_of,
)
from apipod_proxy.catalog.model import Account, ApiKey, Candidate, Model, Price, Provider, Subscription, User
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.edge.middleware import Seen
from apipod_proxy.errors import Unauthenticated, UnknownModel
from apipod_proxy.exchange import Exchange, Outcome
from apipod_proxy.usage.access_log import LogLine
from apipod_proxy.usage.metrics import Metrics
from apipod_proxy.usage.record import LONGEST_NAME, MOST, Attempt, UsageRow, attempts_json

ACCOUNT = Account("a1", "openai", "main", "secret")
PROVIDER = Provider("p1", "openai", "openai", "", (ACCOUNT,))
MODEL = Model("m1", "gpt", "openai", "gpt-up", price=Price(1000, 2000))
KEY = ApiKey("k1", "alice", "laptop", b"d" * 32, "sk-alice-012")
CALLER = Principal(KEY, User("u1", "alice", "pro"), Subscription("s1", "pro", {}))


class Rows(list[UsageRow]):
    def record(self, row: UsageRow) -> None:
        self.append(row)


class Lines(list[LogLine]):
    def record(self, line: LogLine) -> None:
        self.append(line)


def at_once(seconds: float, call: Callable[[], None]) -> None:
    call()


class Books:
    """Everything that a Booking writes into."""

    def __init__(self, *, log_probes: bool = False, later: Later = at_once) -> None:
        self.rows = Rows()
        self.lines = Lines()
        self.metrics = Metrics()
        self.metrics.known(["gpt", "other"], ["openai", "elsewhere"])
        self.now = 1000.0
        self.booking = Booking(
            self.rows,
            self.metrics,
            self.lines,
            lambda: self.now,
            lambda model: "elsewhere" if model == "other" else "",
            later,
            log_probes=log_probes,
        )


def exchange(*, known: bool = True, answered: bool = True) -> Exchange:
    x = Exchange("req_1", DIALECTS["anthropic"], "/v1/messages", started=10.0, started_at=5000)
    x.client_request_id = "mine"
    x.requested_model = "alias"
    x.answered_at = 10.5
    x.remote = "1.2.3.4"
    x.status = 200
    x.outcome = Outcome.OK
    if known:
        x.principal = CALLER
    if answered:
        x.candidate = Candidate(PROVIDER, ACCOUNT, MODEL, "gpt-up")
        x.attempts = [
            Attempt("other", "spare", "connection refused", None, None, 3),
            Attempt("gpt", "main", "ok", 200, Usage(7, 1, 2, 5, 4), 400),
        ]
        x.usage = Usage(7, 1, 2, 5, 4)
        x.first_content_at = 10.1
        x.streamed = True
    return x


def test_an_exchange_becomes_its_row() -> None:
    assert row_of(exchange()) == UsageRow(
        request_id="req_1",
        client_request_id="mine",
        started_at=5000,
        user_id="u1",
        api_key_id="k1",
        subscription_id="s1",
        path="/v1/messages",
        dialect="anthropic",
        requested_model="alias",
        routed_model="gpt",
        provider="openai",
        account="main",
        status=200,
        outcome="ok",
        streamed=1,
        input_tokens=7,
        cache_read_tokens=1,
        cache_write_tokens=2,
        output_tokens=5,
        reasoning_tokens=4,
        estimated=0,
        ttft_ms=100,
        duration_ms=500,
        attempts=attempts_json(exchange().attempts),
        cost_nano=row_of(exchange()).cost_nano,
    )
    assert (row_of(exchange()).cost_nano or 0) > 0


def test_an_exchange_becomes_its_line() -> None:
    x = exchange()
    x.strategy, x.candidates = "weighted", 2
    assert line_of(x, row_of(x)) == LogLine(
        row=row_of(x),
        method="POST",
        client="1.2.3.4",
        key_prefix="sk-alice-012",
        strategy="weighted",
        candidates=2,
        attempts=tuple(x.attempts),
        usage=x.usage,
    )


def test_a_completion_is_booked_everywhere() -> None:
    books = Books()
    books.booking.book(exchange())
    assert len(books.rows) == len(books.lines) == 1
    dump = books.metrics.dump()
    assert dump["series"][0][:3] == ["anthropic", "gpt", "openai"]
    assert sorted(dump["attempts"]) == [["elsewhere", "failed", 1], ["openai", "ok", 1]]
    assert dump["counters"]["failovers"] == 1


def test_what_has_ended_is_booked_in_batches() -> None:
    timers: list[Callable[[], None]] = []
    books = Books(later=lambda _, call: timers.append(call))
    x = exchange()
    x.body = b"{}"
    books.booking.book(x)
    assert (books.rows, len(timers), x.body) == ([], 1, b"")
    for _ in range(BATCH):
        books.booking.book(exchange())
    assert (len(books.rows), len(timers)) == (BATCH, 1)
    timers.pop()()
    assert len(books.rows) == len(books.lines) == BATCH + 1
    books.booking.book(exchange())
    assert len(timers) == 1
    books.booking.flush()
    assert len(books.rows) == BATCH + 2


def test_a_refusal_is_booked_too() -> None:
    books = Books()
    x = exchange(answered=False)
    x.status, x.outcome, x.error = 404, Outcome.REFUSED, UnknownModel("alias")
    books.booking.book(x)
    assert (books.rows[0].outcome, books.rows[0].routed_model, books.rows[0].cost_nano) == (
        "refused",
        "",
        None,
    )
    assert books.lines[0].usage is None
    assert books.metrics.dump()["errors"] == {"not_found": 1}
    assert all(type(kind) is str for kind in books.metrics.dump()["errors"])


def test_strangers_cannot_fill_the_database() -> None:
    books = Books()
    for _ in range(STRANGERS_PER_SECOND * 3):
        x = exchange(known=False, answered=False)
        x.error = Unauthenticated(Unauthenticated.UNKNOWN)
        books.booking.book(x)
    assert len(books.rows) == STRANGERS_PER_SECOND
    assert len(books.lines) == STRANGERS_PER_SECOND * 3
    books.now += 1
    books.booking.book(exchange(known=False, answered=False))
    assert len(books.rows) == STRANGERS_PER_SECOND + 1


def test_what_clients_choose_is_cut() -> None:
    x = exchange()
    x.requested_model = x.client_request_id = x.path = "x" * 10_000
    x.candidate = Candidate(PROVIDER, ACCOUNT, replace(MODEL, name=x.path), "")
    row = row_of(x)
    assert {
        len(text) for text in (row.requested_model, row.routed_model, row.client_request_id, row.path)
    } == {LONGEST_NAME}


def test_what_no_database_takes_is_made_fit() -> None:
    x = exchange()
    x.client_request_id, x.requested_model, x.path = "a\x00b", "\udcff\x00é", "/v1/\udc80"
    x.usage = Usage(2**64, 1, 2, 2**63, 4)
    row = row_of(x)
    assert (row.client_request_id, row.requested_model, row.path) == ("ab", "?é", "/v1/?")
    assert (row.input_tokens, row.cache_read_tokens, row.output_tokens, row.cost_nano) == (
        MOST,
        1,
        MOST,
        MOST,
    )
    x.usage = Usage(MOST, 0, 0, 0, 0)
    assert (row_of(x).input_tokens, row_of(x).cost_nano) == (MOST, MOST)
    x.candidate = Candidate(PROVIDER, ACCOUNT, replace(MODEL, price=None), "gpt-up")
    x.usage = Usage(2**64)
    assert (row_of(x).input_tokens, row_of(x).cost_nano) == (MOST, None)


def test_every_value_of_a_row_is_of_a_type_that_drivers_take_as_it_is() -> None:
    for x in (exchange(), exchange(known=False, answered=False)):
        assert {type(value) for value in row_of(x)} <= {str, int, type(None)}


def seen(path: str, error: Unauthenticated | None = None) -> Seen:
    return Seen("req_2", None, "GET", path, 401 if error else 200, 0.25, "9.9.9.9", error)


def test_other_requests_have_a_line_and_no_row() -> None:
    books = Books()
    books.booking.seen(seen("/v1/models"), "1.2.3.4")
    assert not books.rows
    line = books.lines[0]
    row = line.row
    assert (row.started_at, row.duration_ms, line.client, row.outcome) == (999_750, 250, "1.2.3.4", "ok")
    books.booking.seen(seen("/v1/models", Unauthenticated("missing")), None)
    assert books.lines[1].row.outcome == "refused"
    assert books.metrics.dump()["errors"] == {"authentication": 1}
    books.booking.seen(seen("/v1/models")._replace(status=499), None)
    assert books.lines[2].row.outcome == "cancelled"


def test_probes_are_logged_only_when_asked_for() -> None:
    quiet, loud = Books(), Books(log_probes=True)
    for books in (quiet, loud):
        books.booking.seen(seen("/health/ready"), None)
    assert (len(quiet.lines), len(loud.lines)) == (0, 1)


def test_outcomes_of_attempts_are_few_words_in_the_metrics() -> None:
    assert [attempt_outcome(word) for word in ("ok", "cancelled", "timeout", "500")] == [
        "ok",
        "cancelled",
        "failed",
        "failed",
    ]
