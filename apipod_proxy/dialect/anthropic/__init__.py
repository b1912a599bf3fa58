"""The Messages API of Anthropic. https://platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.anthropic.decoder import Decoder, decode_unary
from apipod_proxy.dialect.anthropic.encoder import PING, Encoder
from apipod_proxy.dialect.anthropic.errors import encode_error, error_event
from apipod_proxy.dialect.anthropic.names import NAME
from apipod_proxy.dialect.anthropic.requests import decode_request, encode_request
from apipod_proxy.dialect.provider_errors import decode_error

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
    ping=PING,
    done=b"",
)
