"""The Responses API of OpenAI: ``/v1/responses``, as OpenAI, Azure, xAI, OpenRouter and DeepSeek speak it."""

from __future__ import annotations

import orjson

from apipod_proxy.dialect import Dialect, provider_errors
from apipod_proxy.dialect.openai_errors import error_object
from apipod_proxy.dialect.openai_responses_decoder import Decoder, decode_unary
from apipod_proxy.dialect.openai_responses_encoder import Encoder
from apipod_proxy.dialect.openai_responses_items import NAME
from apipod_proxy.dialect.openai_responses_requests import decode_request, encode_request
from apipod_proxy.dialect.openai_responses_wire import CODES
from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.errors import ProxyError

LAST_NUMBER = 2**31 - 1
"""The sequence number of an error that no encoder wrote: above all that went before."""


def encode_error(error: ProxyError, request_id: str) -> bytes:
    """The body of an error response."""
    return orjson.dumps({"error": error_object(error)})


def error_event(error: ProxyError, request_id: str) -> bytes:
    """The two events that end a started stream, as the API sends them."""
    said = error_object(error)
    code = error.code or CODES.get(error.kind.value, "server_error")
    event = {
        "type": "error",
        "sequence_number": LAST_NUMBER - 1,
        "code": code,
        "message": said["message"],
        "param": error.param,
        "error": said,
    }
    failed: dict[str, Json] = {
        "id": f"resp_{request_id.removeprefix('resp_')}",
        "object": "response",
        "status": "failed",
        "error": {"code": code, "message": said["message"]},
        "incomplete_details": None,
        "output": [],
        "usage": None,
        "metadata": {},
    }
    last = {"type": "response.failed", "sequence_number": LAST_NUMBER, "response": failed}
    return b"event: error\ndata: %b\n\nevent: response.failed\ndata: %b\n\n" % (
        orjson.dumps(event),
        orjson.dumps(last),
    )


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
    ping=b": ping\n\n",
    done=b"",
)
