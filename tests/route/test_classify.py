from __future__ import annotations

import pytest

from apipod_proxy.errors import (
    BadRequest,
    Kind,
    ProxyError,
    Unreachable,
    UpstreamBroken,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)
from apipod_proxy.route.classify import LONGEST_PARK, Action, Scope, classify, of_status
from tests.route.build import provider


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("connect"),
        Unreachable("request", sent=True),
        UpstreamTimeout("connect", 5),
        UpstreamTimeout("first_byte", 120),
        UpstreamBroken("cut"),
        UpstreamError(),
    ],
)
def test_a_provider_that_cannot_be_reached_is_silent_or_breaks_off_is_a_failure(error: UpstreamError) -> None:
    verdict = classify(error)
    assert verdict.action is Action.NEXT
    assert verdict.counts
    assert not verdict.disables
    assert not verdict.answered


def test_a_candidate_that_was_silent_for_its_whole_time_is_not_asked_again() -> None:
    assert not classify(UpstreamTimeout("first_byte", 120)).again
    assert classify(Unreachable("connect")).again


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 520, 529])
def test_these_statuses_move_on_to_the_next_candidate(status: int) -> None:
    kind = {401: Kind.AUTHENTICATION, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND, 429: Kind.RATE_LIMIT}.get(
        status
    )
    assert of_status(status, kind or Kind.UPSTREAM).action is Action.NEXT


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.INVALID_REQUEST),
        (404, Kind.INVALID_REQUEST),
        (405, Kind.METHOD_NOT_ALLOWED),
        (413, Kind.TOO_LARGE),
        (415, Kind.UNSUPPORTED),
        (422, Kind.INVALID_REQUEST),
    ],
)
def test_errors_of_the_request_itself_are_final_and_no_failure(status: int, kind: Kind) -> None:
    verdict = of_status(status, kind)
    assert verdict.action is Action.FINAL
    assert not verdict.counts
    assert verdict.answered


def test_what_a_dialect_calls_final_is_final() -> None:
    verdict = classify(UpstreamStatus(404, kind=Kind.NOT_FOUND, final=True))
    assert (verdict.action, verdict.answered) == (Action.FINAL, True)


@pytest.mark.parametrize("status", [200, 400, 402, 403, 404, 413, 422, 429, 500])
@pytest.mark.parametrize("kind", [Kind.QUOTA, Kind.RATE_LIMIT, Kind.OVERLOADED])
def test_exhausted_quota_moves_on_in_any_status(status: int, kind: Kind) -> None:
    verdict = of_status(status, kind)
    assert verdict.action is Action.NEXT
    assert verdict.counts
    assert not verdict.disables
    assert verdict.again is (kind is not Kind.QUOTA)


def test_a_400_that_is_about_the_credential_moves_on_and_counts_and_disables_nothing() -> None:
    """Gemini and xAI refuse a dead key so: not every request has to find out."""
    verdict = of_status(400, Kind.AUTHENTICATION)
    assert verdict.action is Action.NEXT
    assert verdict.counts
    assert not verdict.disables


@pytest.mark.parametrize(
    ("status", "kind", "disables"),
    [
        (401, Kind.AUTHENTICATION, True),
        (401, Kind.UPSTREAM, True),
        (401, Kind.PERMISSION, True),
        (403, Kind.AUTHENTICATION, True),
        (403, Kind.PERMISSION, False),
        (403, Kind.UPSTREAM, False),
        (402, Kind.QUOTA, False),
        (404, Kind.NOT_FOUND, False),
        (500, Kind.AUTHENTICATION, False),
        (200, Kind.AUTHENTICATION, False),
    ],
)
def test_only_a_401_and_a_403_known_as_an_authentication_error_disable_an_account(
    status: int, kind: Kind, disables: bool
) -> None:
    assert of_status(status, kind).disables is disables


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (402, True),
        (403, False),
        (404, True),
        (408, True),
        (409, False),
        (425, False),
        (429, True),
        (500, True),
        (529, True),
    ],
)
def test_what_a_client_can_bring_about_does_not_count_against_a_provider(status: int, counts: bool) -> None:
    assert of_status(status, Kind.UPSTREAM).counts is counts


def test_an_error_within_a_stream_that_has_no_status_is_a_failure() -> None:
    verdict = of_status(200, Kind.UPSTREAM)
    assert (verdict.action, verdict.counts, verdict.again) == (Action.NEXT, True, True)


def test_retry_after_parks_the_pair() -> None:
    verdict = classify(UpstreamStatus(429, kind=Kind.RATE_LIMIT, retry_after=12.5))
    assert (verdict.park, verdict.scope) == (12.5, Scope.PAIR)
    assert not verdict.counts
    assert not verdict.again


def test_retry_after_of_a_failing_server_parks_and_counts() -> None:
    verdict = classify(UpstreamStatus(503, retry_after=3))
    assert (verdict.park, verdict.counts) == (3, True)


def test_retry_after_parks_the_account_where_quota_is_shared() -> None:
    error = UpstreamStatus(429, kind=Kind.RATE_LIMIT, retry_after=5)
    assert classify(error, provider("p"), quota_shared=True).scope is Scope.ACCOUNT
    assert classify(error, provider("p", options={"quota_shared": "TRUE"})).scope is Scope.ACCOUNT
    assert (
        classify(error, provider("p", options={"quota_shared": "false"}), quota_shared=True).scope
        is Scope.PAIR
    )


@pytest.mark.parametrize(("told", "parked"), [(0, 0), (-5, 0), (None, 0), (1e12, LONGEST_PARK)])
def test_odd_waits_are_bounded(told: float | None, parked: float) -> None:
    assert of_status(429, Kind.RATE_LIMIT, retry_after=told).park == parked


@pytest.mark.parametrize("error", [BadRequest("no"), ProxyError()])
def test_what_is_not_the_providers_fault_is_final_and_says_nothing_of_it(error: ProxyError) -> None:
    verdict = classify(error)
    assert (verdict.action, verdict.counts, verdict.answered) == (Action.FINAL, False, False)


def test_an_upstream_error_of_a_new_type_is_read_by_its_attributes() -> None:
    error = UpstreamError()
    error.retryable = False
    verdict = classify(error)
    assert (verdict.action, verdict.counts) == (Action.FINAL, False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unreachable("dns"), "unreachable (dns)"),
        (UpstreamTimeout("idle", 3), "timeout (idle)"),
        (UpstreamBroken("x"), "broken answer"),
        (UpstreamStatus(529), "status 529"),
        (UpstreamError(), "upstream error"),
        (ProxyError(), "not the provider's"),
    ],
)
def test_a_verdict_names_its_reason_without_a_word_of_the_provider(error: ProxyError, reason: str) -> None:
    assert classify(error).reason == reason
