"""The error tree: who is to blame, which HTTP status, whether another candidate may be tried.

    ProxyError
    ├── ClientError                 the caller is to blame
    │   ├── BadRequest              400  names the path of the field
    │   ├── MissingCapability       400  no candidate can serve what the request holds
    │   ├── Unauthenticated         401
    │   ├── Forbidden               403
    │   ├── NotFound                404  unknown path
    │   ├── UnknownModel            404
    │   ├── NoSuch                  404  the admin API was asked for something by a name that nothing has
    │   ├── MethodNotAllowed        405
    │   ├── RequestTimeout          408  the client was too slow to send its request
    │   ├── BodyTooLarge            413
    │   ├── UpgradeRequired         426
    │   ├── HeadersTooLarge         431
    │   └── LimitExceeded           429  with the whole seconds to wait
    ├── GatewayError                this program or its state is to blame
    │   ├── Unsupported             501
    │   ├── NoCandidate             503  every candidate is parked or open
    │   ├── ShuttingDown            503  the server stops before the answer is whole
    │   ├── StoreError              500  the database refused; its reason is for the log
    │   │   └── StoreUnavailable    503  the database cannot be reached
    │   └── InternalError           500
    └── UpstreamError               the provider, or the network to it, is to blame; ends one attempt
        ├── Unreachable             502  nothing was answered: refused, reset, DNS, TLS
        ├── UpstreamTimeout         504  silent past its time
        ├── UpstreamBroken          502  answered, and broke the protocol or cut its answer
        └── UpstreamStatus          the provider answered with an error status

Every error carries data; its sentence comes from ``__str__`` and is safe to show to a client. A dialect renders it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Blame(StrEnum):
    CLIENT = "client"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"


class Kind(StrEnum):
    """What went wrong, in the terms that every dialect has a word for."""

    INVALID_REQUEST = "invalid_request"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TOO_LARGE = "too_large"
    RATE_LIMIT = "rate_limit"
    QUOTA = "insufficient_quota"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    UPSTREAM = "upstream"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


class ProxyError(Exception):
    """Base of every error that reaches a client. ``status`` is what HTTP says, ``retry_after`` whole seconds or None."""

    blame: ClassVar[Blame] = Blame.GATEWAY
    kind: Kind = Kind.INTERNAL
    status: int = 500
    code: str | None = None
    param: str | None = None
    retry_after: int | None = None
    closes: ClassVar[bool] = False
    """Whether the connection is closed after the answer, because the rest of the request is not read."""


# Blame: client


class ClientError(ProxyError):
    blame = Blame.CLIENT
    kind = Kind.INVALID_REQUEST
    status = 400


class BadRequest(ClientError):
    """The request is wrong at ``path`` (as ``$.messages[0].role``); ``problem`` says what was found and what is allowed."""

    code = None

    def __init__(self, problem: str, path: str | None = None) -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path
        self.param = path.removeprefix("$.") if path else None

    def __str__(self) -> str:
        return f"{self.problem} - at `{self.path}`" if self.path else self.problem


class MissingCapability(ClientError):
    """No candidate of ``model`` can serve ``capability`` (as "vision" or "a context of 300000 tokens")."""

    code = "unsupported_capability"

    def __init__(self, model: str, capability: str) -> None:
        super().__init__(model, capability)
        self.model = model
        self.capability = capability

    def __str__(self) -> str:
        return f"The model '{self.model}' cannot serve this request: no provider of it has {self.capability}."


class Unauthenticated(ClientError):
    """``reason`` is one of MISSING, UNKNOWN, NOT_ADMIN."""

    kind = Kind.AUTHENTICATION
    status = 401
    closes = True
    MISSING = "missing"
    UNKNOWN = "unknown"
    NOT_ADMIN = "not_admin"
    SENTENCES: ClassVar[dict[str, str]] = {
        MISSING: "No API key was given. Send it as 'Authorization: Bearer KEY', 'x-api-key: KEY' or 'x-goog-api-key: KEY'.",
        UNKNOWN: "The API key is not known here.",
        NOT_ADMIN: "The admin secret is wrong.",
    }

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = "missing_api_key" if reason == self.MISSING else "invalid_api_key"

    def __str__(self) -> str:
        return self.SENTENCES[self.reason]


class Forbidden(ClientError):
    """The caller is known and may not do this; ``sentence`` says why."""

    kind = Kind.PERMISSION
    status = 403

    def __init__(self, sentence: str, code: str | None = "permission_denied") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code

    def __str__(self) -> str:
        return self.sentence


class NotFound(ClientError):
    kind = Kind.NOT_FOUND
    status = 404

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return "There is nothing at this path."


class UnknownModel(ClientError):
    kind = Kind.NOT_FOUND
    status = 404
    code = "model_not_found"
    param = "model"

    def __init__(self, model: str, vendor: str | None = None) -> None:
        """``vendor``: the provider that the client named, if that is what left none."""
        super().__init__(model, vendor)
        self.model = model
        self.vendor = vendor

    def __str__(self) -> str:
        if self.vendor is not None:
            return f"The provider '{self.vendor}' does not serve '{self.model}' here; leave it out to be served by any that does."
        return f"The model '{self.model}' does not exist or this key has no access to it."


class NoSuch(ClientError):
    """Nothing of this ``what`` (as "key") is called ``name``."""

    kind = Kind.NOT_FOUND
    status = 404

    def __init__(self, what: str, name: str) -> None:
        super().__init__(what, name)
        self.what = what
        self.name = name

    def __str__(self) -> str:
        return f"There is no {self.what} '{self.name}'."


class MethodNotAllowed(ClientError):
    kind = Kind.METHOD_NOT_ALLOWED
    status = 405

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(method, allowed)
        self.method = method
        self.allowed = allowed

    def __str__(self) -> str:
        return f"This path does not take {self.method}; it takes {', '.join(self.allowed)}."


class RequestTimeout(ClientError):
    """The client did not send its request in time."""

    kind = Kind.TIMEOUT
    status = 408
    closes = True

    def __str__(self) -> str:
        return "The request did not arrive in time."


class BodyTooLarge(ClientError):
    kind = Kind.TOO_LARGE
    status = 413
    closes = True

    def __init__(self, limit_mb: int) -> None:
        super().__init__(limit_mb)
        self.limit_mb = limit_mb

    def __str__(self) -> str:
        return f"The request body is larger than {self.limit_mb} MB, which is the most that is taken here."


class UpgradeRequired(ClientError):
    """A WebSocket upgrade of an endpoint that speaks plain HTTP."""

    status = 426

    def __str__(self) -> str:
        return "WebSockets are not spoken here; send the request as an HTTP POST."


class HeadersTooLarge(ClientError):
    status = 431
    closes = True

    def __str__(self) -> str:
        return "The request head is too large: at most 8 KB a header line and 128 headers."


class LimitExceeded(ClientError):
    """A limit or budget refuses: ``limit`` is its name (``rpm``), ``scope`` whose it is (``key``), ``retry_after`` whole seconds.

    ``limit_value`` is the number that is kept, None where no one number says it.
    """

    kind = Kind.RATE_LIMIT
    status = 429
    code = "rate_limit_exceeded"

    def __init__(
        self,
        limit: str,
        scope: str,
        retry_after: int,
        limit_value: int | None = None,
        *,
        budget: bool = False,
    ) -> None:
        super().__init__(limit, scope, retry_after, limit_value)
        self.limit = limit
        self.scope = scope
        self.retry_after = retry_after
        self.limit_value = limit_value
        if budget:
            self.kind = Kind.QUOTA
            self.code = "insufficient_quota"

    def __str__(self) -> str:
        value = "" if self.limit_value is None else f" of {self.limit_value}"
        return f"The {self.limit} limit{value} of the {self.scope} is reached; try again in {self.retry_after} s."


# Blame: gateway


class GatewayError(ProxyError):
    pass


class Unsupported(GatewayError):
    kind = Kind.UNSUPPORTED
    status = 501

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class NoCandidate(GatewayError):
    """Every candidate is parked or its breaker is open, and nothing was sent."""

    kind = Kind.OVERLOADED
    status = 503
    code = "no_provider_available"

    def __init__(self, model: str, retry_after: int) -> None:
        super().__init__(model, retry_after)
        self.model = model
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"No provider of '{self.model}' can be used right now; try again in {self.retry_after} s."


class StoreError(GatewayError):
    """The database refused or broke; ``problem`` is for the log and for the operator's terminal."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return "The database of the gateway refused; the request id leads to the reason in its log."


class StoreUnavailable(StoreError):
    kind = Kind.OVERLOADED
    status = 503
    retry_after = 5

    def __str__(self) -> str:
        return "The database of the gateway cannot be reached right now; try again in 5 s."


class ShuttingDown(GatewayError):
    """The grace of a shutdown is over."""

    kind = Kind.OVERLOADED
    status = 503
    code = "shutting_down"
    retry_after = 1

    def __str__(self) -> str:
        return "The gateway is being restarted; send the request again."


class InternalError(GatewayError):
    """The one fixed sentence for what must not be told; the request id leads to the log."""

    def __str__(self) -> str:
        return "Something went wrong in the gateway; the request id leads to the reason in its log."


# Blame: upstream


class UpstreamError(ProxyError):
    """Ends one attempt. ``retryable``: another candidate may be tried; ``sent``: the provider may have done work."""

    blame = Blame.UPSTREAM
    kind = Kind.UPSTREAM
    status = 502
    retryable: bool = True
    sent: bool = False


class Unreachable(UpstreamError):
    """No connection, or it was lost before anything was answered; ``stage`` is dns, connect, proxy, tls or request."""

    def __init__(self, stage: str, *, sent: bool = False) -> None:
        super().__init__(stage)
        self.stage = stage
        self.sent = sent

    def __str__(self) -> str:
        return "The provider could not be reached."


class UpstreamTimeout(UpstreamError):
    """``stage`` is connect, first_byte or idle; ``seconds`` the time it was given."""

    kind = Kind.TIMEOUT
    status = 504

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(stage, seconds)
        self.stage = stage
        self.seconds = seconds
        self.sent = stage != "connect"

    def __str__(self) -> str:
        return f"The provider did not answer in time ({self.stage.replace('_', ' ')}, {self.seconds:g} s)."


class UpstreamBroken(UpstreamError):
    """The answer broke off or was no HTTP; ``problem`` is for the log."""

    sent = True

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return "The provider's answer broke off before it was complete."


class UpstreamStatus(UpstreamError):
    """The provider answered with an error; ``message`` is its own text, cleaned, or None when it gave none that may be shown.

    ``final``: the provider rejects the request itself, so no other candidate is asked and its status is passed on.
    """

    sent = True

    def __init__(
        self,
        upstream_status: int,
        message: str | None = None,
        *,
        kind: Kind = Kind.UPSTREAM,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(upstream_status, message)
        self.upstream_status = upstream_status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after_seconds = retry_after
        self.retry_after = None if retry_after is None else max(0, -int(-retry_after // 1))
        self.should_retry: bool | None = None
        """What the provider says of asking again, where it says anything."""
        self.retryable = not final
        self.status = upstream_status if final else 502

    def __str__(self) -> str:
        return self.message or f"The provider answered with status {self.upstream_status}."
