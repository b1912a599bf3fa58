from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from apipod_proxy.dialect.openai_responses import ROW
from apipod_proxy.dialect.vocabulary import Event
from apipod_proxy.errors import BadRequest, InternalError, Kind, LimitExceeded, NoCandidate, ProxyError
from tests.dialect.event_strategies import answers, told
from tests.dialect.wire import INFO, decode, ids, payloads, stream


@settings(max_examples=80)
@given(events=answers())
def test_what_is_encoded_is_decoded_the_same(events: list[Event]) -> None:
    expected = told(events)
    assert told(decode(ROW, stream(ROW, events))) == expected
    assert told(ROW.decode_unary(ROW.encoder(INFO).fold(events), ids())) == expected


ERRORS: list[tuple[ProxyError, int]] = [
    (BadRequest("No", "$.input[0]"), 400),
    (LimitExceeded("rpm", "key", 7), 429),
    (NoCandidate("m", 3), 503),
    (InternalError(), 500),
]


@pytest.mark.parametrize(("error", "status"), ERRORS)
def test_errors_have_openais_shape_and_survive_there_and_back(error: ProxyError, status: int) -> None:
    body = ROW.encode_error(error, "req_1")
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    back = ROW.decode_error(status, {}, body)
    assert (back.message, back.code, back.param) == (str(error), error.code, error.param)
    assert back.kind is error.kind or error.kind in (Kind.INTERNAL, Kind.OVERLOADED)


def test_an_error_in_a_started_stream_is_an_error_event_and_a_failed_response() -> None:
    data = ROW.error_event(LimitExceeded("rpm", "key", 7), "req_1")
    error, failed = payloads(data)
    assert data.startswith(b"event: error\n")
    assert (error["type"], error["code"], failed["type"]) == (
        "error",
        "rate_limit_exceeded",
        "response.failed",
    )
    assert (failed["response"]["id"], failed["response"]["status"]) == ("resp_req_1", "failed")
    assert failed["sequence_number"] > error["sequence_number"]


def test_a_ping_is_a_comment_and_nothing_closes_a_stream() -> None:
    assert (ROW.ping, ROW.done) == (b": ping\n\n", b"")
