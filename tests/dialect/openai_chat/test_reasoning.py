from __future__ import annotations

from typing import Any

from apipod_proxy.dialect.openai_chat.reasoning import read_reasoning, write_details
from apipod_proxy.dialect.vocabulary import Thinking, ToolCall


def read(**message: Any) -> list[tuple[str, str | None, str | None, bool]]:
    return [
        (part.text, part.signature, part.signed_by, part.redacted)
        for part in read_reasoning(message, [], "$")
    ]


def test_text_alone_is_unsigned_thinking() -> None:
    assert read(reasoning_content="Hmm") == read(reasoning="Hmm") == [("Hmm", None, None, False)]
    assert read() == read(reasoning_content="", reasoning_details=[]) == []


def test_details_hold_text_and_signatures() -> None:
    text = {"type": "reasoning.text", "text": "Hmm", "signature": "s", "format": "anthropic-claude-v1"}
    hidden = {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1"}
    assert read(reasoning_content="Hmm", reasoning_details=[text, hidden, 5]) == [
        ("Hmm", "s", "anthropic", False),
        ("", "d", "anthropic", True),
    ]
    assert read(reasoning="Hmm", reasoning_details=[hidden])[0] == ("Hmm", None, None, False)


def test_pieces_of_one_number_are_one_detail() -> None:
    pieces: list[dict[str, Any]] = [
        {"type": "reasoning.text", "text": "Let", "index": 0},
        {"type": "reasoning.text", "text": " me", "index": 0},
        {"type": "reasoning.text", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.text", "text": "Then", "index": 1},
        {"type": "reasoning.text", "text": "so", "index": None},
        {"type": "reasoning.text", "text": "on", "index": None},
    ]
    assert read(reasoning="Let me", reasoning_details=pieces) == [
        ("Let me", "s", "anthropic", False),
        ("Then", None, None, False),
        ("so", None, None, False),
        ("on", None, None, False),
    ]
    thoughts = read_reasoning({"reasoning_details": pieces[:3]}, [], "$")
    assert write_details(thoughts, [], True) == [pieces[2] | {"text": "Let me"}]


def test_a_summary_and_its_hidden_text_are_one() -> None:
    summary = {"type": "reasoning.summary", "summary": "Sum", "id": "rs", "format": "openai-responses-v1"}
    hidden = {"type": "reasoning.encrypted", "data": "d", "id": "rs", "format": "openai-responses-v1"}
    assert read(reasoning_details=[summary, hidden]) == [("Sum", "d", "openai_responses", False)]


def test_the_signature_of_a_call_goes_to_the_call() -> None:
    call = ToolCall("t1", "f", "{}")
    detail = {"type": "reasoning.encrypted", "data": "g", "id": "t1", "format": "google-gemini-v1"}
    assert read_reasoning({"reasoning_details": [detail]}, [call], "$") == []
    assert (call.signature, call.signed_by) == ("g", "gemini")
    assert write_details([], [call], True)[0] == detail | {"index": 0}
    assert write_details([], [call], False) == []


def test_details_of_this_dialect_go_back_as_they_came() -> None:
    detail = {"type": "reasoning.text", "text": "Hmm", "signature": "s", "format": "unknown", "index": 3}
    assert write_details(read_reasoning({"reasoning_details": [detail]}, [], "$"), [], True) == [detail]


def test_thinking_of_other_dialects_becomes_details() -> None:
    thoughts = [
        Thinking("Hmm", "s", "anthropic"),
        Thinking("", "d", "anthropic", redacted=True),
        Thinking("plain"),
        Thinking(""),
    ]
    assert write_details(thoughts, [], True) == [
        {
            "type": "reasoning.text",
            "text": "Hmm",
            "signature": "s",
            "format": "anthropic-claude-v1",
            "index": 0,
        },
        {"type": "reasoning.encrypted", "data": "d", "format": "anthropic-claude-v1", "index": 1},
        {"type": "reasoning.text", "text": "plain", "index": 2},
    ]
