from __future__ import annotations

import pytest

from apipod_proxy.edge.render import (
    ANTHROPIC,
    GEMINI,
    OPENAI,
    RESPONSES,
    Renderer,
    dialect_of,
    error_headers,
    status_of,
)
from apipod_proxy.errors import (
    LimitExceeded,
    MethodNotAllowed,
    NoCandidate,
    NotFound,
    Unauthenticated,
    UpstreamStatus,
)
from tests.edge.conftest import ENCODERS

GOOGLE = {"x-goog-api-key": "k"}
CLAUDE = {"anthropic-version": "2023-06-01"}


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/chat/completions", {}, OPENAI),
        ("/chat/completions", CLAUDE, OPENAI),
        ("/v1/messages", {}, ANTHROPIC),
        ("/v1/messages/count_tokens", {}, ANTHROPIC),
        ("/v1/responses", {}, RESPONSES),
        ("/v1/embeddings", {}, OPENAI),
        ("/v1beta/models", {}, GEMINI),
        ("/v1beta/models/gemini-3-flash:generateContent", {}, GEMINI),
        ("/v1/models/gemini-3-flash:streamGenerateContent", {}, GEMINI),
        ("/v1/models", {}, OPENAI),
        ("/v1/models/vendor/name:free", {}, OPENAI),
        ("/v1/models", CLAUDE, ANTHROPIC),
        ("/v1/models", GOOGLE, GEMINI),
        ("/v1/models", {**CLAUDE, **GOOGLE}, GEMINI),
        ("/nowhere", {}, OPENAI),
        ("/nowhere", CLAUDE, ANTHROPIC),
        ("/nowhere", GOOGLE, GEMINI),
    ],
)
def test_the_dialect_is_told_by_the_path_and_else_by_headers(
    path: str, headers: dict[str, str], dialect: str
) -> None:
    assert dialect_of(path, headers) == dialect


def test_only_anthropic_clients_know_529() -> None:
    busy = NoCandidate("m", 3)
    assert status_of(busy, ANTHROPIC) == 529
    assert status_of(busy, OPENAI) == 503
    assert status_of(NotFound("/"), ANTHROPIC) == 404


def test_headers_say_when_to_come_back_what_is_allowed_and_which_request_it_was() -> None:
    limited = error_headers(LimitExceeded("rpm", "key", 7), OPENAI, "req_1")
    assert limited["retry-after"] == "7"
    assert limited["x-request-id"] == "req_1"
    assert "request-id" not in limited
    assert error_headers(NotFound("/"), ANTHROPIC, "req_1")["request-id"] == "req_1"
    assert error_headers(MethodNotAllowed("GET", ("POST", "PUT")), OPENAI, "r")["allow"] == "POST, PUT"
    assert error_headers(Unauthenticated("missing"), OPENAI, "r")["connection"] == "close"


def test_what_a_provider_says_of_asking_again_is_passed_on_with_its_status() -> None:
    error = UpstreamStatus(429, "slow down", retry_after=0.25)
    error.status, error.should_retry = 429, False
    headers = error_headers(error, OPENAI, "r")
    assert (headers["retry-after"], headers["retry-after-ms"], headers["x-should-retry"]) == (
        "1",
        "250",
        "false",
    )
    error.status = 502
    headers = error_headers(error, OPENAI, "r")
    assert "x-should-retry" not in headers
    assert "retry-after-ms" not in headers
    assert "x-should-retry" not in error_headers(UpstreamStatus(400, "no", final=True), OPENAI, "r")


def test_a_dialect_without_an_encoder_is_answered_as_openai() -> None:
    renderer = Renderer(ENCODERS)
    assert renderer.body(NotFound("/"), GEMINI, "r") == renderer.body(NotFound("/"), OPENAI, "r")


def test_the_raw_answer_is_a_whole_http_message() -> None:
    raw = Renderer(ENCODERS).raw(NotFound("/"), "req_1")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert b"connection: close" in head
