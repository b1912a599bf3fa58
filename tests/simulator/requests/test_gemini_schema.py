from __future__ import annotations

import pytest

from apipod_proxy.simulator.requests.gemini_schema import camel, mistakes, unknown_names


@pytest.mark.parametrize(
    ("name", "expected"),
    [("any_of", "anyOf"), ("anyOf", "anyOf"), ("type", "type"), ("$ref", "$ref"), ("_x", "_x")],
)
def test_names_are_read_in_both_spellings(name: str, expected: str) -> None:
    assert camel(name) == expected


def test_fields_of_json_schema_that_are_none_of_geminis_are_found() -> None:
    schema = {
        "$schema": "x",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "a": {"const": 1},
            "additionalProperties": {"type": ["string", "null"]},
            "b": {"type": "array", "items": {"$ref": "#"}},
        },
        "any_of": [{"oneOf": []}],
    }
    found = {(path, text.partition(" at ")[0]) for path, text in unknown_names(schema, "p")}
    assert found == {
        ("p", 'Unknown name "$schema"'),
        ("p", 'Unknown name "additionalProperties"'),
        ("p.properties[0].value", 'Unknown name "const"'),
        ("p.properties[1].value", 'Unknown name "type"'),
        ("p.properties[2].value.items", 'Unknown name "$ref"'),
        ("p.any_of[0]", 'Unknown name "oneOf"'),
    }


def test_a_clean_schema_has_no_unknown_names() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"a": {"type": "STRING", "enum": ["x"], "nullable": True}},
        "required": ["a"],
        "property_ordering": ["a"],
    }
    assert list(unknown_names(schema, "p")) == []
    assert list(mistakes(schema, "p")) == []


def test_mistakes_are_found_at_any_depth() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "array"},
            "b": {"type": "integer", "enum": [1]},
            "c": {"type": "string", "enum": [""]},
        },
        "required": ["a", "z"],
    }
    assert list(mistakes(schema, "p")) == [
        "p.required[1]: property is not defined",
        "p.properties[a].items: missing field",
        "p.properties[b].enum: only allowed for STRING type",
        "p.properties[c].enum[0]: cannot be empty",
    ]
