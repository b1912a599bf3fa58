from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect.tap.shape import MOST_FIXED, Shape, is_string, shape_of, shape_of_text

TEXTS = st.text(alphabet='ab "\\{}:,\né%', max_size=12)


def event(*strings: str, before: str = "", after: str = "") -> bytes:
    """The strings are carriers of text; the model's name may stand before or behind them."""
    names = ("content", "reasoning", "obfuscation", "text")
    delta = dict(zip(names, strings, strict=False))
    value: dict[str, Any] = {"model": before, "delta": delta, "end": 1, "name": after}
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def learnt(first: bytes, model: bytes, *, with_text: bool = True) -> Shape | None:
    start = first.index(model)
    return shape_of(first, start, start + len(model), b'"mine"', with_text=with_text)


def passed(shape: Shape, data: bytes) -> tuple[bytes, int] | None:
    frame = shape.frame
    if data[: frame.size] == frame.head and data[frame.end :] == frame.tail:
        return shape.passed(data)
    return None


@settings(max_examples=150)
@given(
    rows=st.integers(1, 3).flatmap(lambda n: st.lists(st.tuples(*[TEXTS] * n), min_size=1, max_size=5)),
    behind=st.booleans(),
)
def test_events_of_one_shape_pass_under_the_other_name(rows: list[tuple[str, ...]], behind: bool) -> None:
    place = {"after": "up"} if behind else {"before": "up"}
    shape = learnt(event(*["x%"] * len(rows[0]), **place), b'"up"')
    assert shape is not None
    assert shape.frame.lone is (len(rows[0]) == 1)
    data = b"".join(event(*row, **place) for row in rows)
    ours = b"".join(event(*row, **dict.fromkeys(place, "mine")) for row in rows)
    assert passed(shape, data) == (ours, len(rows))


@settings(max_examples=150)
@given(rows=st.lists(st.tuples(TEXTS, st.sampled_from([None, "", "stop", 1])), min_size=1, max_size=4))
def test_an_event_of_another_shape_stops_all(rows: list[tuple[str, Any]]) -> None:
    shape = learnt(event("x", before="up"), b'"up"')
    assert shape is not None
    data = b"".join(
        event(text, before="up").replace(b'"end":1', b'"end":' + json.dumps(end).encode())
        for text, end in rows
    )
    assert (passed(shape, data) is not None) is all(end == 1 and end is not True for _, end in rows)


@pytest.mark.parametrize("text", [b"", b"abc", b'a\\"b', b"\\\\", "é".encode(), b"\\u00e9"])
def test_the_inside_of_a_string_is_known(text: bytes) -> None:
    assert is_string(text)


@pytest.mark.parametrize("text", [b'"', b"\\", b'\\\\"', b"a\nb", b"\r", b"\\\n", b'a","usage":{"b":"'])
def test_what_ends_a_string_or_a_line_is_known(text: bytes) -> None:
    assert not is_string(text)
    shape = learnt(event("x", before="up"), b'"up"')
    assert shape is not None
    first, _, second = event("x", before="up").partition(b'"x"')
    assert passed(shape, first + b'"' + text + b'"' + second) is None


def test_without_text_a_string_of_the_answer_itself_is_no_place() -> None:
    first = event("", "thought", before="up")
    shape = learnt(first, b'"up"', with_text=False)
    assert shape is not None
    assert passed(shape, event("", "more", before="up") * 2) == (event("", "more", before="mine") * 2, 2)
    assert passed(shape, event("text", "more", before="up")) is None
    assert passed(shape, event("", "", before="up")) is None
    two = learnt(event("", "thought", "noise", before="up"), b'"up"', with_text=False)
    assert two is not None
    assert passed(two, event("", "a", "b", before="up")) is not None
    assert passed(two, event("", "", "b", before="up")) is None


def test_some_events_have_no_shape() -> None:
    assert learnt(event(before="up"), b'"up"') is None
    assert learnt(event("a", "b", "c", "d", before="up"), b'"up"') is None
    assert learnt(event("a", before="up").removesuffix(b"\n"), b'"up"') is None
    assert learnt(event("a", before="up", after="x" * MOST_FIXED), b'"up"') is None
    assert learnt(event("a" * MOST_FIXED, before="up"), b'"up"') is not None
    assert learnt(event("", before="up"), b'"up"', with_text=False) is None


@pytest.mark.parametrize("text", ["a", "", "é b", "{}", 'say "x"', "a\nb", "x" * MOST_FIXED])
@pytest.mark.parametrize("place", [{"before": "up"}, {"after": "up"}])
def test_the_shape_of_text_alone_is_the_same(text: str, place: dict[str, str]) -> None:
    first = event(text, **place)
    for form in (first, first.replace(b'":', b'": ')):
        start = form.index(b'"up"')
        quick = shape_of_text(form, start, start + 4, b'"mine"')
        whole = shape_of(form, start, start + 4, b'"mine"', with_text=True)
        assert whole is not None
        if quick is None:
            assert "after" in place or "\\" in json.dumps(text, ensure_ascii=False)
        else:
            assert quick.frame == whole.frame
            assert passed(quick, form * 2) == passed(whole, form * 2)


def test_few_searches_do_not_tell_every_shape() -> None:
    plain = event("a", before="up")
    odd = (
        plain.removesuffix(b"\n"),
        plain.replace(b'"a"', b"1"),
        plain.replace(b'"content"', b'"text"'),
        plain.replace(b'"end":1', b'"end":{"content":"b"}'),
        plain.replace(b'"end":1', b'"end":"%b"' % (b"x" * MOST_FIXED)),
    )
    for form in odd:
        start = form.index(b'"up"')
        assert shape_of_text(form, start, start + 4, b'"mine"') is None
