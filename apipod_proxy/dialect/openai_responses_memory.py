"""Conversations that a client of Responses goes on with by ``previous_response_id``: what to keep of a response, and the request that goes on.

Kept is the whole conversation as items, as JSON, under the id of its last response; the caller stores it. Instructions are not part of it:
the API gives those of each request alone.
"""

from __future__ import annotations

import orjson

from apipod_proxy.dialect.fields import Object, a_text, parse
from apipod_proxy.dialect.members import Members
from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.errors import BadRequest, ClientError

LEFT_OUT = frozenset({"status", "created_by"})
"""Of an output item, what no input item has to have."""


def previous_id(members: Members) -> str | None:
    """The id of the response that a request goes on from, of the request's top level. Raises BadRequest."""
    raw = members.get("previous_response_id")
    value = None if raw is None else orjson.loads(bytes(raw))
    return None if value is None else a_text(value, "$.previous_response_id")


def wants_keeping(members: Members) -> bool:
    """Whether the response to a request may be gone on from; ``store`` is true where it is not said."""
    raw = members.get("store")
    return raw is None or bytes(raw) != b"false"


def kept(body: bytes, output: list[Json]) -> bytes:
    """The conversation that a request and the output of its response make, for the next one. ``body`` is what ``continued`` gave."""
    return orjson.dumps(_items(parse(body).get("input")) + [_as_input(item) for item in output])


def continued(body: bytes, conversation: bytes) -> bytes:
    """The request with the kept conversation in front of its own input, and without the id."""
    source = parse(body)
    source.pop("previous_response_id", None)
    source["input"] = orjson.loads(conversation) + _items(source.get("input"))
    return orjson.dumps(source)


def input_items(conversation: bytes, outputs: int, response_id: str) -> list[Object]:
    """The items of a conversation but its last ``outputs``, as the API lists them: texts as parts, and each item with an id."""
    items = orjson.loads(conversation)
    told: list[Object] = []
    for place, item in enumerate(items[: len(items) - outputs]):
        if not isinstance(item, dict):
            continue
        listed: Object = {"id": f"item_{response_id.removeprefix('resp_')}_{place}", **item}
        listed.setdefault("type", "message")
        if listed["type"] == "message":
            listed.setdefault("status", "completed")
            if isinstance(listed.get("content"), str):
                kind = "output_text" if listed.get("role") == "assistant" else "input_text"
                listed["content"] = [{"type": kind, "text": listed["content"]}]
        told.append(listed)
    return told


def not_found(response_id: str) -> ClientError:
    """The error for an id under which nothing is kept, worded and coded as the API's."""
    error: ClientError = BadRequest(f"Previous response with id '{response_id}' not found.", None)
    error.code = "previous_response_not_found"
    error.param = "previous_response_id"
    return error


def _items(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value
    return [] if value is None else [{"type": "message", "role": "user", "content": value}]


def _as_input(item: Json) -> Json:
    if not isinstance(item, dict):
        return item
    left: Object = {key: value for key, value in item.items() if key not in LEFT_OUT}
    return left
