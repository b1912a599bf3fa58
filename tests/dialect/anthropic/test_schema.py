from __future__ import annotations

from apipod_proxy.dialect.anthropic.schema import strict


def test_every_object_is_closed_and_refused_keywords_become_words() -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "Years"},
            "tags": {"type": "array", "items": {"type": "object", "properties": {}}, "minItems": 2},
            "minimum": {"anyOf": [{"type": "string", "maxLength": 3}, {"$ref": "#/$defs/x"}]},
        },
        "$defs": {"x": {"type": "object", "additionalProperties": {"type": "string"}}},
    }
    assert strict(schema) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "age": {"type": "integer", "description": "Years {minimum: 0}"},
            "tags": {
                "type": "array",
                "items": {"type": "object", "properties": {}, "additionalProperties": False},
                "description": "{minItems: 2}",
            },
            "minimum": {
                "anyOf": [{"type": "string", "description": "{maxLength: 3}"}, {"$ref": "#/$defs/x"}]
            },
        },
        "$defs": {"x": {"type": "object", "additionalProperties": False}},
    }


def test_what_the_client_gave_stays_as_it_was() -> None:
    schema = {"type": "object", "properties": {"a": {"minimum": 1}}}
    strict(schema)
    assert schema == {"type": "object", "properties": {"a": {"minimum": 1}}}
    assert strict(True) is True
