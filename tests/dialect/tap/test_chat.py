from __future__ import annotations

import json

import pytest

from apipod_proxy.dialect import Truncated
from apipod_proxy.dialect.tap import Tap
from tests.dialect.tap.cases import CHAT, UP, chunk, data


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


def test_an_error_chunk_of_a_known_beginning_is_seen() -> None:
    tap = Tap("openai_chat", UP)
    tap.feed(CHAT[1])
    assert tap.feed(data(chunk({"content": "x"}, error={"message": "busy", "code": 429}))) == b""
    assert tap.failure is not None
    assert tap.failure.status == 429
    assert tap.feed(CHAT[1]) == b""


def test_an_error_in_a_field_of_its_own_is_seen() -> None:
    tap = Tap("openai_chat", UP)
    tap.feed(CHAT[1])
    assert tap.feed(b'error: {"code":500,"message":"busy","type":"server_error"}\n\n') == b""
    assert tap.failure is not None
    assert (tap.failure.message, tap.failure.status) == ("busy", 500)


def test_data_over_several_lines_is_renamed_too() -> None:
    tap = Tap("openai_chat", "mine")
    out = tap.feed(b'data: {"model": "up-model",\ndata: "choices": []}\n\n')
    assert json.loads(out.removeprefix(b"data: ")) == {"model": "mine", "choices": []}
