from __future__ import annotations

import json

import pytest

from apipod_proxy.dialect.openai_chat import ROW
from apipod_proxy.dialect.openai_chat.errors import TYPES, failure_body
from apipod_proxy.dialect.vocabulary import Failure
from apipod_proxy.errors import BadRequest, Kind, LimitExceeded, UpstreamStatus


def test_every_kind_has_a_type() -> None:
    assert set(TYPES) == set(Kind)


@pytest.mark.parametrize(
    "kind", [kind for kind in Kind if kind not in (Kind.INTERNAL, Kind.UNSUPPORTED, Kind.METHOD_NOT_ALLOWED)]
)
def test_an_error_that_is_encoded_is_decoded_again(kind: Kind) -> None:
    error = UpstreamStatus(500, "It said no", kind=kind, code="some_code", param="messages")
    again = ROW.decode_error(500, {}, ROW.encode_error(error, "req_1"))
    assert (again.kind, again.message, again.code, again.param) == (
        kind,
        "It said no",
        "some_code",
        "messages",
    )


def test_the_body_is_openais() -> None:
    body = json.loads(ROW.encode_error(BadRequest("Expected a string", "$.model"), "req_1"))
    assert body == {
        "error": {
            "message": "Expected a string - at `$.model`",
            "type": "invalid_request_error",
            "param": "model",
            "code": None,
        }
    }
    spent = json.loads(ROW.encode_error(LimitExceeded("tokens_per_month", "key", 60, budget=True), "req_1"))
    assert (spent["error"]["type"], spent["error"]["code"]) == ("insufficient_quota", "insufficient_quota")


def test_the_frame_in_a_stream_holds_the_same_body() -> None:
    error = BadRequest("Expected a string", "$.model")
    assert ROW.error_event(error, "req_1") == b"data: " + ROW.encode_error(error, "req_1") + b"\n\n"
    assert json.loads(failure_body(Failure("m", "nonsense")))["error"]["type"] == "api_error"
