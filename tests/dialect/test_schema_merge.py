from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.dialect.schema_merge import described, merge, noted, sane

MERGES: dict[str, tuple[Any, Any, Any]] = {
    "what one says": ({"type": "string"}, {"minLength": 1}, {"type": "string", "minLength": 1}),
    "anything": (True, {"type": "string"}, {"type": "string"}),
    "nothing more": ({"type": "string"}, {}, {"type": "string"}),
    "never": ({"type": "string"}, False, False),
    "types": ({"type": ["string", "null"]}, {"type": "string"}, {"type": "string"}),
    "numbers": ({"type": "number"}, {"type": "integer"}, {"type": "integer"}),
    "bounds": ({"minimum": 1, "maximum": 9}, {"minimum": 3, "maximum": 5}, {"minimum": 3, "maximum": 5}),
    "values": ({"enum": ["a", "b"]}, {"enum": ["b", "c"]}, {"enum": ["b"]}),
    "required": ({"required": ["a"]}, {"required": ["b", "a"]}, {"required": ["a", "b"]}),
    "descriptions": ({"description": "a"}, {"description": "b"}, {"description": "a b"}),
    "the same description": ({"description": "a"}, {"description": "a"}, {"description": "a"}),
    "titles": ({"title": "a"}, {"title": "b"}, {"title": "a"}),
    "members": (
        {"properties": {"a": {"type": "string"}}},
        {"properties": {"a": {"minLength": 2}, "b": {}}},
        {"properties": {"a": {"type": "string", "minLength": 2}, "b": {}}},
    ),
    "closed": (
        {"additionalProperties": False},
        {"additionalProperties": {}},
        {"additionalProperties": False},
    ),
    "open to one form": (
        {"additionalProperties": {"type": "string"}},
        {"additionalProperties": {"minLength": 1}},
        {"additionalProperties": {"type": "string", "minLength": 1}},
    ),
    "two choices": (
        {"anyOf": [{"type": "string"}]},
        {"anyOf": [{"minLength": 1}]},
        {"anyOf": [{"type": "string"}], "description": 'Must also hold: {"anyOf":[{"minLength":1}]}.'},
    ),
    "parts": ({"allOf": [{"a": 1}]}, {"allOf": [{"b": 2}]}, {"allOf": [{"a": 1}, {"b": 2}]}),
    "unknown words": ({"x-a": 1}, {"x-a": 2}, {"x-a": 2}),
}


@pytest.mark.parametrize("name", MERGES)
def test_one_schema_says_what_both_say(name: str) -> None:
    left, right, expected = MERGES[name]
    assert merge(left, right) == expected


def test_keywords_of_no_allowed_type_mean_nothing() -> None:
    assert sane({"type": 3, "properties": [], "title": "t"}) == {"title": "t"}


@pytest.mark.parametrize(
    ("schema", "notes", "text"),
    [
        ({"description": "A thing"}, ["More."], "A thing. More."),
        ({"description": "A thing."}, ["More."], "A thing. More."),
        ({}, ["More."], "More."),
    ],
)
def test_sentences_follow_the_description(schema: dict[str, Any], notes: list[str], text: str) -> None:
    assert described(schema, notes) == {"description": text}
    assert noted(schema, *notes)["description"] == text


def test_no_description_is_made_of_nothing() -> None:
    assert described({"description": " "}, []) == {}
