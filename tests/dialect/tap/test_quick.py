"""The quick way gives what reading every event gives, or nothing: usage, a finish, an error or another model are never passed by."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect.tap import Tap
from apipod_proxy.dialect.tap.base import BaseTap, payload_of
from apipod_proxy.dialect.tap.chat import ChatTap
from tests.dialect.tap.cases import CASES, UP, chunk, data, named, part

WORDS = st.sampled_from(["a", " the", "", '"', "\\", '\\"', "é", "\n\n", "x" * 1500])
TRAPS = st.sampled_from(
    [
        '","usage":{"prompt_tokens":1}',
        '"error":{"message":"no"}',
        '"finish_reason":"stop"',
        '"model":"up-model"',
        "message_stop",
        "finishReason",
        "data: [DONE]\n\n",
        '"},"finish_reason":null}]}\n\n',
    ]
)
TEXTS = st.lists(WORDS | TRAPS, max_size=4).map("".join)
DONE = b"data: [DONE]\n\n"
COMMENT = b": waiting\n\n"
ERROR = {"message": "busy", "code": 529}


def chat(text: str, more: str, shift: dict[str, Any]) -> list[bytes]:
    """Events that mostly look alike, and those that count."""
    usage = {"prompt_tokens": 5, "completion_tokens": len(text)}
    return [
        data(chunk({"content": text})),
        data(chunk({"content": text}, usage=None, obfuscation=more)),
        data(chunk({"role": "assistant", "content": text, "reasoning": more})),
        data(chunk({"reasoning_content": text})),
        data(chunk({"content": "", "reasoning": more})),
        data(chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})),
        data({"choices": [{"index": 0, "delta": {"content": text}}], "model": UP, "obfuscation": more}),
        data({"choices": [{"index": 0, "text": text}], "model": UP}),
        data(chunk({"content": text}, **shift)),
        data(chunk({"content": text}, usage=usage)),
        data(chunk({"content": text}, x_groq={"usage": usage})),
        data(chunk({"content": text}, "stop")),
        data(chunk({}, choices=[], usage=usage)),
        data(chunk({"content": text}, error=ERROR)),
        data({"error": ERROR}),
        COMMENT,
        DONE,
    ]


def messages(text: str, more: str, shift: dict[str, Any]) -> list[bytes]:
    delta = {"type": "text_delta", "text": text}
    start = {"type": "message_start", "message": {"model": UP, "usage": {"input_tokens": len(more)}}}
    return [
        named({"type": "content_block_delta", "index": 0, "delta": delta}),
        data({"type": "content_block_delta", "index": 0, "delta": delta}),
        named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": more}}),
        named(start),
        named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
        named({"type": "ping"}),
        named({"type": "message_stop"}),
        named({"type": "error", "error": ERROR}),
        b"event: content_block_delta\n\n",
        COMMENT,
    ]


def gemini(text: str, more: str, shift: dict[str, Any]) -> list[bytes]:
    return [
        data(part(text)),
        data(part(text)),
        data(part(more)),
        data(part(text) | {"modelVersion": "other"}),
        data(part(text, finishReason="STOP")),
        data(part(text) | {"x": {"modelVersion": UP}}),
        data({"promptFeedback": {"blockReason": text}, "modelVersion": UP}),
        data({"error": ERROR}),
        COMMENT,
    ]


def responses(text: str, more: str, shift: dict[str, Any]) -> list[bytes]:
    usage = {"input_tokens": 2, "output_tokens": len(more)}
    return [
        named({"type": "response.output_text.delta", "delta": text, "obfuscation": more}),
        named({"type": "response.output_text.delta", "delta": more}),
        named({"type": "response.reasoning_text.delta", "delta": text}),
        named({"type": "response.output_item.added", "item": {"model": UP}}),
        named({"type": "response.in_progress", "response": {"model": UP, "usage": usage}}),
        named({"type": "response.completed", "response": {"model": UP, "usage": usage}}),
        named({"type": "response.failed", "response": {"model": UP, "error": ERROR}}),
        named({"type": "error", "error": ERROR}),
        b"event: response.output_text.delta\n\n",
        COMMENT,
    ]


MAKERS = {"openai_chat": chat, "anthropic": messages, "gemini": gemini, "openai_responses": responses}


@st.composite
def streams(draw: st.DrawFn, dialect: str) -> list[bytes]:
    """Chunks of whole events. One kind in a row, so that what is quick becomes so."""
    shift: dict[str, Any] = draw(
        st.sampled_from([{"created": 2}, {"model": "other"}, {"logprobs": {"content": []}}])
    )
    chunks = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.integers(0, 20))
        for _ in range(draw(st.integers(1, 4))):
            count = draw(st.integers(1, 3))
            made = [MAKERS[dialect](draw(TEXTS), draw(TEXTS), shift) for _ in range(count)]
            chunks.append(b"".join(events[kind % len(events)] for events in made))
    return chunks


def told(tap: BaseTap) -> tuple[Any, ...]:
    """What the tap tells of the answer."""
    finishes = getattr(tap, "finish_reasons", None)
    return tap.content, tap.finished, tap.failure, tap.complete, tap.found_model, tap.usage, finishes


def read(tap: BaseTap, piece: bytes) -> bytes:
    """``piece`` with every event of it read."""
    out = b""
    for event in piece.split(b"\n\n")[:-1]:
        if tap.failure is None:
            out += tap._event(event + b"\n\n")
    return out


def state(tap: BaseTap) -> dict[str, Any]:
    return {name: getattr(tap, name) for kind in type(tap).__mro__ for name in getattr(kind, "__slots__", ())}


@pytest.mark.parametrize("dialect", MAKERS)
@settings(max_examples=60, deadline=None)
@given(draw=st.data(), ask=st.sampled_from(["mine", UP]), ending=st.sampled_from([b"\n", b"\r\n"]))
def test_nothing_that_counts_is_passed_by(dialect: str, ask: str, ending: bytes, draw: st.DataObject) -> None:
    quick, slow = Tap(dialect, ask), Tap(dialect, ask)
    for piece in draw.draw(streams(dialect)):
        expected = read(slow, piece).replace(b"\n", ending)
        before, noted = told(quick), state(quick)
        out = quick.quick(piece.replace(b"\n", ending))
        if out is None:
            assert state(quick) == noted
            out = quick.feed(piece.replace(b"\n", ending))
        elif dialect != "gemini":
            # Gemini reports usage with every event; it is read when it is asked for.
            assert told(quick) == before
        assert out == expected
        if dialect == "gemini":
            assert told(quick)[:5] == told(slow)[:5]
        else:
            assert told(quick) == told(slow)
    assert told(quick) == told(slow)


@pytest.mark.parametrize("dialect", CASES)
def test_the_quick_way_is_taken(dialect: str) -> None:
    tap = Tap(dialect, "mine")
    events = MAKERS[dialect]("text", "more", {})
    if dialect in ("anthropic", "openai_responses"):
        tap.feed(CASES[dialect][0][0] + CASES[dialect][0][1])
    tap.feed(events[0])
    tap.feed(events[0])
    for count in (1, 2, 9):
        before = tap.output_bytes
        out = tap.quick(events[0] * count)
        assert out == events[0].replace(UP.encode(), b"mine") * count
        assert tap.output_bytes > before


@pytest.mark.parametrize("kind", range(8))
def test_every_form_of_plain_chat_events_becomes_quick(kind: int) -> None:
    tap = Tap("openai_chat", "mine")
    for text in ("a", 'b"', "c"):
        tap.feed(chat(text, "noise", {})[kind])
    event = chat('d\\ "é', "other", {})[kind]
    assert tap.quick(event) == event.replace(b"up-model", b"mine")
    assert tap.quick(event * 3) == event.replace(b"up-model", b"mine") * 3
    assert tap.quick(event + DONE) is None


@pytest.mark.parametrize("text", ["Hello", "a b", 'say "x"', "日本", "line\nend", "x" * 5000])
def test_what_is_written_is_counted_by_its_bytes(text: str) -> None:
    tap = Tap("openai_chat", "mine")
    tap.feed(data(chunk({"content": "Hi"})))
    assert tap.output_bytes == 2
    event = data(chunk({"content": text}))
    size = len(event) - len(data(chunk({"content": ""})))
    tap.feed(event)
    assert tap.output_bytes == 2 + size
    tap.feed(event * 3)
    assert tap.output_bytes == 2 + 4 * size


def test_what_is_no_text_counts_for_a_little() -> None:
    tap = Tap("openai_chat", "mine")
    for count in range(1, 5):
        tap.feed(data(chunk({"reasoning_content": "thought " * count})))
        assert tap.output_bytes == 8 * count
    tap.feed(data(chunk({"reasoning_content": "thought"})) * 2)
    assert tap.output_bytes == 48
    tap.feed(data(chunk({"content": "Hi"})))
    assert tap.output_bytes == 50


VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "text", 'a\n"é"', [], [{"type": "text", "text": "x"}], {}, 0, 7]
)
MEMBERS = ("role", "content", "reasoning", "reasoning_content", "reasoning_details", "refusal", "tool_calls")
DELTAS = st.none() | st.dictionaries(st.sampled_from((*MEMBERS, "function_call", "channel", "other")), VALUES)
TOKENS = st.sampled_from([None, 0, 3, 2.0, True, "4", -1])
USAGE = st.none() | st.fixed_dictionaries({"prompt_tokens": TOKENS, "completion_tokens": TOKENS})
CHOICE = st.fixed_dictionaries(
    {"delta": DELTAS},
    optional={
        "index": st.integers(0, 2),
        "message": DELTAS,
        "text": st.sampled_from([None, "", "text", 5]),
        "finish_reason": st.sampled_from([None, "", "stop", 1]),
    },
)
CHUNK = st.fixed_dictionaries(
    {"choices": st.lists(CHOICE, max_size=2) | st.none()},
    optional={
        "usage": USAGE,
        "x_groq": st.none() | st.fixed_dictionaries({"usage": USAGE}),
        "model": st.sampled_from([UP, "other", "", None, 5]),
        "error": st.sampled_from([None, {}, ERROR]),
        "extra": st.sampled_from([{"model": UP}, "content", {"content": "x"}]),
        "obfuscation": st.text(max_size=3),
    },
)


@settings(max_examples=400, deadline=None)
@given(chunks=st.lists(CHUNK, min_size=1, max_size=4), strip=st.booleans(), blank=st.booleans())
def test_an_ordinary_event_tells_the_same_however_it_is_read(
    chunks: list[dict[str, Any]], strip: bool, blank: bool
) -> None:
    plain, general = ChatTap("mine", strip), ChatTap("mine", strip)
    for value in chunks:
        event = data(value, (", ", ": ") if blank else (",", ":"))
        assert plain._event(event) == general._any(event, payload_of(event))
        first, second = told(plain), told(general)
        assert first[:5] + first[6:] == second[:5] + second[6:]
        # What is passed on as it is needs no wire object.
        assert plain.usage[:5] == general.usage[:5]
        assert plain.output_bytes == general.output_bytes
        if plain.failure is not None:
            break
