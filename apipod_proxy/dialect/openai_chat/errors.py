"""Errors as OpenAI words them."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from apipod_proxy.dialect.vocabulary import Failure
from apipod_proxy.errors import Kind, ProxyError

TYPES: Mapping[Kind, str] = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.METHOD_NOT_ALLOWED: "method_not_allowed",
    Kind.TOO_LARGE: "request_too_large",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "insufficient_quota",
    Kind.TIMEOUT: "timeout_error",
    Kind.OVERLOADED: "overloaded_error",
    Kind.UPSTREAM: "api_error",
    Kind.UNSUPPORTED: "not_implemented",
    Kind.INTERNAL: "server_error",
}
KINDS: Mapping[str, Kind] = {kind.value: kind for kind in Kind}


def encode_error(error: ProxyError, request_id: str) -> bytes:
    """The body of an error response. The request id stands in a header."""
    return _body(str(error), error.kind, error.param, error.code)


def error_event(error: ProxyError, request_id: str) -> bytes:
    """The frame that ends a started stream."""
    return b"data: " + encode_error(error, request_id) + b"\n\n"


def failure_body(failure: Failure) -> bytes:
    """The same for an error that the provider put into its stream."""
    return _body(failure.message, KINDS.get(failure.kind, Kind.UPSTREAM), None, failure.code)


def _body(message: str, kind: Kind, param: str | None, code: str | None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": TYPES[kind], "param": param, "code": code}})
