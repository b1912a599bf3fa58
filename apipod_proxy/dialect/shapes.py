"""Reading of what providers answer: a value of another type than expected says nothing, and never stops a stream."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from apipod_proxy.dialect.vocabulary import Json


def listed(value: Json) -> list[Json]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def objects(value: Json) -> list[dict[str, Json]]:
    """The objects in a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def an_object(value: Json) -> dict[str, Json]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def a_text(value: Json) -> str | None:
    """The text, or None where there is none or it is empty."""
    return value if isinstance(value, str) and value else None


def an_index(value: Json) -> int:
    """The number, or zero."""
    return value if isinstance(value, int) and value > 0 else 0


def is_whole(pieces: Sequence[str]) -> bool:
    """Whether the arguments of a call that came in these pieces are a whole object."""
    if not pieces or not pieces[-1].endswith("}"):
        return False
    try:
        orjson.loads("".join(pieces))
    except orjson.JSONDecodeError:
        return False
    return True
