from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.dialect.usage import (
    READERS,
    ChatCounts,
    MessagesCounts,
    count,
    from_chat,
    from_gemini,
    from_messages,
    from_responses,
    less,
    of_chat,
    of_messages,
    to_chat,
    to_messages,
)
from apipod_proxy.dialect.vocabulary import Usage

COUNTS = st.none() | st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 4}, (10, None, None, 4, None)),
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 6}, "completion_tokens": 4},
            (4, 6, None, 4, None),
        ),
        (
            {"prompt_tokens": 10, "prompt_cache_hit_tokens": 6, "prompt_tokens_details": None},
            (4, 6, None, None, None),
        ),
        ({"prompt_tokens": 10, "cached_tokens": 6}, (4, 6, None, None, None)),
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 5}},
            (2, 3, 5, None, None),
        ),
        ({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 163}}, (0, 7, None, None, None)),
        (
            {"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 5}},
            (None, None, None, 4, 5),
        ),
        ({"prompt_tokens": 1, "completion_tokens": 9, "reasoning_tokens": 20}, (1, None, None, 9, 20)),
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 9,
                "total_tokens": 15,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            (1, None, None, 9, 5),
        ),
        ({"prompt_tokens": None, "completion_tokens": True, "cost": 0.1}, (None, None, None, None, None)),
        ("odd", (None, None, None, None, None)),
    ],
)
def test_chat_counts_become_classes_that_do_not_overlap(wire: Any, expected: tuple[int | None, ...]) -> None:
    assert from_chat(wire)[:5] == expected


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ({"input_tokens": 5, "output_tokens": 9}, (5, None, None, 9, None)),
        (
            {
                "input_tokens": 5,
                "cache_read_input_tokens": 6,
                "cache_creation_input_tokens": 0,
                "output_tokens": 9,
            },
            (5, 6, 0, 9, None),
        ),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}},
            (None, None, 5, None, None),
        ),
        ({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}, (None, None, None, 5, 4)),
        (None, (None, None, None, None, None)),
    ],
)
def test_messages_counts_exclude_what_is_cached(wire: Any, expected: tuple[int | None, ...]) -> None:
    assert from_messages(wire)[:5] == expected


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 4,
                "cachedContentTokenCount": 6,
                "thoughtsTokenCount": 3,
            },
            (4, 6, None, 4, 3),
        ),
        ({"prompt_token_count": 10, "tool_use_prompt_token_count": 5}, (15, None, None, None, None)),
        ({"promptTokenCount": 10, "totalTokenCount": 25, "thoughtsTokenCount": 3}, (10, None, None, 12, 3)),
    ],
)
def test_gemini_counts_thoughts_apart(wire: Any, expected: tuple[int | None, ...]) -> None:
    assert from_gemini(wire)[:5] == expected


def test_responses_counts_include_what_is_cached_and_thought() -> None:
    wire = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 6},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 5},
    }
    assert from_responses(wire)[:5] == (4, 6, None, 4, 5)
    assert from_responses(None)[:5] == (None, None, None, None, None)
    assert set(READERS) == {"openai_chat", "anthropic", "gemini", "openai_responses"}


@given(usage=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS).map(lambda counts: Usage(*counts)))
def test_what_is_written_is_read_again(usage: Usage) -> None:
    def sums(counts: Usage) -> tuple[int, int, int, int]:
        read, written = counts.cache_read or 0, counts.cache_write or 0
        return counts.input or 0, read, written, (counts.output or 0) + (counts.reasoning or 0)

    for write, read in ((to_chat, from_chat), (to_messages, from_messages)):
        again = read(write(usage))
        assert sums(again) == sums(usage)
        assert read(write(again)) == again


TOKENS = st.none() | st.integers(0, 30)
NAMES = (
    *("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens"),
    *("cached_tokens", "precached_prompt_tokens", "reasoning_tokens", "other"),
)
READ = st.sampled_from(["cached_tokens", "cache_write_tokens", "cache_creation_tokens"])
WRITTEN = st.sampled_from(["reasoning_tokens", "audio_tokens"])
WIRE = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NAMES, TOKENS),
        "prompt_tokens_details": st.none() | st.dictionaries(READ, TOKENS),
        "completion_tokens_details": st.none() | st.dictionaries(WRITTEN, TOKENS),
    },
)


@given(WIRE)
def test_typed_counts_of_chat_say_the_same(wire: dict[str, Any]) -> None:
    assert of_chat(msgspec.convert(wire, ChatCounts))[:5] == from_chat(wire)[:5]


MESSAGES_NAMES = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "other",
)
MESSAGES_WIRE = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(MESSAGES_NAMES, TOKENS),
        "cache_creation": st.none() | st.dictionaries(st.sampled_from(["a", "b"]), TOKENS),
        "output_tokens_details": st.none()
        | st.dictionaries(st.sampled_from(["thinking_tokens", "reasoning_tokens"]), TOKENS),
    },
)


@given(MESSAGES_WIRE)
def test_typed_counts_of_messages_say_the_same(wire: dict[str, Any]) -> None:
    assert of_messages(msgspec.convert(wire, MessagesCounts))[:5] == from_messages(wire)[:5]


@pytest.mark.parametrize("odd", [-1, True, "5", 2**53, 1.5])
def test_odd_counts_are_not_typed(odd: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps({"prompt_tokens": odd}), type=ChatCounts)


def test_a_later_report_fills_in_what_it_leaves_out() -> None:
    first = from_messages({"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1})
    merged = first.merged(from_messages({"output_tokens": 9}))
    assert merged[:4] == (5, 2, None, 9)
    assert to_messages(merged) == {"input_tokens": 5, "output_tokens": 9}


def test_counts_are_whole_and_not_negative() -> None:
    assert count({"a": -1, "b": 2.0}, "a", "b") == 2
    assert count(None, "a") is None
    assert less(3, 5) == 0
    assert less(None, 5) is None
