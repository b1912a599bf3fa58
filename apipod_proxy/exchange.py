"""One client request from arrival to settlement."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from apipod_proxy.dialect.vocabulary import Usage

if TYPE_CHECKING:
    from apipod_proxy.auth import Principal
    from apipod_proxy.catalog.model import Candidate
    from apipod_proxy.dialect import Dialect
    from apipod_proxy.dialect.identity import TopLevel
    from apipod_proxy.dialect.vocabulary import Call
    from apipod_proxy.errors import ProxyError
    from apipod_proxy.usage.record import Attempt


class Outcome(StrEnum):
    """How an exchange ended, as ``usage_logs.outcome`` and the log say it."""

    OK = "ok"
    REFUSED = "refused"
    """Answered with an error by the gateway itself."""
    FAILED = "failed"
    """Every upstream failed, and nothing of an answer had been sent."""
    TRUNCATED = "truncated"
    """The answer broke off after its first content."""
    CANCELLED = "cancelled"
    """The client left."""
    STOPPED = "stopped"
    """The server shut down before the answer was whole."""


NOTHING_USED = Usage()
JSON = b"application/json"


class Exchange:
    """The record of one call; ``gateway`` fills it stage by stage, ``usage`` books it once."""

    __slots__ = (
        "answer_bytes",
        "answer_type",
        "answered_at",
        "attempts",
        "body",
        "call",
        "candidate",
        "candidates",
        "client_request_id",
        "dialect",
        "dropped",
        "error",
        "estimated",
        "explanation",
        "first_content_at",
        "forwarded",
        "id",
        "input_estimate",
        "method",
        "narrowed_to",
        "operation",
        "outcome",
        "path",
        "principal",
        "remote",
        "requested_model",
        "started",
        "started_at",
        "status",
        "strategy",
        "streamed",
        "top",
        "usage",
    )

    def __init__(
        self, request_id: str, dialect: Dialect, path: str, *, started: float, started_at: int
    ) -> None:
        # Arrival
        self.id = request_id
        self.client_request_id: str | None = None
        self.dialect = dialect
        self.method = "POST"
        self.path = path
        self.operation = "completion"
        self.remote: str | None = None
        self.started = started
        """Monotonic seconds."""
        self.started_at = started_at
        """Epoch milliseconds."""
        # Who
        self.principal: Principal | None = None
        # What is asked
        self.body = b""
        self.top: TopLevel | None = None
        self.call: Call | None = None
        """Decoded only when a candidate speaks another dialect."""
        self.requested_model = ""
        self.narrowed_to: str | None = None
        self.streamed = False
        self.forwarded: tuple[tuple[str, str], ...] = ()
        """The client's headers that may go up."""
        self.input_estimate = 0
        # Where it goes
        self.strategy = ""
        self.candidates = 0
        self.candidate: Candidate | None = None
        self.attempts: list[Attempt] = []
        self.explanation: str | None = None
        """The ranking of the candidates, for an admin who asks for it; None where nobody does."""
        # What came back
        self.status = 0
        self.outcome: Outcome | None = None
        self.error: ProxyError | None = None
        self.usage = NOTHING_USED
        self.estimated = False
        self.dropped: tuple[str, ...] = ()
        self.first_content_at: float | None = None
        self.answered_at: float | None = None
        self.answer_bytes = 0
        self.answer_type = JSON

    def __repr__(self) -> str:
        state = self.outcome or ("answering" if self.first_content_at else "asking")
        return f"<Exchange {self.id} {self.requested_model} {state} attempts={len(self.attempts)}>"
