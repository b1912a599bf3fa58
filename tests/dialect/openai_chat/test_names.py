from __future__ import annotations

from apipod_proxy.dialect.openai_chat.names import (
    FORMAT_OF,
    FORMATS,
    REASONS,
    WORDS,
)
from apipod_proxy.dialect.vocabulary import StopReason


def test_every_reason_has_a_word_and_openais_words_come_back() -> None:
    assert set(WORDS) == set(StopReason)
    for word in ("stop", "length", "tool_calls", "content_filter"):
        assert WORDS[REASONS[word]] == word
    assert all(WORDS[reason] in REASONS for reason in StopReason)
    assert {name: FORMAT_OF[dialect] for name, dialect in FORMATS.items()} == {name: name for name in FORMATS}
