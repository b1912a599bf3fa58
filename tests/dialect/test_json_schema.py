from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect.json_schema import MAX_DEPTH, SchemaTooLarge, from_gemini, to_gemini

ANY = {
    "anyOf": [
        {"type": "STRING", "description": "Any JSON value."},
        {"type": "NUMBER"},
        {"type": "BOOLEAN"},
        {"type": "OBJECT"},
        {"type": "ARRAY", "items": {"type": "STRING"}},
    ]
}

REWRITES: dict[str, tuple[Any, Any]] = {
    "types in capitals": ({"type": "string"}, {"type": "STRING"}),
    "a reference is inlined": (
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}},
        {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}},
    ),
    "a reference with text beside it keeps the text": (
        {"$ref": "#/definitions/A", "description": "mine", "definitions": {"A": {"type": "integer"}}},
        {"type": "INTEGER", "description": "mine"},
    ),
    "a path with escapes": (
        {"properties": {"a": {"$ref": "#/$defs/x~1y"}}, "$defs": {"x/y": {"type": "boolean"}}},
        {"type": "OBJECT", "properties": {"a": {"type": "BOOLEAN"}}},
    ),
    "an anchor": (
        {"properties": {"a": {"$ref": "#here"}}, "$defs": {"A": {"$anchor": "here", "type": "boolean"}}},
        {"type": "OBJECT", "properties": {"a": {"type": "BOOLEAN"}}},
    ),
    "a reference to elsewhere is said": (
        {"$ref": "https://example.com/a.json", "type": "string"},
        {"type": "STRING", "description": "Defined by https://example.com/a.json."},
    ),
    "a circle ends with a sentence": (
        {
            "$ref": "#/$defs/Tree",
            "$defs": {
                "Tree": {
                    "type": "object",
                    "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
                }
            },
        },
        {
            "type": "OBJECT",
            "properties": {
                "kids": {
                    "type": "ARRAY",
                    "items": {"type": "OBJECT", "description": "Recursive: again of the form 'Tree'."},
                }
            },
        },
    ),
    "a reference to the root is a circle": (
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {
            "type": "OBJECT",
            "properties": {
                "next": {
                    "type": "OBJECT",
                    "properties": {
                        "next": {
                            "type": "OBJECT",
                            "description": "Recursive: again of the form 'the whole schema'.",
                        }
                    },
                }
            },
        },
    ),
    "const": ({"const": "x"}, {"type": "STRING", "enum": ["x"]}),
    "a const number": (
        {"const": 3},
        {"type": "INTEGER", "minimum": 3, "maximum": 3, "description": "Always 3."},
    ),
    "a const truth": ({"const": True}, {"type": "BOOLEAN", "description": "Always true."}),
    "an enum of numbers": (
        {"type": "integer", "enum": [1, 5]},
        {"type": "INTEGER", "minimum": 1, "maximum": 5, "description": "One of: 1, 5."},
    ),
    "an enum with null": ({"enum": ["a", None]}, {"type": "STRING", "nullable": True, "enum": ["a"]}),
    "an enum with an empty text": (
        {"type": "string", "enum": ["", "a"]},
        {"type": "STRING", "enum": ["a"], "description": "May be empty."},
    ),
    "a type or null": ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
    "several types": (
        {"type": ["string", "integer"], "description": "d", "minLength": 2, "minimum": 3},
        {
            "anyOf": [
                {"type": "STRING", "minLength": 2, "description": "d"},
                {"type": "INTEGER", "minimum": 3},
            ]
        },
    ),
    "nothing but null": ({"type": "null"}, {"type": "NULL"}),
    "oneOf": (
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]},
    ),
    "anyOf with null": (
        {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d", "default": None},
        {"type": "STRING", "nullable": True, "description": "d Default: null."},
    ),
    "two choices at once": (
        {"anyOf": [{"type": "string"}], "oneOf": [{"minLength": 1}]},
        {"type": "STRING", "description": 'Exactly one of these must hold too: [{"minLength":1}].'},
    ),
    "anyOf beside members": (
        {
            "type": "object",
            "properties": {"k": {"type": "string"}},
            "anyOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "integer"}}}],
        },
        {
            "anyOf": [
                {"type": "OBJECT", "properties": {"k": {"type": "STRING"}, "a": {"type": "INTEGER"}}},
                {"type": "OBJECT", "properties": {"k": {"type": "STRING"}, "b": {"type": "INTEGER"}}},
            ]
        },
    ),
    "anyOf that only demands members is said": (
        {"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {
            "type": "OBJECT",
            "properties": {"a": ANY},
            "description": 'In addition one of these must hold: [{"required":["a"]},{"required":["b"]}].',
        },
    ),
    "allOf is merged": (
        {
            "allOf": [
                {"$ref": "#/$defs/A"},
                {"properties": {"b": {"type": "number"}}, "required": ["b"]},
            ],
            "$defs": {"A": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
        },
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}, "b": {"type": "NUMBER"}},
            "required": ["a", "b"],
        },
    ),
    "a missing type is inferred": (
        {"properties": {"a": {"items": {"pattern": "x"}}}},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "ARRAY", "items": {"type": "STRING", "pattern": "x"}}},
        },
    ),
    "an empty schema": ({}, ANY),
    "an array without items": ({"type": "array"}, {"type": "ARRAY", "items": ANY}),
    "a tuple": (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False},
        {
            "type": "ARRAY",
            "maxItems": 2,
            "items": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]},
            "description": 'Elements in order: [{"type":"STRING"},{"type":"NUMBER"}].',
        },
    ),
    "a map": (
        {"type": "object", "additionalProperties": {"type": "integer"}, "description": "Counts"},
        {"type": "OBJECT", "description": 'Counts. Members of any name: {"type":"INTEGER"}.'},
    ),
    "closed objects": (
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}},
            "description": "No other members are allowed.",
        },
    ),
    "required members that are not described": (
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "z"]},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}},
            "required": ["a"],
            "description": "Required members: z.",
        },
    ),
    "bounds of whole numbers": (
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
        {"type": "INTEGER", "minimum": 1, "maximum": 8},
    ),
    "bounds of numbers": (
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "NUMBER", "minimum": 0, "description": "Greater than 0."},
    ),
    "bounds as flags": (
        {"type": "integer", "minimum": 3, "exclusiveMinimum": True},
        {"type": "INTEGER", "minimum": 4},
    ),
    "known and unknown formats": (
        {
            "properties": {
                "a": {"type": "string", "format": "date-time"},
                "b": {"format": "uri", "type": "string"},
            }
        },
        {
            "type": "OBJECT",
            "properties": {
                "a": {"type": "STRING", "format": "date-time"},
                "b": {"type": "STRING", "description": "Format: uri."},
            },
        },
    ),
    "what Schema has no word for is said": (
        {"type": "string", "not": {"const": "x"}, "contentEncoding": "base64", "examples": ["a", 1]},
        {
            "type": "STRING",
            "description": 'Examples: "a", 1. Encoding of the content: base64. Must not be: {"const":"x"}.',
        },
    ),
    "conditions are said": (
        {
            "type": "object",
            "properties": {"a": {"type": "string"}},
            "if": {"properties": {"a": {"const": "x"}}},
            "then": {"required": ["b"]},
            "else": {"required": ["c"]},
        },
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING"}},
            "description": 'If: {"properties":{"a":{"const":"x"}}} then: {"required":["b"]} else: {"required":["c"]}',
        },
    ),
    "a path into a list": (
        {"properties": {"a": {"$ref": "#/x-list/1"}}, "x-list": [{}, {"type": "integer"}]},
        {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}},
    ),
    "a path to nothing": (
        {"$ref": "#/$defs/none", "type": "string"},
        {"type": "STRING", "description": "Defined by #/$defs/none."},
    ),
    "a part that is elsewhere": (
        {"allOf": [{"$ref": "elsewhere.json"}, {"type": "string"}]},
        {"type": "STRING", "description": "Defined by elsewhere.json."},
    ),
    "nothing but null in a choice": ({"anyOf": [{"type": "null"}]}, {"type": "NULL"}),
    "the title of a choice of one": (
        {"title": "T", "anyOf": [{"type": "string"}, {"type": "null"}]},
        {"title": "T", "type": "STRING", "nullable": True},
    ),
    "numbers of both types": ({"type": ["integer", "number"]}, {"type": "NUMBER"}),
    "values of one of several types": (
        {"type": ["string", "integer"], "enum": ["a"]},
        {"anyOf": [{"type": "STRING", "enum": ["a"]}, {"type": "INTEGER"}]},
    ),
    "an object without members": (
        {"type": "object", "additionalProperties": False},
        {"type": "OBJECT", "properties": {}},
    ),
    "a tuple and more": (
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "number"}},
        {
            "type": "ARRAY",
            "items": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]},
            "description": 'Elements in order: [{"type":"STRING"}]. Further elements: {"type":"NUMBER"}.',
        },
    ),
    "a tuple of old": (
        {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
        {
            "type": "ARRAY",
            "maxItems": 1,
            "items": {"type": "STRING"},
            "description": 'Elements in order: [{"type":"STRING"}].',
        },
    ),
    "small words": (
        {
            "type": "array",
            "items": {"type": "string"},
            "uniqueItems": True,
            "default": [],
            "deprecated": True,
        },
        {
            "type": "ARRAY",
            "default": [],
            "items": {"type": "STRING"},
            "description": "All elements differ. Default: []. Deprecated.",
        },
    ),
    "references in what is said": (
        {"type": "object", "not": {"$ref": "#/$defs/A"}, "$defs": {"A": {"type": "string"}}},
        {"type": "OBJECT", "description": 'Must not be: {"type":"STRING"}.'},
    ),
    "values of objects": (
        {"type": "object", "enum": [{"a": 1}]},
        {"type": "OBJECT", "description": 'One of: {"a":1}.'},
    ),
    "a schema that is false": (
        {"properties": {"a": False}},
        {
            "type": "OBJECT",
            "properties": {"a": {"type": "STRING", "nullable": True, "description": "Never present."}},
        },
    ),
}


@pytest.mark.parametrize("name", REWRITES)
def test_rewrites_what_gemini_has_no_word_for(name: str) -> None:
    schema, expected = REWRITES[name]
    assert to_gemini(schema) == expected


def test_doubling_definitions_are_refused() -> None:
    definitions: dict[str, Any] = {
        f"A{n}": {"properties": {"l": {"$ref": f"#/$defs/A{n + 1}"}, "r": {"$ref": f"#/$defs/A{n + 1}"}}}
        for n in range(40)
    }
    with pytest.raises(SchemaTooLarge, match="20000 nodes"):
        to_gemini({"$ref": "#/$defs/A0", "$defs": definitions})


def test_deep_nesting_ends_in_a_sentence() -> None:
    schema: dict[str, Any] = {}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    rewritten = json.dumps(to_gemini(schema))
    assert "Nested deeper than can be described." in rewritten
    assert rewritten.count("ARRAY") == MAX_DEPTH


BACK: dict[str, tuple[Any, Any]] = {
    "types in any case": ({"type": "STRING"}, {"type": "string"}),
    "types as numbers": (
        {"type": 6, "properties": {"a": {"type": 3}}},
        {"type": "object", "properties": {"a": {"type": "integer"}}},
    ),
    "snake case": (
        {"type": "ARRAY", "min_items": "2", "items": {"any_of": [{"type": "STRING"}]}},
        {"type": "array", "minItems": 2, "items": {"anyOf": [{"type": "string"}]}},
    ),
    "nullable": (
        {"type": "STRING", "nullable": True, "enum": ["a"]},
        {"type": ["string", "null"], "enum": ["a", None]},
    ),
    "nullable choices": (
        {"anyOf": [{"type": "STRING"}], "nullable": True},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ),
    "not nullable": ({"type": "STRING", "nullable": False}, {"type": "string"}),
    "the format of enums": (
        {"type": "STRING", "format": "enum", "enum": ["a"]},
        {"type": "string", "enum": ["a"]},
    ),
    "an example": ({"type": "STRING", "example": "a"}, {"type": "string", "examples": ["a"]}),
    "definitions": (
        {"defs": {"A": {"type": "STRING"}}, "ref": "#/defs/A"},
        {"$defs": {"A": {"type": "string"}}, "$ref": "#/defs/A"},
    ),
    "no schema at all": (True, True),
    "types in a list": ({"type": ["STRING", "NULL"]}, {"type": ["string", "null"]}),
    "fields that say nothing": ({"type": "STRING", "title": None}, {"type": "string"}),
}


@pytest.mark.parametrize("name", BACK)
def test_reads_gemini_schemas_in_every_spelling(name: str) -> None:
    schema, expected = BACK[name]
    assert from_gemini(schema) == expected


def test_the_order_of_properties_becomes_the_order_of_members() -> None:
    schema = {"type": "OBJECT", "properties": {"a": {}, "b": {}, "c": {}}, "propertyOrdering": ["c", "a"]}
    assert list(from_gemini(schema)["properties"]) == ["c", "a", "b"]


PLAIN = st.recursive(
    st.sampled_from(["string", "integer", "number", "boolean"]).map(lambda kind: {"type": kind}),
    lambda inner: st.one_of(
        inner.map(lambda items: {"type": "array", "items": items}),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(
            lambda members: {"type": "object", "properties": members, "required": sorted(members)}
        ),
        inner.map(
            lambda node: (
                node
                if "anyOf" in node
                else {**node, "type": [node["type"], "null"]}
                if isinstance(node["type"], str)
                else node
            )
        ),
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_what_both_can_say_survives_there_and_back(schema: Any) -> None:
    assert from_gemini(to_gemini(schema)) == schema


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["string", "#/$defs/a", "#", "object", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "properties",
                    "items",
                    "$ref",
                    "$defs",
                    "a",
                    "anyOf",
                    "allOf",
                    "enum",
                    "const",
                    "required",
                    "not",
                    "oneOf",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["type", "properties", "items", "$ref", "$defs", "anyOf", "allOf", "enum"]), JSON
    )
)
def test_no_schema_however_wrong_breaks_the_rewriting(schema: Any) -> None:
    assert isinstance(to_gemini(schema), dict)


def test_a_circle_of_anchors_that_lead_nowhere_ends() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"items": deep}
    assert to_gemini({"properties": {"a": {"$ref": "#none"}}, "x": deep})["type"] == "OBJECT"
