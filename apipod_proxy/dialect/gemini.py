"""The Gemini API: ``generateContent`` and ``streamGenerateContent``, on AI Studio and on Vertex."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.gemini_decoder import Decoder, decode_unary, retry_delay
from apipod_proxy.dialect.gemini_encoder import ArrayEncoder, Encoder
from apipod_proxy.dialect.gemini_names import KINDS, NAME, STATUSES
from apipod_proxy.dialect.gemini_requests import decode_request, encode_request
from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.errors import Kind, ProxyError, UpstreamStatus


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamStatus:
    """The error of an answer with an error status; takes the array form and bodies that are no JSON."""
    error = _error(body)
    word = str(error.get("status") or "")
    kind = KINDS.get(word) or _BY_STATUS.get(status, Kind.UPSTREAM)
    details = [item for item in error.get("details") or () if isinstance(item, dict)]
    reasons = {str(item.get("reason")) for item in details}
    if status in (400, 401, 403) and reasons & {
        "API_KEY_INVALID",
        "API_KEY_SERVICE_BLOCKED",
        "ACCESS_TOKEN_EXPIRED",
    }:
        kind = Kind.AUTHENTICATION
    if kind is Kind.RATE_LIMIT and any("PerDay" in str(item.get("violations")) for item in details):
        kind = Kind.QUOTA
    delay = _seconds(headers.get("retry-after") or headers.get("Retry-After"))
    message = error.get("message")
    return UpstreamStatus(
        status,
        message if isinstance(message, str) and message else None,
        kind=kind,
        code=word or None,
        retry_after=delay if delay is not None else retry_delay(error),
        final=status in (400, 413, 422) and kind is not Kind.AUTHENTICATION,
    )


_BY_STATUS = {
    400: Kind.INVALID_REQUEST,
    401: Kind.AUTHENTICATION,
    402: Kind.QUOTA,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    413: Kind.TOO_LARGE,
    422: Kind.INVALID_REQUEST,
    429: Kind.RATE_LIMIT,
    500: Kind.INTERNAL,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}


def _error(body: bytes) -> dict[str, Json]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(value, list):
        value = value[0] if value else {}
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None


def error_object(error: ProxyError) -> dict[str, Json]:
    """``{"error": {code, message, status}}``, with the delay among the details where there is one."""
    out: dict[str, Json] = {"code": error.status, "message": str(error), "status": STATUSES[error.kind]}
    if error.retry_after is not None:
        out["details"] = [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{error.retry_after}s"}
        ]
    return {"error": out}


def encode_error(error: ProxyError, request_id: str) -> bytes:
    """The body of an error response. Gemini has no place for a request id; it stands in the header."""
    return orjson.dumps(error_object(error))


def error_event(error: ProxyError, request_id: str) -> bytes:
    """The event that ends a started stream."""
    return b"data: " + orjson.dumps(error_object(error)) + b"\r\n\r\n"


def error_element(error: ProxyError, request_id: str) -> bytes:
    """The element that ends a started array."""
    return b",\r\n" + orjson.dumps(error_object(error)) + b"]"


ROW = Dialect(
    name=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decoder=Decoder,
    decode_unary=decode_unary,
    encoder=Encoder,
    decode_error=decode_error,
    encode_error=encode_error,
    error_event=error_event,
    ping=b"",
    done=b"",
)

ARRAY_ROW = ROW._replace(encoder=ArrayEncoder, error_event=error_element)
"""For clients that asked without ``alt=sse``. Before the first element an error is sent as ``encoder.send(Failure(…))``."""
