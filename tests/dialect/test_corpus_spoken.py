"""Recordings of the languages that only providers speak: what was recorded is what a client of any dialect is told."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from apipod_proxy.dialect import AnswerInfo, Decoder
from apipod_proxy.dialect.table import DIALECTS, SPOKEN
from apipod_proxy.dialect.vocabulary import End, Event, Failure, TextDelta, ToolArgs, ToolOpen, UsageReport
from tests.dialect.wire import recorded_answer, recordings

PATHS = {"cohere": "/v2/chat", "gigachat": "/api/v1/chat/completions"}


def is_answer(case: dict[str, Any]) -> bool:
    path = case["request"]["path"].partition("?")[0]
    return case["response"]["status"] == 200 and path in PATHS.values()


CASES = recordings(is_answer, *PATHS)


def decoder_of(name: str) -> Decoder:
    numbers = count()
    return SPOKEN[name].decoder(lambda prefix: f"{prefix}{next(numbers)}")


def read(case: dict[str, Any], name: str, size: int | None = None) -> list[Event]:
    body = recorded_answer(case)
    if "chunks" not in case["response"]:
        numbers = count()
        return SPOKEN[name].decode_unary(body, lambda prefix: f"{prefix}{next(numbers)}")
    decoder = decoder_of(name)
    pieces = [body] if size is None else [body[at : at + size] for at in range(0, len(body), size)]
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.eof()


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_recording_is_read_alike_however_it_is_cut_and_told_to_every_client(path: Path) -> None:
    case = json.loads(path.read_bytes())
    name = path.parent.name
    events = read(case, name)
    if isinstance(events[-1], Failure):
        # One recording holds an error within its stream: it is told as one, and nothing follows it.
        assert events[-1].status == 500 and events[-1].message
        return
    assert isinstance(events[-1], End)
    if "chunks" in case["response"]:
        for size in (1, 7):
            assert joined(read(case, name, size)) == joined(events)
    assert [event for event in events if isinstance(event, UsageReport)] or name == "gigachat"
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    arguments = [event.name for event in events if isinstance(event, ToolOpen)]
    for client, dialect in DIALECTS.items():
        folded = dialect.encoder(AnswerInfo("mine", "req_1", 1, True)).fold(events)
        again = dialect.decode_unary(folded, lambda prefix: f"{prefix}x")
        assert "".join(event.text for event in again if isinstance(event, TextDelta)) == text, client
        assert [event.name for event in again if isinstance(event, ToolOpen)] == arguments, client


def joined(events: list[Event]) -> tuple[str, str, list[Event]]:
    """Text and arguments as a whole, since a cut may part a delta, and everything else."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    fragments = "".join(event.fragment for event in events if isinstance(event, ToolArgs))
    return text, fragments, [event for event in events if not isinstance(event, TextDelta | ToolArgs)]
