"""Conversations that a client of Responses goes on with by ``previous_response_id``: what to keep of a response, and the request that goes on.

Kept is the whole conversation as items, as JSON, under the id of its last response; the caller stores it. Instructions are not part of it:
the API gives those of each request alone. Other clients name each item of earlier answers by its id: ``item_reference``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from apipod_proxy.dialect.fields import Object, a_text, parse
from apipod_proxy.dialect.members import Members
from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.errors import BadRequest, ClientError

LEFT_OUT = frozenset({"status", "created_by"})
"""Of an output item, what no input item has to have."""

REFERENCE = b"item_reference"
"""Stands in every request that names items instead of repeating them."""

_OWN_ITEM = re.compile(r"[a-z]+_(req_[\w-]+)_\d+", re.ASCII)
"""The ids that the encoder gives to items."""


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


def references(body: bytes) -> list[str]:
    """The ids of the items that a request names instead of repeating them."""
    return [item["id"] for item in _items(parse(body).get("input")) if _is_reference(item)]


def response_of(item_id: str) -> str | None:
    """The id of the response that holds an item; None where another than the encoder gave it its id."""
    found = _OWN_ITEM.fullmatch(item_id)
    return None if found is None else f"resp_{found[1]}"


def resolved(body: bytes, items: Mapping[str, Object]) -> bytes:
    """The request with ``items`` in the places of their references."""
    source = parse(body)
    source["input"] = [
        _as_input(items.get(item["id"], item)) if _is_reference(item) else item
        for item in _items(source.get("input"))
    ]
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


def item_not_found(item_id: str) -> ClientError:
    """The error for an item that is not kept, worded as the API's."""
    error: ClientError = BadRequest(
        f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false. "
        "Try again with `store` set to true, or remove this item from your input.",
    )
    error.status = 404
    error.param = "input"
    return error


def _is_reference(item: Json) -> bool:
    return isinstance(item, dict) and item.get("type") == "item_reference" and isinstance(item.get("id"), str)


def _items(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value
    return [] if value is None else [{"type": "message", "role": "user", "content": value}]


def _as_input(item: Json) -> Json:
    if not isinstance(item, dict):
        return item
    left: Object = {key: value for key, value in item.items() if key not in LEFT_OUT}
    return left
