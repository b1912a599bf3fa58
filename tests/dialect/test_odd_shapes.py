"""What no dialect allows, anywhere in a request or an answer: refused by its path, or survived; never another exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import Aim, Dialect, ProtocolError
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.errors import BadRequest
from tests.dialect.anthropic.cases import STREAMS
from tests.dialect.openai_chat.cases import CHUNKS_THAT_COME_BACK
from tests.dialect.wire import INFO, ids

ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**20, "", "x", [], {}, [1], [None], {"a": 1}, [{}], {"type": 5}, "\u2028"]
)
CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "r",
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": [{"type": "text", "text": "r"}]},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "stop": ["a"],
    "reasoning_effort": "low",
    "temperature": 1,
}
MESSAGES = {
    "model": "m",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="},
                    "citations": {"enabled": True},
                }
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "r"}],
                    "is_error": True,
                }
            ],
        },
    ],
    "tools": [
        {"name": "f", "input_schema": {"type": "object"}},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "tool_choice": {"type": "tool", "name": "f"},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u"},
}
REQUESTS = {"openai_chat": CHAT, "anthropic": MESSAGES}
STREAMS_OF = {"openai_chat": CHUNKS_THAT_COME_BACK, "anthropic": tuple(data for data, _ in STREAMS.values())}


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def changed(draw: st.DrawFn, value: Any) -> Any:
    """``value`` with something odd in one place."""
    value = copy.deepcopy(value)
    places = list(paths(value))
    if places:
        *way, last = draw(st.sampled_from(places))
        inner = value
        for key in way:
            inner = inner[key]
        inner[last] = draw(ODD)
    return value


@pytest.mark.parametrize("dialect", REQUESTS)
@settings(max_examples=150)
@given(data=st.data())
def test_an_odd_request_is_refused_by_its_path_or_carried(dialect: str, data: st.DataObject) -> None:
    body = json.dumps(data.draw(st.composite(changed)(REQUESTS[dialect]))).encode()
    try:
        call = DIALECTS[dialect].decode_request(body)
    except BadRequest as error:
        assert error.path
        return
    for row in DIALECTS.values():
        try:
            json.loads(row.encode_request(call, Aim("m")).body)
        except BadRequest as error:
            assert error.path


@pytest.mark.parametrize("dialect", REQUESTS)
@settings(max_examples=100)
@given(data=st.data())
def test_an_odd_answer_breaks_nothing_but_itself(dialect: str, data: st.DataObject) -> None:
    frames = data.draw(st.sampled_from(STREAMS_OF[dialect])).split(b"\n\n")
    index = data.draw(st.integers(0, len(frames) - 1))
    head, mark, text = frames[index].partition(b"data: ")
    if text.strip().startswith(b"{"):
        frames[index] = head + mark + json.dumps(data.draw(st.composite(changed)(json.loads(text)))).encode()
    read(DIALECTS[dialect], b"\n\n".join(frames))


def read(row: Dialect, text: bytes) -> None:
    """Through every encoder, streamed and folded."""
    decoder = row.decoder(ids())
    events = decoder.feed(text)
    try:
        events += decoder.eof()
    except ProtocolError:
        pass  # which is what a broken stream may do
    for target in DIALECTS.values():
        encoder = target.encoder(INFO)
        for event in events:
            encoder.send(event)
        try:
            json.loads(target.encoder(INFO).fold(events))
        except ProtocolError:
            pass  # a failure is no answer
