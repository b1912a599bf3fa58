from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from apipod_proxy.dialect.gemini import ROW
from apipod_proxy.dialect.vocabulary import Event
from apipod_proxy.errors import (
    BadRequest,
    Forbidden,
    InternalError,
    Kind,
    LimitExceeded,
    ProxyError,
    UnknownModel,
)
from tests.dialect.event_strategies import answers, told
from tests.dialect.wire import INFO, decode, ids, payloads, stream


@settings(max_examples=60)
@given(events=answers())
def test_what_is_encoded_is_decoded_the_same(events: list[Event]) -> None:
    expected = told(events)
    assert told(decode(ROW, stream(ROW, events))) == expected
    assert told(ROW.decode_unary(ROW.encoder(INFO).fold(events), ids())) == expected


ERRORS: list[tuple[ProxyError, int, str]] = [
    (BadRequest("No", "$.contents"), 400, "INVALID_ARGUMENT"),
    (Forbidden("No"), 403, "PERMISSION_DENIED"),
    (UnknownModel("m"), 404, "NOT_FOUND"),
    (LimitExceeded("rpm", "key", 7), 429, "RESOURCE_EXHAUSTED"),
    (InternalError(), 500, "INTERNAL"),
]


@pytest.mark.parametrize(("error", "status", "word"), ERRORS)
def test_errors_have_googles_shape(error: ProxyError, status: int, word: str) -> None:
    body = json.loads(ROW.encode_error(error, "req_1"))
    assert body["error"] | {"details": None} == {
        "code": status,
        "message": str(error),
        "status": word,
        "details": None,
    }
    assert payloads(ROW.error_event(error, "req_1")) == [body]


@pytest.mark.parametrize(("error", "status", "word"), ERRORS)
def test_an_error_that_is_encoded_is_decoded_the_same(error: ProxyError, status: int, word: str) -> None:
    back = ROW.decode_error(status, {}, ROW.encode_error(error, "req_1"))
    assert (back.upstream_status, back.message, back.retry_after) == (status, str(error), error.retry_after)
    assert back.kind is error.kind or error.kind is Kind.INTERNAL


def test_a_wait_stands_among_the_details() -> None:
    (detail,) = json.loads(ROW.encode_error(LimitExceeded("rpm", "key", 7), "r"))["error"]["details"]
    assert detail["retryDelay"] == "7s"


def test_clients_get_no_pings_and_no_closing_mark() -> None:
    assert (ROW.ping, ROW.done) == (b"", b"")
