"""Recorded traffic of Gemini on AI Studio and Vertex: every answer decodes, survives any split, and re-encodes to what the SDK reads alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.genai import types

from apipod_proxy.dialect import Aim
from apipod_proxy.dialect.gemini import ROW
from apipod_proxy.dialect.gemini_array import ArrayFraming
from apipod_proxy.dialect.vocabulary import End, Event, Failure, Finish, Message, Role, ToolOpen, Unknown
from tests.dialect.wire import INFO, decode, google_reads, ids, payloads, recorded_answer, recordings, stream

PROVIDERS = ("gemini-generateContent", "vertex")


def _is_answer(case: dict[str, Any]) -> bool:
    return "enerateContent" in case["request"]["path"] and case["response"]["status"] == 200


ANSWERS = recordings(_is_answer, *PROVIDERS)
STREAMS = [path for path in ANSWERS if "chunks" in json.loads(path.read_bytes())["response"]]
ERRORS = recordings(lambda case: case["response"]["status"] >= 400, *PROVIDERS)
REQUESTS = recordings(
    lambda case: (
        "enerateContent" in case["request"]["path"] and isinstance(case["request"].get("body"), dict)
    ),
    *PROVIDERS,
)


def name(path: Path) -> str:
    return path.stem[-60:]


def _events(case: dict[str, Any]) -> Any:
    data = recorded_answer(case)
    return decode(ROW, data) if "chunks" in case["response"] else ROW.decode_unary(data, ids())


def _chunks(data: bytes) -> list[Any]:
    if data.lstrip()[:1] in (b"[", b"{"):
        value = json.loads(data)
        return value if isinstance(value, list) else [value]
    return payloads(data)


def _sums(chunks: list[Any]) -> dict[str, Any]:
    """What the SDK reads from an answer's chunks, all of them together."""
    seen: dict[str, Any] = {
        "text": "",
        "thoughts": "",
        "calls": [],
        "signatures": [],
        "others": [],
        "reason": None,
        "usage": None,
    }
    for chunk in chunks:
        answer = google_reads(json.dumps(chunk).encode())
        seen["usage"] = answer.usage_metadata or seen["usage"]
        seen["feedback"] = answer.prompt_feedback
        for candidate in answer.candidates or []:
            seen["reason"] = candidate.finish_reason or seen["reason"]
            for key in (
                "finish_message",
                "grounding_metadata",
                "citation_metadata",
                "url_context_metadata",
                "logprobs_result",
                "avg_logprobs",
            ):
                seen[key] = getattr(candidate, key) or seen.get(key)
            for part in (candidate.content and candidate.content.parts) or []:
                _add(seen, part)
    return seen


def _add(seen: dict[str, Any], part: types.Part) -> None:
    if part.thought_signature:
        seen["signatures"].append(part.thought_signature)
    if part.text is not None:
        seen["thoughts" if part.thought else "text"] += part.text
    elif part.function_call:
        call = part.function_call
        if not call.partial_args and not call.will_continue and call.name:
            seen["calls"].append((call.id, call.name, call.args or {}))
    else:
        seen["others"].append(part)


def _has_numbers(case: dict[str, Any]) -> bool:
    """Answers with numbered enums, on which the SDK fails."""
    return "enum-encoding" in case["request"]["path"]


def _has_pieces(case: dict[str, Any]) -> bool:
    """Calls piece by piece come out whole, so the SDK reads another form of the same."""
    return "partialArgs" in json.dumps(case["response"])


def _has_odd_signature(events: list[Event]) -> bool:
    """Signatures made up by hand, which are no base64 and which the SDK cannot read."""
    return any(isinstance(event, ToolOpen) and len(event.signature or "") % 4 for event in events)


@pytest.mark.parametrize("path", ANSWERS, ids=name)
def test_every_answer_re_encodes_to_what_the_sdk_reads_alike(path: Path) -> None:
    case = json.loads(path.read_bytes())
    events = _events(case)
    assert isinstance(events[-1], End)
    assert any(isinstance(event, Finish) for event in events)
    assert not any(isinstance(event, (Unknown, Failure)) for event in events)
    if _has_odd_signature(events):
        return
    folded = _sums([json.loads(ROW.encoder(INFO).fold(events))])
    assert _sums(_chunks(stream(ROW, events))) == folded
    framing = ArrayFraming()
    assert _sums(_chunks(framing.feed(stream(ROW, events)) + framing.eof())) == folded
    if _has_numbers(case) or _has_pieces(case):
        return
    data = recorded_answer(case)
    chunks = _chunks(data.replace(b"}\ndata: ", b"}\n\ndata: "))
    original = _sums(chunks)
    if original["reason"] is None and original["feedback"] is None:
        folded["reason"] = None
    assert folded == original
    top = google_reads(ROW.encoder(INFO).fold(events))
    first = google_reads(json.dumps(chunks[0]).encode())
    assert (top.response_id or "") in (first.response_id, "req_1")
    assert top.create_time == first.create_time
    assert top.model_version == "asked-model"


@pytest.mark.parametrize("path", STREAMS, ids=name)
def test_every_stream_survives_byte_by_byte(path: Path) -> None:
    data = recorded_answer(json.loads(path.read_bytes()))
    decoder = ROW.decoder(ids())
    # A long stream is fed in pieces of a few bytes, a short one byte by byte.
    size = 1 if len(data) < 20_000 else 61
    events = [
        event for start in range(0, len(data), size) for event in decoder.feed(data[start : start + size])
    ]
    assert events + decoder.eof() == decode(ROW, data)


@pytest.mark.parametrize("path", ERRORS, ids=name)
def test_every_error_keeps_its_message(path: Path) -> None:
    response = json.loads(path.read_bytes())["response"]
    body = recorded_answer({"response": response})
    error = ROW.decode_error(response["status"], response["headers"], body)
    assert error.upstream_status == response["status"]
    assert error.message
    assert error.message[:40] in body.decode()


def _turns(messages: list[Message]) -> list[tuple[Role, list[Any]]]:
    """Neighbours of one role as one turn, which Gemini makes no difference of; made-up ids by position."""
    turns: list[tuple[Role, list[Any]]] = []
    for message in messages:
        if turns and turns[-1][0] is message.role:
            turns[-1][1].extend(message.parts)
        else:
            turns.append((message.role, list(message.parts)))
    numbers: dict[str, str] = {}
    for _, parts in turns:
        for part in parts:
            for key in ("id", "call_id"):
                if (
                    getattr(part, "extra", None)
                    and hasattr(part, key)
                    and part.extra.payload.get("id", "") is None
                ):
                    setattr(part, key, numbers.setdefault(getattr(part, key), str(len(numbers))))
    return turns


@pytest.mark.parametrize("path", REQUESTS, ids=name)
def test_every_request_keeps_its_conversation(path: Path) -> None:
    case = json.loads(path.read_bytes())
    model = case["request"]["path"].split("models/")[-1].split(":")[0]
    call = ROW.decode_request(json.dumps(case["request"]["body"]).encode(), model=model, stream=False)
    encoded = ROW.encode_request(call, Aim(model))
    back = ROW.decode_request(encoded.body, model=model, stream=False)
    assert encoded.dropped == ()
    assert _turns(back.messages) == _turns(call.messages)
    for field in (
        "tool_choice",
        "sampling",
        "max_tokens",
        "stop",
        "choices",
        "modalities",
        "reasoning",
        "safety",
        "extra",
    ):
        assert getattr(back, field) == getattr(call, field), field
    assert [(tool.name, tool.description, tool.hosted) for tool in back.tools] == [
        (tool.name, tool.description, tool.hosted) for tool in call.tools
    ]
