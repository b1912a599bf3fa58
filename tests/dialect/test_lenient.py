from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.dialect.lenient import arguments_object, dumps, loads, loads_exactly
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.vocabulary import End, Event, Finish, Start, StopReason, ToolArgs, ToolOpen
from apipod_proxy.errors import BadRequest
from tests.dialect.openai_chat.cases import brief, chunk, stream
from tests.dialect.wire import INFO, decode, ids


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rb'"a\ud83d"', "a\ufffd"),
        (rb'"\ude00b"', "\ufffdb"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (rb'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
        (rb'"\uD83D\uDE00"', "😀"),
    ],
)
def test_half_a_character_is_replaced_and_the_rest_is_kept(text: bytes, expected: str) -> None:
    assert loads(text) == expected


@pytest.mark.parametrize("text", [b"nope", rb'{"a":"\u00"}', b"", rb'"\ud83d'])
def test_what_is_no_json_stays_none(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(text)


@given(st.text())
def test_what_python_writes_is_read(text: str) -> None:
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert len(loads(json.dumps(text).encode())) == len(whole)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_deep_values_are_written_as_long_as_anything_can() -> None:
    assert dumps({"a": "é"}) == '{"a":"é"}'.encode()
    assert dumps(nested(400)) == b"[" * 400 + b"1" + b"]" * 400
    with pytest.raises(BadRequest, match="too deeply"):
        dumps(nested(20_000))


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_a_request_with_half_a_character_is_no_mistake(dialect: str) -> None:
    body = rb'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"cut \ud83d"}]}'
    assert DIALECTS[dialect].decode_request(body).messages[0].parts[0].text == "cut \ufffd"  # type: ignore[union-attr]


def test_a_stream_with_half_a_character_loses_nothing_else() -> None:
    text = stream(chunk({"content": "cut AND whole"}), chunk({}, "stop")).replace(b"AND", rb"\ud83d")
    assert ("text", "cut \ufffd whole", 0, 0) in brief(decode(DIALECTS["openai_chat"], text))


LONG = 123456789012345678901234567890


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a":%d}' % LONG, {"a": LONG}),
        (b'{"a":-%d,"b":"\\ud83d"}' % LONG, {"a": -LONG, "b": "\ufffd"}),
        (b'{"a":0.1234567890123456789}', {"a": 0.12345678901234568}),
        (b'["1234567890123456789"]', ["1234567890123456789"]),
    ],
)
def test_integers_of_any_length_are_read_as_they_are(text: bytes, expected: Any) -> None:
    assert loads_exactly(text) == expected


def test_arguments_nested_deeply_are_read_although_a_number_in_them_is_rounded() -> None:
    text = b"[" * 1000 + b"%d" % LONG + b"]" * 1000
    value = loads_exactly(text)
    for _ in range(1000):
        (value,) = value
    assert value == float(LONG)


@pytest.mark.parametrize("name", DIALECTS)
def test_long_integers_in_arguments_reach_every_client(name: str) -> None:
    arguments = f'{{"n":{LONG}}}'
    events: list[Event] = [
        Start("i", "m"),
        ToolOpen("t", "f", 0),
        ToolArgs(arguments, 0),
        Finish(StopReason.TOOL_USE),
        End(),
    ]
    row = DIALECTS[name]
    digits = str(LONG).encode()
    assert digits in row.encoder(INFO).fold(events)
    encoder = row.encoder(INFO)
    assert digits in b"".join(encoder.send(event) for event in events)
    again = row.decode_unary(row.encoder(INFO).fold(events), ids())
    assert [event.fragment for event in again if isinstance(event, ToolArgs)] == [arguments]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("{", {"arguments": "{"}),
        ("null", {}),
        ('{"a": 1}', {"a": 1}),
        ("[1]", {"arguments": [1]}),
        ('{"a": ', {"arguments": '{"a": '}),
    ],
)
def test_arguments_become_an_object(arguments: str, expected: Any) -> None:
    assert arguments_object(arguments) == expected
