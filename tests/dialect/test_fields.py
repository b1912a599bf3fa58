from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apipod_proxy.dialect import fields
from apipod_proxy.errors import BadRequest


def test_a_body_that_is_no_json_says_where() -> None:
    with pytest.raises(BadRequest, match=r"line 1, column 2"):
        fields.parse(b"{a}")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"3"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"Expected an object, got .* - at `\$`"):
        fields.parse(body)


WRONG: list[tuple[Callable[..., Any], Any, str]] = [
    (fields.opt_text, 3, "Expected a string, got an integer - at `$.a.k`"),
    (fields.opt_bool, "x", "Expected a boolean, got a string - at `$.a.k`"),
    (fields.opt_int, 1.5, "Expected an integer, got a number - at `$.a.k`"),
    (fields.opt_int, True, "Expected an integer, got a boolean - at `$.a.k`"),
    (fields.opt_number, "1", "Expected a number, got a string - at `$.a.k`"),
    (fields.opt_number, False, "Expected a number, got a boolean - at `$.a.k`"),
    (fields.opt_object, [], "Expected an object, got an array - at `$.a.k`"),
    (fields.opt_list, {}, "Expected an array, got an object - at `$.a.k`"),
    (fields.opt_texts, ["a", None], "Expected a string, got null - at `$.a.k[1]`"),
]


@pytest.mark.parametrize(("read", "value", "sentence"), WRONG)
def test_a_wrong_type_is_named_with_its_path(read: Callable[..., Any], value: Any, sentence: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read({"k": value}, "k", "$.a")
    assert str(caught.value) == sentence


RIGHT: list[tuple[Callable[..., Any], Any, Any]] = [
    (fields.opt_text, "x", "x"),
    (fields.opt_bool, False, False),
    (fields.opt_int, 3.0, 3),
    (fields.opt_int, 4, 4),
    (fields.opt_number, 0.5, 0.5),
    (fields.opt_object, {"a": 1}, {"a": 1}),
    (fields.opt_texts, ["a"], ["a"]),
]


@pytest.mark.parametrize(("read", "value", "expected"), RIGHT)
def test_a_value_of_its_type_is_given(read: Callable[..., Any], value: Any, expected: Any) -> None:
    assert read({"k": value}, "k", "$") == expected
    assert read({"k": None}, "k", "$") in (None, [])
    assert read({}, "k", "$") in (None, [])


def test_a_required_field_is_missed() -> None:
    with pytest.raises(BadRequest, match=r"This field is required - at `\$.model`"):
        fields.required(None, "$.model")
    assert fields.required(0, "$") == 0
