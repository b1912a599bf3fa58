"""JSON schemas as the structured output of Messages takes them."""

from __future__ import annotations

from apipod_proxy.dialect.vocabulary import Json

_MOVED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
"""Keywords that the API refuses; they become part of the description, where the model still reads them."""
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
_ONE = ("items", "not", "additionalProperties")


def strict(schema: Json) -> Json:
    """``schema`` with every object closed and without the refused keywords."""
    if not isinstance(schema, dict):
        return schema
    out = dict(schema)
    for name in _MAPS:
        if isinstance(out.get(name), dict):
            out[name] = {key: strict(value) for key, value in out[name].items()}
    for name in _LISTS:
        if isinstance(out.get(name), list):
            out[name] = [strict(value) for value in out[name]]
    for name in _ONE:
        if isinstance(out.get(name), dict):
            out[name] = strict(out[name])
    moved = [f"{name}: {out.pop(name)}" for name in _MOVED if name in out and not isinstance(out[name], dict)]
    if isinstance(out.get("minItems"), int) and out["minItems"] > 1:
        moved.append(f"minItems: {out.pop('minItems')}")
    if moved:
        note = f"{{{', '.join(moved)}}}"
        out["description"] = (
            f"{out['description']} {note}" if isinstance(out.get("description"), str) else note
        )
    if out.get("type") == "object" or "properties" in out:
        # An open object is refused; closing it is what strict schemas of other providers do.
        out["additionalProperties"] = False
    return out
