"""Every provider as it looks from outside, as data: its paths, its key, what it refuses, and the accent of its answers.

All of them say "Hello" and count 7 tokens in and 3 out. ``accent`` marks an answer: a client sees it only where the answer was spliced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

Json = dict[str, Any]
CHAT, MESSAGES, GEMINI, RESPONSES = "openai_chat", "anthropic", "gemini", "openai_responses"
ACCENT = "accent"


@dataclass(frozen=True)
class Voice:
    """One dialect of one provider. ``stream`` is the whole body; ``path`` holds ``{model}`` where the provider wants it there."""

    path: str
    stream: bytes
    whole: bytes
    stream_path: str = ""
    forbidden: frozenset[str] = frozenset()
    """Top-level members that are refused."""
    roles: frozenset[str] = frozenset({"system", "developer", "user", "assistant"})


@dataclass(frozen=True)
class Refusal:
    status: int
    body: bytes
    words: str
    """What of it a client may be told, if it may be told anything."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fake:
    """``bases``: base URLs that must both work. ``auth``: the header of the key and what stands before it, None where there is none."""

    bases: tuple[str, str]
    voices: Mapping[str, Voice]
    bad_key: Refusal
    limited: Refusal
    refused: Refusal
    auth: tuple[str, str] | None = ("authorization", "Bearer ")
    needs: tuple[str, ...] = ()
    """Headers that have to be there."""
    options: Mapping[str, str] = field(default_factory=dict)


# Chat Completions


def sse(*events: Json | str, done: bool = True, line: str = "\n") -> bytes:
    """Texts are comments."""
    lines = [
        f": {event}{line}{line}"
        if isinstance(event, str)
        else f"data: {orjson.dumps(event).decode()}{line}{line}"
        for event in events
    ]
    return "".join([*lines, f"data: [DONE]{line}{line}" if done else ""]).encode()


def usage(**more: Any) -> Json:
    return {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, **more}


def part(finish: str | None = None, *, more: Json | None = None, **delta: Any) -> Json:
    """One chunk; ``more`` goes to its top level."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "up",
        ACCENT: 1,
        "choices": [choice],
    } | (more or {})


def counted(**more: Any) -> Json:
    """The chunk that holds nothing but the usage."""
    return part(more={"choices": [], "usage": usage(**more)})


HELLO = (part(role="assistant", content=""), part(content="Hel"), part(content="lo"))
PLAIN = sse(*HELLO, part("stop"), counted())


def completion(**message: Any) -> bytes:
    return orjson.dumps(
        {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "up",
            ACCENT: 1,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Hello", **message},
                    "finish_reason": "stop",
                }
            ],
            "usage": usage(),
        }
    )


def chat(
    path: str = "/v1/chat/completions",
    stream: bytes = PLAIN,
    whole: bytes | None = None,
    *forbidden: str,
    developer: bool = False,
) -> Voice:
    """Without ``developer`` that role is refused."""
    roles = frozenset({"system", "user", "assistant"} | ({"developer"} if developer else set()))
    return Voice(path, stream, whole or completion(), forbidden=frozenset(forbidden), roles=roles)


# Messages


def named(*events: Json, pad: str = "") -> bytes:
    """``pad`` stands behind each object, as Anthropic sends it."""
    return "".join(
        f"event: {event['type']}\ndata: {orjson.dumps(event).decode()}{pad}\n\n" for event in events
    ).encode()


def said(**more: Any) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "up",
        ACCENT: 1,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 1},
        **more,
    }


def text_delta(text: str) -> Json:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


SPOKEN = (
    {"type": "message_start", "message": said()},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    text_delta("Hel"),
    text_delta("lo"),
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
)


def messages(path: str = "/v1/messages", pad: str = "") -> Voice:
    whole = said(
        content=[{"type": "text", "text": "Hello"}],
        stop_reason="end_turn",
        usage={"input_tokens": 7, "output_tokens": 3},
    )
    return Voice(path, named(*SPOKEN, pad=pad), orjson.dumps(whole))


# Gemini


def generated(text: str, finish: str | None = None, **more: Any) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    counts = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "up", ACCENT: 1, **more}


def gemini() -> Voice:
    return Voice(
        "/v1beta/models/{model}:generateContent",
        sse(generated("Hel"), generated("lo"), generated("", "STOP"), done=False, line="\r\n"),
        orjson.dumps(generated("Hello", "STOP")),
        stream_path="/v1beta/models/{model}:streamGenerateContent?alt=sse",
    )


# Responses


def response(status: str, output: list[Json]) -> Json:
    return {
        "id": "resp_up",
        "object": "response",
        "created_at": 1,
        "model": "up",
        ACCENT: 1,
        "status": status,
        "output": output,
        "usage": None
        if status == "in_progress"
        else {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    }


def responses(path: str = "/v1/responses", *, names: bool = True) -> Voice:
    """Without ``names`` there are no ``event:`` lines, and ``[DONE]`` ends the stream."""
    text = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begun = {**item, "status": "in_progress", "content": []}
    events: list[Json] = [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **place, "part": {**text, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "Hello"},
        {"type": "response.output_text.done", **place, "text": "Hello"},
        {"type": "response.content_part.done", **place, "part": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response("completed", [item])},
    ]
    events = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    stream = named(*events) if names else sse("OPENROUTER PROCESSING", *events)
    return Voice(path, stream, orjson.dumps(response("completed", [item])))


# Errors


def refusal(status: int, body: Json | list[Json], words: str, **headers: str) -> Refusal:
    return Refusal(
        status, orjson.dumps(body), words, {name.replace("_", "-"): value for name, value in headers.items()}
    )


def nested(status: int, words: str, kind: str, code: Any = None, **headers: str) -> Refusal:
    """OpenAI's form."""
    return refusal(
        status,
        {"error": {"message": words, "type": kind, "param": None, "code": code}},
        words,
        **headers,
    )
