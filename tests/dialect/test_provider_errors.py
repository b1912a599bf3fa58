from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect.provider_errors import cleaned, decode_error, failure_of
from apipod_proxy.errors import Kind
from apipod_proxy.route.classify import Action, classify

SHAPES: list[tuple[int, Any, Kind, str | None]] = [
    (
        400,
        {"error": {"message": "m", "type": "invalid_request_error", "param": "p", "code": "c"}},
        Kind.INVALID_REQUEST,
        "m",
    ),
    (
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "m"}, "request_id": "r"},
        Kind.OVERLOADED,
        "m",
    ),
    (400, {"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}, Kind.INVALID_REQUEST, "m"),
    (429, [{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}], Kind.RATE_LIMIT, "m"),
    (
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx"},
        Kind.AUTHENTICATION,
        None,
    ),
    (401, {"detail": "m"}, Kind.AUTHENTICATION, "m"),
    (
        422,
        {"detail": [{"loc": ["body", "n", 0], "msg": "m"}, {"msg": "k"}]},
        Kind.INVALID_REQUEST,
        "n.0: m; k",
    ),
    (429, {"object": "error", "message": "m", "type": "rate_limited", "code": "1300"}, Kind.RATE_LIMIT, "m"),
    (
        422,
        {"object": "error", "message": {"detail": [{"loc": ["body", "x"], "msg": "m"}]}},
        Kind.INVALID_REQUEST,
        "x: m",
    ),
    (404, {"id": "i", "message": "model 'm' not found"}, Kind.NOT_FOUND, "model 'm' not found"),
    (404, {"status": 404, "message": "No such model"}, Kind.NOT_FOUND, "No such model"),
    (404, {"error": "model 'm' not found"}, Kind.NOT_FOUND, "model 'm' not found"),
    (401, {"error": {"message": "m", "type": "invalid_api_key", "code": 401}}, Kind.AUTHENTICATION, "m"),
    (
        429,
        {"error": {"message": "a", "code": 429, "metadata": {"raw": '{"error":{"message":"b"}}'}}},
        Kind.RATE_LIMIT,
        "a: b",
    ),
    (402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, Kind.QUOTA, None),
    (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"},
        },
        Kind.QUOTA,
        None,
    ),
    (403, {"message": "m"}, Kind.PERMISSION, "m"),
    (502, {"errors": [{"message": "m"}]}, Kind.UPSTREAM, "m"),
    (418, {}, Kind.INVALID_REQUEST, None),
    (500, [], Kind.UPSTREAM, None),
    (500, "text", Kind.UPSTREAM, "text"),
    (500, 5, Kind.UPSTREAM, None),
]


@pytest.mark.parametrize(("status", "body", "kind", "message"), SHAPES)
def test_every_shape_of_error_is_read(status: int, body: Any, kind: Kind, message: str | None) -> None:
    error = decode_error(status, {}, json.dumps(body).encode())
    assert (error.upstream_status, error.kind) == (status, kind)
    if message is not None:
        assert error.message == message


def test_html_says_nothing_that_may_be_shown() -> None:
    error = decode_error(502, {}, b"<html>nginx at 10.0.0.1</html>")
    assert error.message is None
    assert str(error) == "The provider answered with status 502."


@pytest.mark.parametrize(
    ("status", "body", "final"),
    [
        (400, {"error": {"message": "bad"}}, True),
        (413, {}, True),
        (422, {"detail": "x"}, True),
        (404, {"error": {"message": "no such file"}}, True),
        (404, {"error": {"message": "The model does not exist"}}, False),
        (400, {"error": {"message": "x", "code": "model_not_found"}}, False),
        (400, {"error": {"message": "API key not valid", "status": "INVALID_ARGUMENT"}}, False),
        (400, {"error": {"message": "credit balance is too low"}}, False),
        (401, {}, False),
        (409, {}, False),
        (500, {}, False),
    ],
)
def test_only_what_rejects_the_request_itself_is_final(status: int, body: Any, final: bool) -> None:
    error = decode_error(status, {}, json.dumps(body).encode())
    assert error.retryable is not final
    if final:
        assert error.status == status


def test_a_provider_may_ask_for_a_repeat() -> None:
    asked = decode_error(400, {"x-should-retry": "true"}, b"{}")
    assert asked.retryable
    assert asked.should_retry is True
    assert decode_error(429, {"x-should-retry": "False"}, b"{}").should_retry is False
    assert decode_error(429, {"x-should-retry": "perhaps"}, b"{}").should_retry is None


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after": "7"}, {}, 7),
        ({"retry-after": "0.5"}, {}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, {}, 1.5),
        ({"retry-after": "-3"}, {}, 0),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT", "date": "Sat, 21 Nov 2026 10:00:00 GMT"}, {}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 10:00:30 GMT"}, {}, None),
        ({"retry-after": "soon", "date": "x"}, {}, None),
        ({}, {"error": {"message": "Please try again in 1m2.5s."}}, 62.5),
        ({}, {"error": {"message": "Please retry in 250ms"}}, 0.25),
        ({}, {"error": {"message": "m", "details": [{"@type": "x.RetryInfo", "retryDelay": "34.4s"}]}}, 34.4),
        (
            {},
            {"error": {"message": "m", "details": [{"@type": "x.RetryInfo", "retryDelay": "soon"}, 5]}},
            None,
        ),
        ({}, {}, None),
    ],
)
def test_the_wait_is_found_wherever_it_stands(headers: dict[str, str], body: Any, wait: float | None) -> None:
    assert decode_error(429, headers, json.dumps(body).encode()).retry_after_seconds == wait


def test_keys_and_control_characters_are_not_shown() -> None:
    shown = cleaned(
        "Incorrect key sk-proj-abcdefgh12345678 and Bearer abcdefghijk or AIzaSyA1234567890abc\x00 \x1b[0m "
        + "a1" * 30
    )
    assert "abcdefgh" not in shown
    assert "SyA123" not in shown
    assert "a1a1" not in shown
    assert "\x00" not in shown
    assert len(cleaned("x " * 9000)) <= 4000


def test_an_error_in_a_stream_has_the_status_that_http_would_have_said() -> None:
    failure = failure_of({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}})
    assert (failure.status, failure.kind, failure.message) == (429, Kind.RATE_LIMIT, "m")
    failure = failure_of({"error": {"message": "m", "code": "server_error"}})
    assert (failure.status, failure.kind) == (500, Kind.UPSTREAM)
    assert failure_of(None).message == "The provider reported an error."


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (400, "Your credit balance is too low to access the API.", Kind.QUOTA),
        (400, "Billing_hard_limit has been reached", Kind.QUOTA),
        (403, "This account has insufficient credits", Kind.QUOTA),
        (400, "Invalid value: 'out of credits'.", Kind.INVALID_REQUEST),
        (400, "API key not valid. Please pass a valid API key.", Kind.AUTHENTICATION),
        (403, "Error: Invalid API key", Kind.AUTHENTICATION),
        (403, "You may not read the file invalid-api-key", Kind.PERMISSION),
        (400, "Invalid value: 'missing api key'.", Kind.INVALID_REQUEST),
    ],
)
def test_what_a_client_wrote_says_nothing_of_the_account(status: int, said: str, kind: Kind) -> None:
    body = json.dumps({"error": {"message": said, "type": "x"}}).encode()
    assert decode_error(status, {}, body).kind is kind


XAI = "Content violates usage guidelines. Team: t-1, API key ID: k-1, Model: grok-4, Failed check: BIO"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (498, {"id": "i", "message": "blocked input"}, "blocked input"),
        (
            403,
            {"code": "The caller does not have permission", "error": XAI},
            "Content violates usage guidelines. Model: grok-4, Failed check: BIO",
        ),
        (
            403,
            {"error": {"code": 403, "message": "Flagged", "metadata": {"flagged_input": "x", "reasons": []}}},
            "Flagged",
        ),
    ],
)
def test_a_refusal_of_what_was_said_is_told_as_that(status: int, body: Any, message: str) -> None:
    error = decode_error(status, {}, json.dumps(body).encode())
    assert (error.status, error.kind, error.code) == (400, Kind.INVALID_REQUEST, "content_filter")
    assert error.message == message
    verdict = classify(error)
    assert verdict.action is Action.NEXT
    assert not (verdict.counts or verdict.again or verdict.disables)


@pytest.mark.parametrize("code", ["previous_response_not_found", "invalid_encrypted_content"])
def test_what_one_account_does_not_know_another_may(code: str) -> None:
    said = {"error": {"message": "m", "type": "invalid_request_error", "param": "input", "code": code}}
    error = decode_error(400, {}, json.dumps(said).encode())
    assert (error.retryable, error.status, error.code, error.param) == (True, 400, code, "input")
    verdict = classify(error)
    assert verdict.action is Action.NEXT
    assert not (verdict.counts or verdict.again or verdict.disables)


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "prompt is too long: 208310 tokens > 200000 maximum", "context_length_exceeded"),
        (400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
        (400, "Your input exceeds the context window of this model.", "context_length_exceeded"),
        (
            400,
            "The input token count (1200000) exceeds the maximum number of tokens",
            "context_length_exceeded",
        ),
        (413, "Prompt is too long", "context_length_exceeded"),
        (400, "max_tokens is too large", None),
        (429, "You exceeded the context window quota", None),
    ],
)
def test_a_conversation_that_is_too_long_has_a_code(status: int, message: str, code: str | None) -> None:
    body = {"error": {"type": "", "message": message}}
    assert decode_error(status, {}, json.dumps(body).encode()).code == code
    assert failure_of({"error": {"message": message, "code": status}}).code == code
