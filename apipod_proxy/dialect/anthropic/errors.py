"""Errors as Anthropic words them."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from apipod_proxy.dialect.provider_errors import TOO_LONG
from apipod_proxy.dialect.vocabulary import Failure
from apipod_proxy.errors import Kind, ProxyError

TYPES: Mapping[Kind, str] = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.METHOD_NOT_ALLOWED: "invalid_request_error",
    Kind.TOO_LARGE: "request_too_large",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "billing_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.OVERLOADED: "overloaded_error",
    Kind.UPSTREAM: "api_error",
    Kind.UNSUPPORTED: "invalid_request_error",
    Kind.INTERNAL: "api_error",
}
_TOO_LONG = "prompt is too long"
"""Claude Code shortens a conversation on these words alone."""
KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}


def encode_error(error: ProxyError, request_id: str) -> bytes:
    """The body of an error response."""
    return _body(str(error), error.kind, error.code, request_id)


def error_event(error: ProxyError, request_id: str) -> bytes:
    """The frame that ends a started stream; without its ``event`` line the SDKs do not see it."""
    return b"event: error\ndata: " + encode_error(error, request_id) + b"\n\n"


def failure_body(failure: Failure, request_id: str) -> bytes:
    """The same for an error that the provider put into its stream."""
    return _body(failure.message, KINDS.get(failure.kind, Kind.UPSTREAM), failure.code, request_id)


def _body(message: str, kind: Kind, code: str | None, request_id: str) -> bytes:
    if code == TOO_LONG and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    return orjson.dumps(
        {"type": "error", "error": {"type": TYPES[kind], "message": message}, "request_id": request_id}
    )
