from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.simulator.sample import sample


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {}),
        ({}, "text"),
        (
            _object(city={"type": "string"}, n={"type": "integer"}, ok={"type": "boolean"}),
            {"city": "Paris", "n": 7, "ok": True},
        ),
        (_object(unit={"type": "string", "enum": ["kelvin", "celsius"]}), {"unit": "kelvin"}),
        (_object(a={"const": 3}, b={"default": "d"}), {"a": 3, "b": "d"}),
        (
            _object(
                x={"type": "number", "minimum": 2, "maximum": 3}, y={"type": "integer", "exclusiveMinimum": 4}
            ),
            {"x": 2.0, "y": 5},
        ),
        (
            _object(tags={"type": "array", "items": {"type": "string"}, "minItems": 2}),
            {"tags": ["tag", "tag"]},
        ),
        (_object(x={"anyOf": [{"type": "null"}, {"type": "integer"}]}), {"x": 7}),
        (_object(x={"type": ["null", "string"], "maxLength": 1}), {"x": "x"}),
        (_object(code={"type": "string", "minLength": 6}), {"code": "codexx"}),
        (_object(when={"type": "string", "format": "date"}), {"when": "2026-01-31"}),
        ({"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}, "required": ["n"]}, {"n": 7}),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}, {"a": "a"}),
        (
            {"$ref": "#/$defs/P", "$defs": {"P": _object(x={"$ref": "#/$defs/Q"}), "Q": {"type": "integer"}}},
            {"x": 7},
        ),
        ({"allOf": [_object(a={"type": "integer"}), _object(b={"type": "integer"})]}, {"a": 7, "b": 7}),
    ],
)
def test_a_sample_fits_its_schema(schema: object, expected: object) -> None:
    assert sample(schema) == expected


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#/$defs/N", "$defs": {"N": _object(next={"$ref": "#/$defs/N"})}}
    assert "next" in sample(schema)


def test_given_values_are_taken_where_their_type_fits() -> None:
    schema = _object(command={"type": "string"}, args={"type": "array", "items": {"type": "string"}})
    assert sample(schema, {"command": "ls", "args": ["-l"]}) == {"command": "ls", "args": ["-l"]}
    assert sample(schema, {"command": ["ls"]})["command"] == "command"
