"""A value that fits a JSON schema: arguments for a tool, or an answer in a wanted format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apipod_proxy.simulator.ask import listed

_DEPTH = 12
# What people expect to read in a field of that name; anything else gets the name itself.
_BY_NAME = {
    "city": "Paris",
    "location": "Paris",
    "country": "France",
    "name": "Ada",
    "unit": "celsius",
    "query": "llm gateway",
    "path": "README.md",
    "file_path": "README.md",
    "url": "https://example.com/",
    "email": "ada@example.com",
    "date": "2026-01-31",
    "currency": "EUR",
}
_BY_FORMAT = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "ipv4": "127.0.0.1",
}


def sample(schema: object, given: Mapping[str, Any] | None = None) -> Any:
    """A value for `schema` (JSON Schema, or Gemini's subset in capitals); properties named in `given` take its values."""
    return _Sampler(schema, given or {}).value(schema, "", 0)


class _Sampler:
    def __init__(self, root: object, given: Mapping[str, Any]) -> None:
        self._root = root
        self._given = given

    def value(self, schema: object, name: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _DEPTH:
            return {} if depth == 0 else None
        schema = self._resolve(schema)
        if name in self._given and self._fits(schema, self._given[name]):
            return self._given[name]
        for key in ("const", "default", "example"):
            if key in schema:
                return schema[key]
        if enum := listed(schema.get("enum")):
            return enum[0]
        for key in ("anyOf", "any_of", "oneOf"):
            options = [
                o
                for o in listed(schema.get(key))
                if not (isinstance(o, Mapping) and o.get("type") in {"null", "NULL"})
            ]
            if options:
                return self.value(options[0], name, depth + 1)
        return self._typed(schema, name, depth)

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_DEPTH):
            reference = schema.get("$ref") or schema.get("ref")
            if not isinstance(reference, str) or not reference.startswith("#"):
                break
            target: Any = self._root
            for part in reference.lstrip("#/").split("/") if reference != "#" else ():
                target = (
                    target.get(part.replace("~1", "/").replace("~0", "~"), {})
                    if isinstance(target, Mapping)
                    else {}
                )
            schema = target if isinstance(target, Mapping) else {}
        for part in listed(schema.get("allOf")):
            if isinstance(part, Mapping):
                schema = _merged(schema, self._resolve(part))
        return schema

    @staticmethod
    def _fits(schema: Mapping[str, Any], value: object) -> bool:
        kinds = _kinds(schema)
        return not kinds or (
            "array" in kinds if isinstance(value, list) else bool({"string", "object"} & set(kinds))
        )

    def _typed(self, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        kinds = [kind for kind in _kinds(schema) if kind != "null"] or (
            ["object"] if "properties" in schema else ["string"]
        )
        match kinds[0]:
            case "object":
                return self._object(schema, depth)
            case "array":
                count = max(1, _count(schema.get("minItems"), 1))
                return [
                    self.value(schema.get("items") or {"type": "string"}, name.removesuffix("s"), depth + 1)
                    for _ in range(count)
                ]
            case "integer" | "number":
                return _number(schema, whole=kinds[0] == "integer")
            case "boolean":
                return True
            case _:
                return _string(schema, name)

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return {}
        # The optional ones are left out, as models mostly do, unless there is nothing else to say or we know what to say.
        required = [name for name in properties if name in listed(schema.get("required"))] or list(
            properties
        )[:1]
        wanted = [name for name in properties if name in required or name in self._given]
        return {name: self.value(properties[name], name, depth + 1) for name in wanted}


def _merged(schema: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**part, **{key: value for key, value in schema.items() if key != "allOf"}}
    merged["properties"] = {**_mapping(part.get("properties")), **_mapping(schema.get("properties"))}
    merged["required"] = [*listed(part.get("required")), *listed(schema.get("required"))]
    return (
        merged
        if merged["properties"]
        else {k: v for k, v in merged.items() if k not in {"properties", "required"}}
    )


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type")
    return [str(k).lower() for k in (kind if isinstance(kind, list) else [kind] if kind else [])]


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    low, above, high = (_bound(schema.get(name)) for name in ("minimum", "exclusiveMinimum", "maximum"))
    if low is None and above is not None:
        low = above + 1
    value = low if low is not None else 7 if whole else 1.5
    if high is not None and value > high:
        value = high
    return int(value) if whole else float(value)


def _bound(value: object) -> int | float | None:
    return value if isinstance(value, int | float) else None


def _string(schema: Mapping[str, Any], name: str) -> str:
    text = (
        _BY_FORMAT.get(str(schema.get("format")), "")
        or _BY_NAME.get(re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), "")
        or name
        or "text"
    )
    least, most = _count(schema.get("minLength"), 0), _count(schema.get("maxLength"), -1)
    text = text.ljust(least, "x")
    return text[:most] if most >= 0 else text


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: object, default: int) -> int:
    """A length in a schema; absurd ones are not followed."""
    return min(int(value), 10_000) if isinstance(value, int | float) and value >= 0 else default
