from __future__ import annotations

import json

import pytest

from apipod_proxy.dialect.anthropic import ROW
from apipod_proxy.dialect.anthropic.errors import TYPES, failure_body
from apipod_proxy.dialect.vocabulary import Failure
from apipod_proxy.errors import BadRequest, Kind, UpstreamStatus

LOST = (Kind.INTERNAL, Kind.UNSUPPORTED, Kind.METHOD_NOT_ALLOWED)
"""Kinds that have no word of their own."""


def test_every_kind_has_a_type() -> None:
    assert set(TYPES) == set(Kind)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in LOST])
def test_an_error_that_is_encoded_is_decoded_again(kind: Kind) -> None:
    error = UpstreamStatus(500, "It said no", kind=kind)
    again = ROW.decode_error(500, {}, ROW.encode_error(error, "req_1"))
    assert (again.kind, again.message) == (kind, "It said no")


def test_the_body_is_anthropics() -> None:
    error = BadRequest("Expected a string", "$.model")
    body = ROW.encode_error(error, "req_1")
    assert json.loads(body) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "Expected a string - at `$.model`"},
        "request_id": "req_1",
    }
    assert ROW.error_event(error, "req_1") == b"event: error\ndata: " + body + b"\n\n"
    assert json.loads(failure_body(Failure("m", "nonsense"), "r"))["error"]["type"] == "api_error"


def test_a_conversation_that_is_too_long_is_said_in_the_words_that_clients_know() -> None:
    def said(message: str, code: str | None) -> str:
        error = UpstreamStatus(400, message, kind=Kind.INVALID_REQUEST, code=code)
        text: str = json.loads(ROW.encode_error(error, "r"))["error"]["message"]
        assert (
            json.loads(failure_body(Failure(message, "upstream", code=code), "r"))["error"]["message"] == text
        )
        return text

    assert said("It is too much", "context_length_exceeded") == "prompt is too long: It is too much"
    assert said("Prompt is too long: 2 > 1", "context_length_exceeded") == "Prompt is too long: 2 > 1"
    assert said("It is too much", "other") == "It is too much"
