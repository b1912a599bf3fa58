"""Messages streams, made up here."""

from __future__ import annotations

import json
from typing import Any

USAGE = {"input_tokens": 10, "cache_read_input_tokens": 3, "output_tokens": 1}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "asked-model",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": USAGE,
}


def named(kind: str, **members: Any) -> bytes:
    # Real streams have trailing blanks in and behind their objects.
    return f"event: {kind}\ndata: ".encode() + json.dumps({"type": kind} | members).encode() + b"   \n\n"


def start(index: int, **block: Any) -> bytes:
    return named("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **members: Any) -> bytes:
    return named("content_block_delta", index=index, delta={"type": kind} | members)


def stop(index: int) -> bytes:
    return named("content_block_stop", index=index)


def end(reason: str | None = "end_turn", sequence: str | None = None, **usage: Any) -> bytes:
    closing = {"stop_reason": reason, "stop_sequence": sequence}
    return named("message_delta", delta=closing, usage={"output_tokens": 9} | usage) + named("message_stop")


def stream(*blocks: bytes, reason: str | None = "end_turn", **message: Any) -> bytes:
    return named("message_start", message=MESSAGE | message) + named("ping") + b"".join(blocks) + end(reason)


def text(index: int, *pieces: str) -> bytes:
    deltas = b"".join(delta(index, "text_delta", text=piece) for piece in pieces)
    return start(index, type="text", text="") + deltas + stop(index)


def thinking(index: int, *pieces: str, signature: str = "") -> bytes:
    deltas = b"".join(delta(index, "thinking_delta", thinking=piece) for piece in pieces)
    signed = delta(index, "signature_delta", signature=signature) if signature else b""
    return start(index, type="thinking", thinking="", signature="") + deltas + signed + stop(index)


def tool(index: int, call_id: str, name: str, *pieces: str) -> bytes:
    deltas = b"".join(delta(index, "input_json_delta", partial_json=piece) for piece in pieces)
    return start(index, type="tool_use", id=call_id, name=name, input={}) + deltas + stop(index)


SERVER = (
    start(0, type="server_tool_use", id="srv", name="web_search", input={})
    + delta(0, "input_json_delta", partial_json='{"q"')
    + delta(0, "input_json_delta", partial_json=':"x"}')
    + stop(0)
)
RESULT = start(
    1,
    type="web_search_tool_result",
    tool_use_id="srv",
    content=[{"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e"}],
) + stop(1)
CITATION = {
    "type": "web_search_result_location",
    "url": "u",
    "title": "t",
    "cited_text": "q",
    "encrypted_index": "e",
}
CITED = (
    start(0, type="text", text="", citations=[])
    + delta(0, "citations_delta", citation=CITATION)
    + delta(0, "text_delta", text="Hi")
    + stop(0)
)

STREAMS: dict[str, tuple[bytes, list[Any]]] = {
    "text": (stream(text(0, "Hel", "lo")), [("text", "Hello", 0, 0)]),
    "thinking and text": (
        stream(thinking(0, "H", "mm", signature="s=="), text(1, "Hello")),
        [("think", "Hmm", 0, 0), ("signature", "s==", "anthropic", 0, False), ("text", "Hello", 1, 0)],
    ),
    "a signature alone": (
        stream(thinking(0, signature="s=="), text(1, "a")),
        [("signature", "s==", "anthropic", 0, False), ("text", "a", 1, 0)],
    ),
    "redacted thinking": (
        stream(start(0, type="redacted_thinking", data="d==") + stop(0), text(1, "a")),
        [("signature", "d==", "anthropic", 0, True), ("text", "a", 1, 0)],
    ),
    "parallel tools": (
        stream(
            text(0, "a"),
            tool(1, "t1", "f", "", '{"a"', ":1}"),
            tool(2, "t2", "g", '{"b":2}'),
            reason="tool_use",
        ),
        [
            ("text", "a", 0, 0),
            ("tool", "t1", "f", 1),
            ("args", '{"a":1}', 1),
            ("tool", "t2", "g", 2),
            ("args", '{"b":2}', 2),
        ],
    ),
    "a tool without arguments": (
        stream(tool(0, "t1", "f", ""), text(1, "Hi"), reason="tool_use"),
        [("tool", "t1", "f", 0), ("args", "{}", 0), ("text", "Hi", 1, 0)],
    ),
    "a server tool": (
        stream(SERVER, RESULT, text(2, "Hi")),
        [("opaque", "server_tool_use", 0), ("opaque", "web_search_tool_result", 1), ("text", "Hi", 2, 0)],
    ),
    "citations": (stream(CITED), [("annotation", "u", 0), ("text", "Hi", 0, 0)]),
    "texts in a row": (stream(text(0, "a"), text(1, "b")), [("text", "a", 0, 0), ("text", "b", 1, 0)]),
    "an empty text": (stream(text(0)), [("text", "", 0, 0)]),
    "nothing": (stream(), []),
}
