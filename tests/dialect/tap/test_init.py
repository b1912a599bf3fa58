from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect.sse import Splitter
from apipod_proxy.dialect.tap import Tap, rewrite_answer
from apipod_proxy.dialect.vocabulary import Usage
from tests.dialect.tap.cases import CASES, UP, data


def renamed(event: bytes, path: tuple[str, ...], model: str) -> bytes:
    """What is expected, by way of objects."""
    head, mark, text = event.partition(b"data: ")
    if not text.startswith(b"{"):
        return event
    value = json.loads(text)
    inner = value
    for name in path[:-1]:
        inner = inner.get(name, {})
    if path[-1] in inner:
        inner[path[-1]] = model
    return head + mark + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize("ask", ["mine", 'a "quoted" \\ näme', UP])
def test_only_the_model_is_replaced_and_usage_and_the_end_are_seen(dialect: str, ask: str) -> None:
    events, path, (read, written) = CASES[dialect]
    tap = Tap(dialect, ask)
    for event in events:
        assert json_of(tap.feed(event)) == json_of(renamed(event, path, ask))
    assert (tap.usage.input, tap.usage.output) == (read, written)
    assert tap.complete
    assert tap.content
    assert tap.found_model == UP
    assert tap.finished is (dialect != "gemini")
    assert tap.eof() == b""
    assert tap.output_bytes > 0


def json_of(event: bytes) -> Any:
    head, _, text = event.partition(b"data: ")
    return head, json.loads(text) if text.startswith(b"{") else text


@pytest.mark.parametrize("dialect", CASES)
@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 2000), max_size=10))
def test_any_split_gives_the_same_bytes(dialect: str, cuts: list[int]) -> None:
    whole = b"".join(CASES[dialect][0])
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    assert passed(dialect, [whole[a:b] for a, b in pairwise(edges)]) == passed(dialect, CASES[dialect][0])


def passed(dialect: str, pieces: list[bytes]) -> tuple[bytes, Usage, bool]:
    splitter = Splitter()
    tap = Tap(dialect, "mine")
    out = b"".join(tap.feed(events) for piece in pieces if (events := splitter.feed(piece)))
    return out, tap.usage, tap.complete


@pytest.mark.parametrize("dialect", CASES)
def test_crlf_and_odd_spacing_pass_unchanged_but_for_the_model(dialect: str) -> None:
    events, _, (read, written) = CASES[dialect]
    for old, new in (
        (b"\n", b"\r\n"),
        (b"data: ", b"data:"),
        (b'":"up-model"', b'" : "up-model"'),
        (b'":', b'": '),
    ):
        tap = Tap(dialect, "my-model")
        odd = [event.replace(old, new) for event in events]
        out = b"".join(tap.feed(event) for event in odd)
        assert len(out) == len(b"".join(odd))
        assert (tap.usage.input, tap.usage.output) == (read, written)
        assert tap.complete


@pytest.mark.parametrize("dialect", CASES)
def test_a_cut_stream_is_not_whole(dialect: str) -> None:
    events = CASES[dialect][0]
    for count in range(len(events) - (3 if dialect == "openai_chat" else 1)):
        tap = Tap(dialect, "mine")
        tap.feed(b"".join(events[:count]))
        with pytest.raises(Truncated):
            tap.eof()


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize("first", [True, False])
def test_an_error_in_the_stream_ends_it(dialect: str, first: bool) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    tap = Tap(dialect, UP)
    before = b"" if first else b"".join(CASES[dialect][0][:-3])
    assert tap.feed(before + b"event: error\n" + data(error) + b"data: {}\n\n") == before
    assert tap.failure is not None
    assert (tap.failure.message, tap.failure.status) == ("busy", 529)
    assert tap.feed(b"data: {}\n\n") == b""


@pytest.mark.parametrize("dialect", CASES)
@pytest.mark.parametrize(
    "odd",
    [
        b"data: nope\n\n",
        b"data: [1]\n\n",
        b"x: y\n\n",
        b"data: 1\ndata: 2\n\n",
        b"data: " + b"[" * 9999 + b"\n\n",
    ],
)
def test_a_frame_that_is_no_json_passes_untouched(dialect: str, odd: bytes) -> None:
    events = CASES[dialect][0]
    tap = Tap(dialect, UP)
    assert tap.feed(events[0]) + tap.feed(odd) + tap.feed(b"".join(events[1:])) == events[0] + odd + b"".join(
        events[1:]
    )
    assert tap.complete


@pytest.mark.parametrize(
    ("dialect", "name", "wire"),
    [
        ("openai_chat", "model", {"prompt_tokens": 5, "completion_tokens": 7}),
        ("anthropic", "model", {"input_tokens": 5, "output_tokens": 7}),
        ("openai_responses", "model", {"input_tokens": 5, "output_tokens": 7}),
        ("gemini", "modelVersion", {"promptTokenCount": 5, "candidatesTokenCount": 7}),
    ],
)
def test_a_unary_answer_gets_the_clients_model_name(dialect: str, name: str, wire: Any) -> None:
    key = "usageMetadata" if dialect == "gemini" else "usage"
    body = json.dumps(
        {"text": '"model": "up"', "nested": {name: "up"}, name: "up", key: wire}, indent=1
    ).encode()
    answer = rewrite_answer(dialect, body, "my")
    assert answer.body == body[::-1].replace(b'"pu"', b'"ym"', 1)[::-1]
    assert (answer.usage.input, answer.usage.output, answer.found_model) == (5, 7, "up")
    assert answer.failure is None


def test_what_is_no_answer_passes_or_is_a_failure() -> None:
    assert rewrite_answer("openai_chat", b"<html>", "my").body == b"<html>"
    assert rewrite_answer("openai_chat", b'{"a":1}', "my").body == b'{"a":1}'
    failure = rewrite_answer("openai_chat", b'{"error":{"message":"no","code":402}}', "my").failure
    assert failure is not None
    assert failure.status == 402
    assert rewrite_answer("openai_responses", b'{"error":null,"output":[]}', "my").failure is None


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"up","x":{"model":"up"}}',
        '{"x":{"model":"up"},"model":"up"}',
        '{"x":{"model" :"up"},"model":"up"}',
        '{"x":{"mod\\u0065l":"up"},"model":"up"}',
        '{"model":"up","text":"\\"model\\":\\"up\\"","text2":"model"}',
        '{"model": "up"}',
        '{"model":  "up"}',
        '{"model":"\\u0075p"}',
        '{"x":["model"],"model":"up"}',
        '{"usage":{"prompt_tokens":-5,"completion_tokens":"x","cached_tokens":2.0},"model":"up"}',
        '{"usage":null,"error":null,"model":"up"}',
    ],
)
@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "openai_responses"])
def test_only_the_name_at_the_top_of_an_answer_is_replaced(dialect: str, body: str) -> None:
    answer = rewrite_answer(dialect, body.encode(), "mine")
    assert json.loads(answer.body) == json.loads(body) | {"model": "mine"}
    assert answer.found_model == "up"
