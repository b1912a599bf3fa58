"""Two JSON Schemas as one: what ``allOf`` means, and what stands beside a ``$ref``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apipod_proxy.dialect import lenient

Json = Any
Node = dict[str, Json]


def text_of(value: Json) -> str:
    """A JSON value as compact text."""
    return lenient.dumps(value).decode()


def described(schema: Node, notes: list[str]) -> Node:
    """The description of a schema followed by sentences, as a member; empty where there is none of either."""
    text = schema.get("description")
    parts = [text.strip()] if isinstance(text, str) and text.strip() else []
    if parts and notes and parts[0][-1] not in ".!?:;)":
        parts[0] += "."
    return {"description": " ".join(parts + notes)} if parts or notes else {}


def noted(schema: Node, *notes: str) -> Node:
    """The schema with sentences added to its description."""
    return {**schema, **described(schema, list(notes))}


SHAPES: Mapping[str, tuple[type, ...]] = {
    "type": (str, list),
    "properties": (dict,),
    "patternProperties": (dict,),
    "$defs": (dict,),
    "definitions": (dict,),
    "required": (list,),
    "enum": (list,),
    "items": (dict, list, bool),
    "prefixItems": (list,),
    "anyOf": (list,),
    "oneOf": (list,),
    "allOf": (list,),
    "description": (str,),
    "minimum": (int, float),
    "maximum": (int, float),
    "minLength": (int,),
    "maxLength": (int,),
    "minItems": (int,),
    "maxItems": (int,),
    "minProperties": (int,),
    "maxProperties": (int,),
}


def sane(schema: Node) -> Node:
    """The schema without keywords whose value is of no allowed type: they mean nothing."""
    if all(key not in SHAPES or isinstance(value, SHAPES[key]) for key, value in schema.items()):
        return schema
    return {
        key: value for key, value in schema.items() if key not in SHAPES or isinstance(value, SHAPES[key])
    }


def merge(left: Json, right: Json) -> Json:
    """One schema that says what both say."""
    if left is True or left == {}:
        return right
    if right is True or right == {}:
        return left
    if not isinstance(left, dict) or not isinstance(right, dict):
        return False
    out, right = dict(sane(left)), sane(right)
    for key, value in right.items():
        if key not in out or out[key] == value:
            out[key] = value
        elif key in _MERGE:
            out[key] = _MERGE[key](out[key], value)
        elif key in ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "patternProperties", "$ref"):
            # Two of them cannot stand side by side; the second is kept as one more thing that must hold.
            if key == "allOf":
                out["allOf"] = [*out["allOf"], *value]
            else:
                out = noted(out, f"Must also hold: {text_of({key: value})}.")
        else:
            out[key] = value
    return out


def _merge_types(left: Json, right: Json) -> Json:
    first = left if isinstance(left, list) else [left]
    second = right if isinstance(right, list) else [right]
    both = [kind for kind in first if kind in second or (kind == "integer" and "number" in second)]
    both += [kind for kind in second if kind == "integer" and "number" in first and kind not in both]
    return both[0] if len(both) == 1 else both or left


def _merge_text(left: Json, right: Json) -> Json:
    return (
        f"{left} {right}" if isinstance(left, str) and isinstance(right, str) and right not in left else left
    )


def _merge_properties(left: Json, right: Json) -> Json:
    out = dict(left)
    for name, value in right.items():
        out[name] = merge(out[name], value) if name in out else value
    return out


def _merge_additional(left: Json, right: Json) -> Json:
    return False if left is False or right is False else merge(left, right)


_MERGE: Mapping[str, Callable[[Json, Json], Json]] = {
    "type": _merge_types,
    "description": _merge_text,
    "properties": _merge_properties,
    "$defs": _merge_properties,
    "definitions": _merge_properties,
    "required": lambda left, right: list(dict.fromkeys([*left, *right])),
    "enum": lambda left, right: [value for value in left if value in right] or left,
    "items": merge,
    "additionalProperties": _merge_additional,
    "minimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
    "title": lambda left, right: left,
}
