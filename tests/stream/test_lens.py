from __future__ import annotations

import os
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import AnswerInfo, ProtocolError
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.tap import Tap
from apipod_proxy.stream.lens import IdentityLens, TranslatingLens

CHAT = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    b'"finish_reason":null}]}\n\n',
    b": a comment\n\n",
    *(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"content":"%b"},'
        b'"finish_reason":null}]}\n\n' % text
        for text in (b"Hi", b"\xc3\xa9\xe2\x82\xac", b'\\"model\\":\\"up\\"', b"x" * 300)
    ),
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,'
    b'"id":"t","type":"function","function":{"name":"f","arguments":"{\\"model\\": \\"up\\"}"}}]},"finish_reason":null}]}\n\n',
    b"data: {no json\n\n",
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"up","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,'
    b'"total_tokens":12}}\n\n',
    b"data: [DONE]\n\n",
)
WHOLE = b"".join(CHAT)
RENAMED = WHOLE.replace(b'"model":"up","choices"', b'"model":"mine","choices"')
WITHOUT_USAGE = RENAMED.replace(
    RENAMED[
        RENAMED.index(
            b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"mine","choices":[],'
        ) : RENAMED.index(b"data: [DONE]")
    ],
    b"",
)


def identity(strip: bool = False) -> IdentityLens:
    return IdentityLens(Tap("openai_chat", "mine", strip_usage=strip))


def through(lens: IdentityLens | TranslatingLens, pieces: list[bytes]) -> bytes:
    return b"".join([lens.feed(piece) for piece in pieces] + [lens.eof()])


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "1000")), deadline=None)
@given(st.lists(st.integers(0, len(WHOLE)), max_size=40), st.booleans())
def test_any_split_of_a_stream_gives_the_same_bytes(cuts: list[int], strip: bool) -> None:
    lens = identity(strip)
    assert through(lens, pieces_of(WHOLE, cuts)) == (WITHOUT_USAGE if strip else RENAMED)
    assert lens.finished
    assert lens.content
    assert (lens.usage.input, lens.usage.output) == (5, 7)


def test_only_whole_events_leave() -> None:
    lens = identity()
    sent = b""
    for index in range(len(WHOLE)):
        piece = lens.feed(WHOLE[index : index + 1])
        sent += piece
        assert not piece or piece.endswith(b"\n\n")
    assert sent + lens.eof() == RENAMED


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_stream_cut_before_its_finish_reason_is_not_whole(end: int) -> None:
    lens = identity()
    finish = WHOLE.index(b'"finish_reason":"stop"')
    lens.feed(WHOLE[:end])
    if end < finish:
        with pytest.raises(ProtocolError):
            lens.eof()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, len(WHOLE)), max_size=20), st.sampled_from(sorted(DIALECTS)))
def test_translation_does_not_depend_on_the_split(cuts: list[int], client: str) -> None:
    def lens() -> TranslatingLens:
        numbers = count()
        decoder = DIALECTS["openai_chat"].decoder(lambda prefix: f"{prefix}{next(numbers)}")
        return TranslatingLens(decoder, DIALECTS[client].encoder(AnswerInfo("mine", "req_1", 1, True)))

    assert through(lens(), pieces_of(WHOLE, cuts)) == through(lens(), [WHOLE])
