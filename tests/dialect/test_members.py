from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect.members import duplicates, edited, is_compact, read, spans

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["model", "messages", "stream", "a b", 'q"', "é", "", "x\\y", "tab\t"])
STYLES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])


def written(pairs: list[tuple[str, Any]], style: tuple[str, str], ascii_only: bool) -> bytes:
    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=style)

    return ("{" + style[0].join(dump(name) + style[1] + dump(value) for name, value in pairs) + "}").encode()


@settings(max_examples=60)
@given(pairs=st.lists(st.tuples(NAMES, VALUES), max_size=6), style=STYLES, ascii_only=st.booleans())
def test_every_member_is_found_where_it_stands(
    pairs: list[tuple[str, Any]], style: tuple[str, str], ascii_only: bool
) -> None:
    text = written(pairs, style, ascii_only)
    members = read(text)
    assert members is not None
    found = spans(text, members)
    assert [(span.name, json.loads(text[span.value : span.end])) for span in found] == pairs
    assert all(text[span.start : span.start + 1] == b'"' for span in found)
    names = [name for name, _ in pairs]
    assert duplicates(found) == {name for name in names if names.count(name) > 1}


@settings(max_examples=60)
@given(
    pairs=st.lists(st.tuples(NAMES, VALUES), max_size=6, unique_by=lambda pair: pair[0]),
    style=STYLES,
    drop=st.sets(NAMES),
)
def test_an_edit_changes_what_it_names_and_nothing_else(
    pairs: list[tuple[str, Any]], style: tuple[str, str], drop: set[str]
) -> None:
    text = written(pairs, style, True)
    members = read(text)
    assert members is not None
    found = spans(text, members)
    assert edited(text, found, {}) == text
    out = json.loads(edited(text, found, {"model": b'"new"', "fresh": b"[1]"}, frozenset(drop)))
    expected = {name: value for name, value in pairs if name not in drop} | {"fresh": [1]}
    if "model" in expected or "model" not in dict(pairs):
        expected["model"] = "new"
    assert out == expected


def test_compact_means_neither_blank_nor_escape_nor_duplicate() -> None:
    for text, expected in {
        b'{"a":1,"b":[1, 2]}': True,
        b"{}": True,
        b"{ }": False,
        b'{"a":1,"b":2} ': False,
        b'{"a": 1}': False,
        b'{"\\u0061":1}': False,
        b'{"a":1,"a":1}': False,
        '{"é":1}'.encode(): False,
    }.items():
        members = read(text)
        assert members is not None
        assert is_compact(text, members) is expected, text


def test_a_number_that_begins_like_the_later_duplicate_is_no_match() -> None:
    text = b'{"a": 12, "b": 3, "a": 1}'
    members = read(text)
    assert members is not None
    assert [(span.name, text[span.value : span.end]) for span in spans(text, members)] == [
        ("a", b"12"),
        ("b", b"3"),
        ("a", b"1"),
    ]


def test_what_is_no_object_has_no_members() -> None:
    assert read(b"[1]") is None
    assert read(b"nope") is None
    assert read(b'{"a":' + b"[" * 100_000) is None
