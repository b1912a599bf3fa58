from __future__ import annotations

import pytest

from apipod_proxy.dialect.shapes import a_text, an_index, an_object, is_whole, listed, objects

ODD = [None, True, 3, -1, 1.5, "x", "", [], ["a", {"b": 1}], {}, {"a": 1}]


@pytest.mark.parametrize("value", ODD)
def test_a_value_of_another_type_says_nothing(value: object) -> None:
    assert listed(value) == (value if isinstance(value, list) else [])
    assert objects(value) == ([{"b": 1}] if value == ["a", {"b": 1}] else [])
    assert an_object(value) == (value if isinstance(value, dict) else {})
    assert a_text(value) == (value if value == "x" else None)
    assert an_index(value) == (value if value == 3 or value is True else 0)


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([], False),
        (["{}"], True),
        (['{"a"', ":{}}"], True),
        (['{"a":{}'], False),
        (["{}", " "], False),
        (["{", "]}"], False),
    ],
)
def test_arguments_are_whole_where_they_are_an_object(pieces: list[str], whole: bool) -> None:
    assert is_whole(pieces) is whole
