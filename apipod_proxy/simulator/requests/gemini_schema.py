"""What Gemini takes as a schema: a message of its own with few fields, not JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator

from apipod_proxy.simulator.ask import is_object, listed

_FIELDS = frozenset(
    {
        *(
            "type",
            "format",
            "title",
            "description",
            "nullable",
            "enum",
            "items",
            "maxItems",
            "minItems",
            "properties",
        ),
        *(
            "required",
            "minProperties",
            "maxProperties",
            "minLength",
            "maxLength",
            "pattern",
            "example",
            "anyOf",
        ),
        *("propertyOrdering", "default", "minimum", "maximum"),
    }
)


def camel(name: str) -> str:
    """`any_of` as `anyOf`: Google reads both spellings."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest) if head else name


def unknown_names(schema: object, path: str) -> Iterator[tuple[str, str]]:
    """What of a schema no field is there for, as pairs of path and complaint."""
    if not is_object(schema):
        return
    for name, value in schema.items():
        match camel(name):
            case "type" if isinstance(value, list):
                yield (
                    path,
                    f"Unknown name \"type\" at '{path}': Proto field is not repeating, cannot start list.",
                )
            case "properties" if is_object(value):
                for index, inner in enumerate(value.values()):
                    yield from unknown_names(inner, f"{path}.properties[{index}].value")
            case "items":
                yield from unknown_names(value, f"{path}.items")
            case "anyOf" if isinstance(value, list):
                for index, inner in enumerate(value):
                    yield from unknown_names(inner, f"{path}.any_of[{index}]")
            case field if field not in _FIELDS:
                yield path, f"Unknown name \"{name}\" at '{path}': Cannot find field."


def mistakes(schema: object, path: str) -> Iterator[str]:
    """What Gemini refuses in a schema whose fields are all known."""
    if not is_object(schema):
        return
    schema = {camel(name): value for name, value in schema.items()}
    kind = str(schema.get("type", "")).lower()
    properties = schema.get("properties")
    if is_object(properties):
        for index, name in enumerate(listed(schema.get("required"))):
            if name not in properties:
                yield f"{path}.required[{index}]: property is not defined"
        for name, inner in properties.items():
            yield from mistakes(inner, f"{path}.properties[{name}]")
    if kind == "array" and "items" not in schema:
        yield f"{path}.items: missing field"
    enum = listed(schema.get("enum"))
    if enum and kind not in ("string", ""):
        yield f"{path}.enum: only allowed for STRING type"
    if "" in enum:
        yield f"{path}.enum[{enum.index('')}]: cannot be empty"
    yield from mistakes(schema.get("items"), f"{path}.items")
    for index, inner in enumerate(listed(schema.get("anyOf"))):
        yield from mistakes(inner, f"{path}.any_of[{index}]")
