"""Reading of request fields: each function gives the value in its type, or raises BadRequest with the path of the field."""

from __future__ import annotations

from typing import Any

import orjson

from apipod_proxy.dialect import lenient
from apipod_proxy.errors import BadRequest

Json = Any
Object = dict[str, Json]

NAMES: dict[type, str] = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
}


def parse(body: bytes) -> Object:
    """The object that a request body holds."""
    try:
        value = lenient.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadRequest(
            f"The body is no valid JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})"
        ) from exc
    return an_object(value, "$")


def wrong(value: Json, wanted: str, path: str) -> BadRequest:
    """The error for a value of the wrong type."""
    return BadRequest(f"Expected {wanted}, got {NAMES.get(type(value), 'null')}", path)


def an_object(value: Json, path: str) -> Object:
    if not isinstance(value, dict):
        raise wrong(value, "an object", path)
    return value


def a_list(value: Json, path: str) -> list[Json]:
    if not isinstance(value, list):
        raise wrong(value, "an array", path)
    return value


def a_text(value: Json, path: str) -> str:
    if not isinstance(value, str):
        raise wrong(value, "a string", path)
    return value


def required(value: Json, path: str) -> Json:
    if value is None:
        raise BadRequest("This field is required", path)
    return value


def opt_text(source: Object, key: str, path: str) -> str | None:
    value = source.get(key)
    return None if value is None else a_text(value, f"{path}.{key}")


def opt_bool(source: Object, key: str, path: str) -> bool | None:
    value = source.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise wrong(value, "a boolean", f"{path}.{key}")


def opt_int(source: Object, key: str, path: str) -> int | None:
    value = source.get(key)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(value, "an integer", f"{path}.{key}")
    return value


def opt_number(source: Object, key: str, path: str) -> float | None:
    value = source.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(value, "a number", f"{path}.{key}")
    return value


def opt_object(source: Object, key: str, path: str) -> Object | None:
    value = source.get(key)
    return None if value is None else an_object(value, f"{path}.{key}")


def opt_list(source: Object, key: str, path: str) -> list[Json]:
    """The list under ``key``; empty where there is none."""
    value = source.get(key)
    return [] if value is None else a_list(value, f"{path}.{key}")


def opt_texts(source: Object, key: str, path: str) -> list[str]:
    return [a_text(item, f"{path}.{key}[{index}]") for index, item in enumerate(opt_list(source, key, path))]
