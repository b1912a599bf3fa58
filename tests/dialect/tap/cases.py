"""One stream of each dialect, in which things stand that look like what a tap looks for."""

from __future__ import annotations

import json
from typing import Any

UP = "up-model"


def data(value: Any, separators: tuple[str, str] = (",", ":")) -> bytes:
    return b"data: " + json.dumps(value, separators=separators).encode() + b"\n\n"


def named(value: Any) -> bytes:
    return f"event: {value['type']}\n".encode() + data(value)


def chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": UP,
        "choices": [choice],
        "usage": None,
    } | more


CHAT = [
    data(chunk({"role": "assistant", "content": ""})),
    data(chunk({"content": "Hel"})),
    data(chunk({"content": 'lo "model":"up-model" \\ "usage":{'})),
    data(chunk({"content": "!"})),
    data(chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"model":"up-model"}'}}]})),
    data(chunk({}, extra={"model": UP})),
    data(chunk({}, "stop")),
    data(chunk({}, choices=[], usage={"prompt_tokens": 5, "completion_tokens": 7})),
    b"data: [DONE]\n\n",
]
MESSAGES = [
    named(
        {
            "type": "message_start",
            "message": {"id": "m", "model": UP, "usage": {"input_tokens": 3, "output_tokens": 1}},
        }
    ),
    named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    b": comment\n\n",
    named(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "message_start model error"},
        }
    ),
    named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "plain"}}),
    named({"type": "content_block_stop", "index": 0}),
    named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
    named({"type": "message_stop"}),
]


def part(text: str, **more: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}]}, "index": 0} | more
    usage = {"promptTokenCount": 4, "candidatesTokenCount": len(text)}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": UP, "responseId": "r"}


GEMINI = [
    data(part("a")),
    data(part("bb")),
    data(part('"modelVersion":"up-model"')),
    data(part("ccc", content={"parts": [{"functionCall": {"name": "f", "args": {"modelVersion": UP}}}]})),
    data(part("cc", finishReason="STOP")),
]
RESPONSES = [
    named({"type": "response.created", "response": {"id": "r", "model": UP, "usage": None}}),
    named({"type": "response.output_item.added", "item": {"type": "message", "model": UP}}),
    named({"type": "response.output_text.delta", "delta": "response.completed"}),
    named({"type": "response.output_text.delta", "delta": "x"}),
    named(
        {
            "type": "response.completed",
            "response": {"id": "r", "model": UP, "usage": {"input_tokens": 2, "output_tokens": 3}},
        }
    ),
]
CASES = {
    "openai_chat": (CHAT, ("model",), (5, 7)),
    "anthropic": (MESSAGES, ("message", "model"), (3, 9)),
    "gemini": (GEMINI, ("modelVersion",), (4, 2)),
    "openai_responses": (RESPONSES, ("response", "model"), (2, 3)),
}
