"""The Gemini API: ``generateContent`` and ``streamGenerateContent``, on AI Studio and on Vertex."""

from __future__ import annotations

import orjson

from apipod_proxy.dialect import Dialect, provider_errors
from apipod_proxy.dialect.gemini_decoder import Decoder, decode_unary
from apipod_proxy.dialect.gemini_encoder import Encoder
from apipod_proxy.dialect.gemini_names import NAME, STATUSES
from apipod_proxy.dialect.gemini_requests import decode_request, encode_request
from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.errors import ProxyError


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


ROW = Dialect(
    name=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decoder=Decoder,
    decode_unary=decode_unary,
    encoder=Encoder,
    decode_error=provider_errors.decode_error,
    encode_error=encode_error,
    error_event=error_event,
    ping=b"",
    done=b"",
)
