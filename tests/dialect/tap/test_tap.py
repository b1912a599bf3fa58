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
from apipod_proxy.dialect.tap.base import BaseTap
from apipod_proxy.dialect.vocabulary import Usage

UP = "up-model"


def data(value: Any, separators: tuple[str, str] = (",", ":")) -> bytes:
    return b"data: " + json.dumps(value, separators=separators).encode() + b"\n\n"


def named(value: Any) -> bytes:
    return f"event: {value['type']}\n".encode() + data(value)


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": UP,
        "choices": [choice],
        "usage": None,
    } | more


CHAT = [
    data(chunk({"role": "assistant", "content": ""})),
    data(chunk({"content": "Hel"})),
    data(chunk({"content": 'lo "model":"up-model" \\ "usage":{'})),
    data(chunk({"content": "!"})),
    data(chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"model":"up-model"}'}}]})),
    data(chunk({}, extra={"model": UP})),
    data(chunk({}, "stop")),
    data(chunk({}, choices=[], usage={"prompt_tokens": 5, "completion_tokens": 7})),
    b"data: [DONE]\n\n",
]
MESSAGES = [
    named(
        {
            "type": "message_start",
            "message": {"id": "m", "model": UP, "usage": {"input_tokens": 3, "output_tokens": 1}},
        }
    ),
    named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    b": comment\n\n",
    named(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "message_start model error"},
        }
    ),
    named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "plain"}}),
    named({"type": "content_block_stop", "index": 0}),
    named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
    named({"type": "message_stop"}),
]


def part(text: str, **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}]}, "index": 0} | more
    usage = {"promptTokenCount": 4, "candidatesTokenCount": len(text)}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": UP, "responseId": "r"}


GEMINI = [
    data(part("a")),
    data(part("bb")),
    data(part('"modelVersion":"up-model"')),
    data(part("ccc", content={"parts": [{"functionCall": {"name": "f", "args": {"modelVersion": UP}}}]})),
    data(part("cc", finishReason="STOP")),
]
RESPONSES = [
    named({"type": "response.created", "response": {"id": "r", "model": UP, "usage": None}}),
    named({"type": "response.output_item.added", "item": {"type": "message", "model": UP}}),
    named({"type": "response.output_text.delta", "delta": "response.completed"}),
    named({"type": "response.output_text.delta", "delta": "x"}),
    named(
        {
            "type": "response.completed",
            "response": {"id": "r", "model": UP, "usage": {"input_tokens": 2, "output_tokens": 3}},
        }
    ),
]
CASES = {
    "openai_chat": (CHAT, ("model",), (5, 7)),
    "anthropic": (MESSAGES, ("message", "model"), (3, 9)),
    "gemini": (GEMINI, ("modelVersion",), (4, 2)),
    "openai_responses": (RESPONSES, ("response", "model"), (2, 3)),
}


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


def test_the_usage_only_chunk_reaches_only_who_asked() -> None:
    tap = Tap("openai_chat", UP, strip_usage=True)
    assert tap.feed(b"".join(CHAT)) == b"".join(CHAT[:7] + CHAT[8:])
    assert tap.usage.output == 7


def test_azures_first_chunk_without_choices_is_no_usage_chunk() -> None:
    first = data(
        {"choices": [], "created": 0, "id": "", "model": "", "prompt_filter_results": [], "usage": None}
    )
    tap = Tap("openai_chat", "mine", strip_usage=True)
    assert tap.feed(first) == first.replace(b'"model":""', b'"model":"mine"')
    assert not tap.content


def test_usage_of_groq_and_on_the_last_choice_is_found() -> None:
    tap = Tap("openai_chat", "mine", strip_usage=True)
    for event in (
        CHAT[1],
        data(chunk({}, "stop", x_groq={"usage": {"prompt_tokens": 3}})),
        data(chunk({}, usage={"completion_tokens": 4})),
    ):
        assert tap.feed(event)
    assert (tap.usage.input, tap.usage.output) == (3, 4)


def test_a_missing_done_is_added_after_a_finish_reason_for_every_choice() -> None:
    tap = Tap("openai_chat", "mine", choices=2)
    tap.feed(data(chunk({}, "stop")))
    with pytest.raises(Truncated):
        tap.eof()
    tap.feed(data(chunk({}, choices=[{"index": 1, "delta": {}, "finish_reason": "stop"}])))
    assert tap.eof() == b"data: [DONE]\n\n"
    assert tap.eof() == b""


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


def test_an_error_chunk_of_a_known_beginning_is_seen() -> None:
    tap = Tap("openai_chat", UP)
    tap.feed(CHAT[1])
    assert tap.feed(data(chunk({"content": "x"}, error={"message": "busy", "code": 429}))) == b""
    assert tap.failure is not None
    assert tap.failure.status == 429


def test_a_failed_response_without_content_is_a_failure() -> None:
    failed = named(
        {
            "type": "response.failed",
            "response": {"id": "r", "error": {"code": "server_error", "message": "m"}},
        }
    )
    tap = Tap("openai_responses", "mine")
    assert tap.feed(failed) == b""
    assert tap.failure is not None
    tap = Tap("openai_responses", "mine")
    tap.feed(RESPONSES[1])
    assert tap.feed(failed) == failed
    assert tap.finished


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


def test_data_over_several_lines_is_renamed_too() -> None:
    tap = Tap("openai_chat", "mine")
    out = tap.feed(b'data: {"model": "up-model",\ndata: "choices": []}\n\n')
    assert json.loads(out.removeprefix(b"data: ")) == {"model": "mine", "choices": []}


def test_a_blocked_prompt_ends_a_gemini_stream() -> None:
    tap = Tap("gemini", "mine")
    tap.feed(data({"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": UP}))
    assert tap.complete
    assert tap.content


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


def test_the_base_reads_no_dialect() -> None:
    with pytest.raises(NotImplementedError):
        BaseTap("x").feed(b"data: 1\n\n")
