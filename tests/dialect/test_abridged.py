from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import NO_QUIRKS, Quirks
from apipod_proxy.dialect.abridged import LONG, without_list, without_strings
from apipod_proxy.dialect.identity import TopLevel, for_upstream, read_request, read_whole, rewrite
from apipod_proxy.errors import BadRequest

OPENING = re.compile(rb'"messages"\s*:\s*(?=\[)')
SIZE = 3 * LONG
STYLES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])
LONG_TEXTS = st.sampled_from(
    [
        "x" * SIZE,
        "é" * SIZE,
        "two words\n" * SIZE,
        'say "x" ' * SIZE,
        "http://a/" + "QUJD" * SIZE,
        "\\" * SIZE,
        "😀" * SIZE,
    ]
)
CONTENTS = st.one_of(
    st.text(max_size=8), LONG_TEXTS, st.lists(st.fixed_dictionaries({"text": LONG_TEXTS}), max_size=2)
)
MESSAGES = st.one_of(
    st.lists(
        st.fixed_dictionaries({"role": st.text(max_size=4), "content": CONTENTS}), min_size=1, max_size=3
    ),
    st.lists(st.fixed_dictionaries({"content": LONG_TEXTS}), min_size=1, max_size=3),
    st.integers(200, 400).map(lambda count: [{"role": "user", "content": 'a "quoted" word in many'}] * count),
    st.integers(2000, 3000).map(lambda count: [{}] * count + [{"model": "m"}]),
    LONG_TEXTS,
    st.just([{}] * 4000 + [5]),
    st.just([1.5] * 9000),
)
NAMES = st.sampled_from(["x", "é", "k" * SIZE, "stream", "tools", "input", "messages", "model"])
MEMBERS = st.lists(
    st.tuples(NAMES, st.one_of(MESSAGES, st.sampled_from(["m", True, 5, None]), LONG_TEXTS)), max_size=2
)


def written(pairs: list[tuple[str, Any]], style: tuple[str, str], ascii_only: bool) -> bytes:
    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=style)

    return ("{" + style[0].join(dump(name) + style[1] + dump(value) for name, value in pairs) + "}").encode()


def outcome(read: Any, dialect: str, body: bytes) -> object:
    """Everything that is told of a request, and what becomes of it."""
    try:
        top: TopLevel = read()
    except BadRequest as exc:
        return str(exc), exc.path
    quirks = Quirks(drop=frozenset({"x"}), developer_role=False, stream_usage=False)
    return (
        top.model,
        top.stream,
        top.max_tokens,
        top.choices,
        top.compact,
        {name: bytes(raw) for name, raw in top.members.items()},
        top.hints(),
        top.beginning(),
        for_upstream(body, top, "up", NO_QUIRKS),
        for_upstream(body, top, "up", quirks),
        rewrite(body, top, {"model": "new", "messages": [], "y": 1}, drop={"stream"}),
    )


def same(dialect: str, body: bytes) -> None:
    quick = outcome(lambda: read_request(dialect, body, model="", stream=True), dialect, body)
    assert quick == outcome(lambda: read_whole(dialect, dialect, body, "", True), dialect, body)


@settings(max_examples=150, deadline=None)
@given(
    dialect=st.sampled_from(["openai_chat", "anthropic", "openai_responses", "gemini"]),
    messages=MESSAGES,
    more=MEMBERS,
    order=st.randoms(use_true_random=False),
    style=STYLES,
    ascii_only=st.booleans(),
)
def test_a_long_request_is_read_as_if_every_byte_was(
    dialect: str,
    messages: Any,
    more: list[tuple[str, Any]],
    order: Any,
    style: tuple[str, str],
    ascii_only: bool,
) -> None:
    conversation = {"gemini": "contents", "openai_responses": "input"}.get(dialect, "messages")
    pairs: list[tuple[str, Any]] = [("model", "m"), (conversation, messages), ("max_tokens", 7), *more]
    order.shuffle(pairs)
    same(dialect, written(pairs, style, ascii_only))


BASES = [
    written(
        [("model", "m"), ("messages", [{"role": "user", "content": content}]), ("max_tokens", 5)],
        (",", ":"),
        False,
    )
    for content in ("x" * SIZE, "line\n" * SIZE, "é" * SIZE)
] + [
    written([("messages", [{"role": "user", "content": 'a "b" c'}] * 900), ("model", "m")], (",", ":"), True)
]


@settings(max_examples=200, deadline=None)
@given(
    base=st.sampled_from(BASES),
    place=st.one_of(st.integers(0, 80), st.integers(-80, -1), st.integers(80, 20_000)),
    put=st.sampled_from(
        [
            b"",
            b'"',
            b"\\",
            b"\n",
            b"\x00",
            b"\xff",
            b"\xc3",
            b"\\ud83d",
            b"\\u00",
            b"]",
            b"}",
            b",",
            b" ",
            b'","',
            b"7",
        ]
    ),
    removed=st.integers(0, 2),
)
def test_a_damaged_request_is_refused_in_the_same_words(
    base: bytes, place: int, put: bytes, removed: int
) -> None:
    place %= len(base)
    same("openai_chat", base[:place] + put + base[place + removed :])


def test_long_strings_are_cut_to_their_beginnings() -> None:
    body = b'{"a":"https://x/%b","%b":1,"b":["\\"%b"],"c":"end"}' % (b"x" * SIZE, b"k" * SIZE, b"\\n" * SIZE)
    short = without_strings(body)
    assert short is not None
    assert short.whole is body
    assert len(short.cuts) == 2
    held = json.loads(short.text)
    assert held["a"].startswith("https://x/x")
    assert (held["k" * SIZE], held["c"], len(held["b"][0])) == (1, "end", 600)
    assert len(short.text) + sum(cut.missing for cut in short.cuts) == len(body)


def test_a_long_list_of_objects_is_cut_to_one() -> None:
    body = b'{"model":"m", "messages" : [%b{}] ,"x":[{}]}' % (b'{"a":"b"},' * SIZE)
    short = without_list(body, OPENING)
    # Where a blank follows, the decoder does not tell whose it is.
    assert short is None
    short = without_list(body.replace(b"] ,", b"],"), OPENING)
    assert short is not None
    assert short.text == b'{"model":"m", "messages" : [{}],"x":[{}]}'
    assert short.cuts[0].missing == len(body) - 1 - len(short.text)


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[%b5]}' % (b"{}," * SIZE),
        b'{"messages":[%b{}]' % (b"{}," * SIZE),
        b'{"messages":[%b' % (b'{"a":' * SIZE),
        b'{"messages":[{}],"x":[%b5]}' % (b"{}," * SIZE),
        b'{"messages":[%b{"a":"\xff"}]}' % (b"{}," * SIZE),
        b"[%b5]" % (b"{}," * SIZE),
        b'"open %b' % (b"x" * SIZE),
        b'["%b"' % (b"\x01" * SIZE),
        b'["%b"]' % (b"\xff" * SIZE),
        b'["%b"]' % (b"\\x" * SIZE),
        b'["%b"]' % (b"\\u" * SIZE),
        b'["%b","%b"]' % (b'a","' * SIZE, b"x" * SIZE),
    ],
)
def test_what_is_odd_is_not_cut(body: bytes) -> None:
    assert without_strings(body) is None
    assert without_list(body, OPENING) is None
