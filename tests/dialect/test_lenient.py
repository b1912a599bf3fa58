from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.dialect.lenient import dumps, loads
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.errors import BadRequest
from tests.dialect.openai_chat.cases import brief, chunk, stream
from tests.dialect.wire import decode


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
