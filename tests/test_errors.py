"""Every error: its status, whom it blames, and the sentence that a client reads."""

from __future__ import annotations

import pytest

from apipod_proxy import errors
from apipod_proxy.errors import (
    BadRequest,
    BodyTooLarge,
    Forbidden,
    HeadersTooLarge,
    InternalError,
    Kind,
    LimitExceeded,
    MethodNotAllowed,
    MissingCapability,
    NoCandidate,
    NoSuch,
    NotFound,
    ProxyError,
    RequestTimeout,
    ShuttingDown,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
    UnknownModel,
    Unreachable,
    Unsupported,
    UpgradeRequired,
    UpstreamBroken,
    UpstreamStatus,
    UpstreamTimeout,
)

TABLE: list[tuple[ProxyError, int, str, str]] = [
    (
        BadRequest("found 5; allowed: a text", "$.a[0].b"),
        400,
        "client",
        "found 5; allowed: a text - at `$.a[0].b`",
    ),
    (BadRequest("The body is not JSON."), 400, "client", "The body is not JSON."),
    (
        MissingCapability("m", "vision"),
        400,
        "client",
        "The model 'm' cannot serve this request: no provider of it has vision.",
    ),
    (
        Unauthenticated(Unauthenticated.MISSING),
        401,
        "client",
        "No API key was given. Send it as 'Authorization: Bearer KEY', 'x-api-key: KEY' or 'x-goog-api-key: KEY'.",
    ),
    (Unauthenticated(Unauthenticated.UNKNOWN), 401, "client", "The API key is not known here."),
    (Unauthenticated(Unauthenticated.NOT_ADMIN), 401, "client", "The admin secret is wrong."),
    (Forbidden("This API key has expired."), 403, "client", "This API key has expired."),
    (NotFound("/x"), 404, "client", "There is nothing at this path."),
    (
        UnknownModel("m", "p"),
        404,
        "client",
        "The provider 'p' does not serve 'm' here; leave it out to be served by any that does.",
    ),
    (UnknownModel("m"), 404, "client", "The model 'm' does not exist or this key has no access to it."),
    (NoSuch("key", "k"), 404, "client", "There is no key 'k'."),
    (
        MethodNotAllowed("PUT", ("GET", "HEAD")),
        405,
        "client",
        "This path does not take PUT; it takes GET, HEAD.",
    ),
    (RequestTimeout(), 408, "client", "The request did not arrive in time."),
    (
        BodyTooLarge(32),
        413,
        "client",
        "The request body is larger than 32 MB, which is the most that is taken here.",
    ),
    (UpgradeRequired(), 426, "client", "WebSockets are not spoken here; send the request as an HTTP POST."),
    (
        HeadersTooLarge(),
        431,
        "client",
        "The request head is too large: at most 8 KB a header line and 128 headers.",
    ),
    (
        LimitExceeded("rpm", "key", 7, 60),
        429,
        "client",
        "The rpm limit of 60 of the key is reached; try again in 7 s.",
    ),
    (
        LimitExceeded("rpd", "user", 9, budget=True),
        429,
        "client",
        "The rpd limit of the user is reached; try again in 9 s.",
    ),
    (Unsupported("Not spoken yet."), 501, "gateway", "Not spoken yet."),
    (NoCandidate("m", 3), 503, "gateway", "No provider of 'm' can be used right now; try again in 3 s."),
    (
        StoreError("disk full: /secret/path"),
        500,
        "gateway",
        "The database of the gateway refused; the request id leads to the reason in its log.",
    ),
    (
        StoreUnavailable("refused: 10.0.0.1"),
        503,
        "gateway",
        "The database of the gateway cannot be reached right now; try again in 5 s.",
    ),
    (
        InternalError(),
        500,
        "gateway",
        "Something went wrong in the gateway; the request id leads to the reason in its log.",
    ),
    (Unreachable("connect"), 502, "upstream", "The provider could not be reached."),
    (
        UpstreamTimeout("first_byte", 120),
        504,
        "upstream",
        "The provider did not answer in time (first byte, 120 s).",
    ),
    (
        UpstreamBroken("reset by 10.0.0.1"),
        502,
        "upstream",
        "The provider's answer broke off before it was complete.",
    ),
    (UpstreamStatus(500), 502, "upstream", "The provider answered with status 500."),
    (UpstreamStatus(422, "bad field", final=True), 422, "upstream", "bad field"),
]


@pytest.mark.parametrize(
    ("error", "status", "blame", "sentence"), TABLE, ids=lambda value: type(value).__name__
)
def test_an_error_has_its_status_blame_and_sentence(
    error: ProxyError, status: int, blame: str, sentence: str
) -> None:
    assert (error.status, error.blame.value, str(error)) == (status, blame, sentence)


def test_every_error_is_in_the_table_and_in_the_drawn_tree() -> None:
    bases = {"ProxyError", "ClientError", "GatewayError", "UpstreamError"}
    names = {
        name for name, made in vars(errors).items() if isinstance(made, type) and issubclass(made, ProxyError)
    }
    pinned = {type(error).__name__ for error, *_ in TABLE} | {ShuttingDown.__name__}
    assert names - bases == pinned
    assert [name for name in sorted(names) if name not in (errors.__doc__ or "")] == []


def test_shutting_down_is_the_gateways_and_asks_to_come_again() -> None:
    error = ShuttingDown()
    assert error.blame is errors.Blame.GATEWAY
    assert error.status == 503
    assert str(error)


def test_details_travel_as_data() -> None:
    assert BadRequest("x", "$.messages[0].role").param == "messages[0].role"
    assert [Unauthenticated(reason).code for reason in ("missing", "unknown", "not_admin")] == [
        "missing_api_key",
        "invalid_api_key",
        "invalid_api_key",
    ]
    assert (LimitExceeded("rpm", "key", 7).code, LimitExceeded("rpm", "key", 7).kind) == (
        "rate_limit_exceeded",
        Kind.RATE_LIMIT,
    )
    spent = LimitExceeded("rpd", "key", 7, budget=True)
    assert (spent.code, spent.kind, spent.retry_after) == ("insufficient_quota", Kind.QUOTA, 7)
    assert StoreUnavailable("x").retry_after == 5


def test_a_wait_of_the_provider_is_rounded_up_to_whole_seconds() -> None:
    waits = [UpstreamStatus(429, retry_after=seconds).retry_after for seconds in (None, 0, 0.1, 1.0, 1.2)]
    assert waits == [None, 0, 1, 1, 2]


def test_what_was_sent_is_known_of_every_failure() -> None:
    assert [error.sent for error in (Unreachable("tls"), Unreachable("request", sent=True))] == [False, True]
    assert [UpstreamTimeout(stage, 1).sent for stage in ("connect", "first_byte", "idle")] == [
        False,
        True,
        True,
    ]
    assert UpstreamBroken("x").sent
    assert UpstreamStatus(500).retryable
    assert not UpstreamStatus(400, final=True).retryable
