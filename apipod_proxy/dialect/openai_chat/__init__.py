"""Chat Completions of OpenAI, and of all who speak it with an accent. https://platform.openai.com/docs/api-reference/chat"""

from __future__ import annotations

from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.openai_chat.decoder import Decoder, decode_unary
from apipod_proxy.dialect.openai_chat.encoder import DONE, Encoder
from apipod_proxy.dialect.openai_chat.errors import encode_error, error_event
from apipod_proxy.dialect.openai_chat.names import NAME
from apipod_proxy.dialect.openai_chat.requests import decode_request, encode_request
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
    ping=b": ping\n\n",
    done=DONE,
)
