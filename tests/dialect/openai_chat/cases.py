"""Chat answers as their providers write them, made up here; the accents are real."""

from __future__ import annotations

import json
from typing import Any

from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Failure,
    Finish,
    Logprobs,
    MediaDelta,
    OpaqueBlock,
    RefusalDelta,
    SignatureDelta,
    Start,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Unknown,
    UsageReport,
)

USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def data(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, *, index: int = 0, **more: Any) -> dict[str, Any]:
    choices = [{"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}]
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "asked-model",
        "choices": choices,
    } | more


def tool(
    index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = None
) -> dict[str, Any]:
    """A piece of a tool call, with only what is given."""
    function = {"name": name, "arguments": arguments}
    call = {
        "index": index,
        "id": call_id,
        "function": {key: value for key, value in function.items() if value is not None},
    }
    return {"tool_calls": [{key: value for key, value in call.items() if value is not None}]}


DONE = b"data: [DONE]\n\n"


def stream(*chunks: Any, done: bool = True) -> bytes:
    return b"".join(item if isinstance(item, bytes) else data(item) for item in chunks) + (
        DONE if done else b""
    )


def brief(events: list[Event]) -> list[Any]:
    """The events in short, neighbouring pieces of one block joined."""
    out: list[Any] = []
    for event in events:
        item = _brief(event)
        if (
            item is not None
            and out
            and item[0] in ("text", "think", "args")
            and out[-1][:1] + out[-1][2:] == item[:1] + item[2:]
        ):
            out[-1] = (item[0], out[-1][1] + item[1], *item[2:])
        elif item is not None:
            out.append(item)
    return out


def _brief(event: Event) -> Any:
    if isinstance(event, Start):
        return ("start", event.id, event.model)
    if isinstance(event, TextDelta):
        return ("text", event.text, event.block, event.choice) + (
            (event.signature,) if event.signature else ()
        )
    if isinstance(event, ThinkingDelta):
        return ("think", event.text, event.block, event.choice)
    if isinstance(event, SignatureDelta):
        return ("signature", event.signature, event.signed_by, event.block, event.redacted)
    if isinstance(event, ToolOpen):
        return ("tool", event.id, event.name, event.block) + ((event.signature,) if event.signature else ())
    if isinstance(event, ToolArgs):
        return ("args", event.fragment, event.block)
    return _brief_rest(event)


def _brief_rest(event: Event) -> Any:
    if isinstance(event, RefusalDelta):
        return ("refusal", event.text, event.block)
    if isinstance(event, Finish):
        return ("finish", event.reason.value, event.choice) + (
            (event.stop_sequence,) if event.stop_sequence else ()
        )
    if isinstance(event, UsageReport):
        return ("usage", *event.usage[:5])
    if isinstance(event, Failure):
        return ("failure", event.message, event.status)
    if isinstance(event, MediaDelta):
        return ("media", event.media.kind, event.block)
    if isinstance(event, Annotation):
        return ("annotation", event.url, event.block)
    if isinstance(event, OpaqueBlock):
        return ("opaque", event.payload.what, event.block)
    if isinstance(event, Logprobs):
        return ("logprobs", event.payload)
    if isinstance(event, Unknown):
        return ("unknown", event.raw)
    return ("end",) if isinstance(event, End) else None


CHUNKS_THAT_COME_BACK = (
    stream(
        chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop"), chunk(choices=[], usage=USAGE)
    ),
    stream(
        chunk({"reasoning": "Hmm", "reasoning_details": [{"type": "reasoning.text", "text": "Hmm"}]}),
        chunk({"content": "a"}, "stop"),
    ),
    stream(chunk({"reasoning": "Hmm"}), chunk({"content": "a"}, "stop")),
    stream(
        chunk(tool(0, "t1", "f", '{"a"')),
        chunk(tool(1, "t2", "g", "{}")),
        chunk(tool(0, None, None, ":1}"), "tool_calls"),
    ),
    stream(chunk({"refusal": "No"}), chunk({}, "content_filter")),
    stream(chunk({"audio": {"id": "a", "data": "QUJD"}}), chunk({}, "length")),
    stream(
        chunk({"content": "a"}),
        chunk({"annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}, "stop"),
    ),
    stream(
        chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "id": "rs"}]}),
        chunk({"content": "a"}, "stop"),
    ),
)
