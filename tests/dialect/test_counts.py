"""Requests to count, in both dialects that have them, and the estimate."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apipod_proxy.dialect.counts import around, estimate, read, same, tokens_in, told
from apipod_proxy.errors import BadRequest

TURNS = [{"role": "user", "parts": [{"text": "a"}]}]


def dumps(**members: Any) -> bytes:
    return orjson.dumps(members)


def test_a_count_of_messages_needs_no_max_tokens() -> None:
    body = dumps(model="m", messages=[{"role": "user", "content": "a"}])
    assert read("anthropic", body) == ("m", body)
    assert same("anthropic", body, "up") == body.replace(b'"m"', b'"up"')


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_a_count_of_gemini_may_wrap_a_whole_request(name: str) -> None:
    inner = {"model": "models/m", "contents": TURNS, "tools": []}
    body = dumps(**{name: inner})
    asked = read("gemini", body, "m")
    assert (asked.model, orjson.loads(asked.whole)) == ("m", inner)
    assert orjson.loads(same("gemini", body, "up"))[name]["model"] == "models/up"
    plain = dumps(contents=TURNS, model="models/m")
    assert read("gemini", plain, "m") == ("m", plain)
    assert orjson.loads(same("gemini", plain, "up")) == {"contents": TURNS}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{}", "$.contents"),
        (dumps(generateContentRequest=5), "$.generateContentRequest"),
        (dumps(generateContentRequest={}), "$.generateContentRequest.contents"),
    ],
)
def test_a_count_of_nothing_is_refused(body: bytes, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read("gemini", body, "m")
    assert caught.value.path == path


def test_a_request_for_a_completion_becomes_one_to_count() -> None:
    whole = dumps(model="up", max_tokens=5, stream=True, temperature=1, messages=[], system="s", tools=[])
    assert orjson.loads(around("anthropic", whole, "up")) == {
        "model": "up",
        "messages": [],
        "system": "s",
        "tools": [],
    }
    whole = dumps(model="up", input=[], max_output_tokens=5, store=False, stream=True)
    assert orjson.loads(around("openai_responses", whole, "up")) == {"model": "up", "input": []}
    assert orjson.loads(around("gemini", dumps(contents=TURNS), "up")) == {
        "generateContentRequest": {"model": "models/up", "contents": TURNS}
    }


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "openai_responses"])
def test_what_is_told_can_be_read(dialect: str) -> None:
    assert tokens_in(dialect, told(dialect, 7)) == 7
    for wrong in (b"no", b"[]", b"{}", b'{"input_tokens":"7"}'):
        assert tokens_in(dialect, wrong) is None


@pytest.mark.parametrize(
    ("body", "media", "media_bytes", "tokens"),
    [
        (b"", 0, 0, 1),
        (b"x" * 32, 0, 0, 10),
        (b"x" * 33, 0, 0, 11),
        (b'{"tools":[]}'.ljust(32), 0, 0, 510),
        (b"x" * 100_032, 1, 100_000, 1676),
        (b"x" * 6_000_032, 1, 6_000_000, 100_010),
    ],
)
def test_the_estimate_counts_text_tools_and_attachments(
    body: bytes, media: int, media_bytes: int, tokens: int
) -> None:
    assert estimate(body, media, media_bytes) == tokens
