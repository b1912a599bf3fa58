"""Requests of Responses that come to the path of Chat and want an answer of Chat, as editors send them that know a base URL alone."""

from __future__ import annotations

from apipod_proxy.dialect import Aim
from apipod_proxy.dialect.fields import parse
from apipod_proxy.dialect.openai_chat import ROW as CHAT
from apipod_proxy.dialect.openai_responses import ROW as RESPONSES


def as_chat(body: bytes) -> bytes | None:
    """The same request in Chat; None where it is none of Responses. Raises BadRequest for what is wrong in it or cannot be said in Chat."""
    source = parse(body)
    if source.get("input") is None or source.get("messages") is not None:
        return None
    call = RESPONSES.decode_request(body)
    # Whether the model thinks is asked when it is chosen.
    return CHAT.encode_request(call, Aim(call.model, thinks=True)).body
