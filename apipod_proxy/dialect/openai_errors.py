"""Errors in the shape that every OpenAI endpoint has: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from collections.abc import Mapping

from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.errors import Kind, ProxyError

TYPES: Mapping[Kind, str] = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "invalid_request_error",
    Kind.METHOD_NOT_ALLOWED: "invalid_request_error",
    Kind.TOO_LARGE: "invalid_request_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "insufficient_quota",
    Kind.TIMEOUT: "timeout_error",
    Kind.OVERLOADED: "server_error",
    Kind.UPSTREAM: "server_error",
    Kind.UNSUPPORTED: "invalid_request_error",
    Kind.INTERNAL: "server_error",
}


def error_object(error: ProxyError) -> dict[str, Json]:
    """The error with all four members, those that say nothing as null."""
    return {"message": str(error), "type": TYPES[error.kind], "param": error.param, "code": error.code}
