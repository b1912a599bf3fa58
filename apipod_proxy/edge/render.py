"""Errors as answers: in the dialect of the client, which its path tells, else its headers, else it is OpenAI's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus

from aiohttp import web

from apipod_proxy.errors import MethodNotAllowed, ProxyError, UpstreamStatus

OPENAI = "openai_chat"
ANTHROPIC = "anthropic"
GEMINI = "gemini"
RESPONSES = "openai_responses"

EncodeError = Callable[[ProxyError, str], bytes]
"""(error, request id) → the JSON body in one dialect."""

ANTHROPIC_OVERLOADED = 529

_BY_PATH = {
    "/v1/chat/completions": OPENAI,
    "/chat/completions": OPENAI,
    "/v1/completions": OPENAI,
    "/v1/embeddings": OPENAI,
    "/v1/messages": ANTHROPIC,
    "/v1/messages/count_tokens": ANTHROPIC,
    "/v1/responses": RESPONSES,
}
_GEMINI_PREFIXES = ("/v1beta/", "/v1/models/")


def dialect_of(path: str, headers: Mapping[str, str]) -> str:
    """The name of the dialect that the client of this request reads; ``path`` is without its query."""
    named = _BY_PATH.get(path)
    if named is not None:
        return named
    if "x-goog-api-key" in headers or path.startswith("/v1beta/") or _is_gemini_verb(path):
        return GEMINI
    if "anthropic-version" in headers:
        return ANTHROPIC
    return OPENAI


def _is_gemini_verb(path: str) -> bool:
    """``/v1/models/NAME:verb`` is Gemini's; a colon alone may be part of a model's name."""
    return path.startswith(_GEMINI_PREFIXES) and path.rpartition(":")[2] in GEMINI_VERBS


GEMINI_VERBS = frozenset(
    ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
)


def status_of(error: ProxyError, dialect: str) -> int:
    """Anthropic's clients know an overloaded service as 529."""
    if dialect == ANTHROPIC and error.status == 503:
        return ANTHROPIC_OVERLOADED
    return error.status


def error_headers(error: ProxyError, dialect: str, request_id: str) -> dict[str, str]:
    """The headers that come with an error."""
    headers = {"content-type": "application/json", "x-request-id": request_id}
    if dialect == ANTHROPIC:
        headers["request-id"] = request_id
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, UpstreamStatus) and error.status == error.upstream_status:
        headers |= _retry_advice(error)
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = ", ".join(error.allowed)
    if error.closes:
        headers["connection"] = "close"
    return headers


def _retry_advice(error: UpstreamStatus) -> dict[str, str]:
    """What the official SDKs read before the status: whether the provider wants to be asked again, and when to the millisecond."""
    headers = {}
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.retry_after_seconds:
        headers["retry-after-ms"] = str(math.ceil(error.retry_after_seconds * 1000))
    return headers


class Renderer:
    """``encoders`` maps dialect names to their error encoders; the OpenAI one serves every other client."""

    def __init__(self, encoders: Mapping[str, EncodeError]) -> None:
        self._encoders = encoders
        self._default = encoders[OPENAI]

    def body(self, error: ProxyError, dialect: str, request_id: str) -> bytes:
        return self._encoders.get(dialect, self._default)(error, request_id)

    def response(self, error: ProxyError, dialect: str, request_id: str) -> web.Response:
        answer = web.Response(
            status=status_of(error, dialect),
            reason="Overloaded" if status_of(error, dialect) == ANTHROPIC_OVERLOADED else None,
            body=self.body(error, dialect, request_id),
            headers=error_headers(error, dialect, request_id),
        )
        if error.closes:
            answer.force_close()
        return answer

    def raw(self, error: ProxyError, request_id: str) -> bytes:
        """The whole HTTP answer to what never became a request; its connection closes."""
        body = self.body(error, OPENAI, request_id)
        headers = error_headers(error, OPENAI, request_id) | {
            "connection": "close",
            "content-length": str(len(body)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n{lines}\r\n".encode() + body
