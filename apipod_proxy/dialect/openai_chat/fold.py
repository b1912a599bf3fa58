"""Events → the body of a unary Chat answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from apipod_proxy.dialect import AnswerInfo, ProtocolError
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.openai_chat import wire
from apipod_proxy.dialect.openai_chat.names import NAME
from apipod_proxy.dialect.usage import to_chat
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    Event,
    Failure,
    Finish,
    Logprobs,
    MediaDelta,
    OpaqueBlock,
    RefusalDelta,
    SignatureDelta,
    Start,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Usage,
    UsageReport,
)

Object = dict[str, Any]


class _Message:
    """One choice as it grows."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.thoughts: list[str] = []
        self.field = "reasoning_content"
        self.blocks: dict[int, list[str]] = {}
        self.details: list[Any] = []
        self.calls: dict[int, tuple[ToolOpen, list[str]]] = {}
        self.more: Object = {}
        self.logprobs: Object = {}
        self.finish: Finish | None = None

    def choice(self, index: int) -> Object:
        """The member of ``choices``."""
        refusal = "".join(self.refusal) or None
        text = "".join(self.text)
        message: Object = {
            "role": "assistant",
            "content": text if text or not (self.calls or refusal) else None,
            "refusal": refusal,
        }
        if self.thoughts:
            message[self.field] = "".join(self.thoughts)
        if self.details:
            message["reasoning_details"] = self.details
        calls = []
        for event, pieces in self.calls.values():
            arguments = "".join(pieces) or ("" if event.custom else "{}")
            if wire.is_legacy(event):
                message["function_call"] = {"name": event.name, "arguments": arguments}
                continue
            call = wire.tool_call(event, 0, arguments)
            del call["index"]
            calls.append(call)
        if calls:
            message["tool_calls"] = calls
        finish = self.finish or Finish(StopReason.STOP)
        return {
            "index": index,
            "message": message | self.more,
            "logprobs": self.logprobs or None,
            "finish_reason": wire.finish_word(finish, "function_call" in message),
        } | wire.own(finish.extra)


def fold(events: Sequence[Event], info: AnswerInfo, dropped: Dropped) -> bytes:
    """The body. ProtocolError where the events hold a failure, which is no answer."""
    body: Object = {
        "id": f"chatcmpl-{info.request_id}",
        "object": "chat.completion",
        "created": info.created,
        "model": info.model,
        "choices": [],
    }
    usage = Usage()
    messages: dict[int, _Message] = {}
    for event in events:
        if isinstance(event, Start):
            body["id"] = event.id or body["id"]
            body["created"] = wire.created_at(event.created, info.created)
            body |= wire.own(event.extra)
            usage = usage if event.usage is None else usage.merged(event.usage)
        elif isinstance(event, UsageReport):
            usage = usage.merged(event.usage)
        elif isinstance(event, Failure):
            raise ProtocolError(event.message)
        else:
            index = getattr(event, "choice", None)
            if index is not None:
                _add(messages.setdefault(index, _Message()), event, dropped)
    if info.call is not None and info.call.detailed:
        for message in messages.values():
            message.field = "reasoning"
    body["choices"] = [messages[index].choice(index) for index in sorted(messages)]
    if usage != Usage():
        body["usage"] = to_chat(usage)
    return orjson.dumps(body)


def _add(message: _Message, event: Event, dropped: Dropped) -> None:
    if isinstance(event, TextDelta):
        message.text.append(event.text)
        if event.signature is not None and event.signed_by == "gemini":
            message.more["extra_content"] = {"google": {"thought_signature": event.signature}}
        elif event.signature is not None:
            dropped.add("thinking.signature")
    elif isinstance(event, ThinkingDelta):
        _think(message, event)
    elif isinstance(event, SignatureDelta):
        extra = event.extra if event.extra is not None and event.extra.dialect == NAME else None
        if extra is not None:
            message.details += extra.payload.get("details", [])
        else:
            text = "".join(message.blocks.pop(event.block, ()))
            message.details.append(wire.signature_detail(event, text, len(message.details)))
    elif isinstance(event, ToolOpen):
        message.calls[event.block] = (event, [])
    elif isinstance(event, ToolArgs):
        if event.block in message.calls:
            message.calls[event.block][1].append(event.fragment)
    elif isinstance(event, RefusalDelta):
        message.refusal.append(event.text)
    elif isinstance(event, Finish):
        message.finish = message.finish or event
    elif isinstance(event, Logprobs):
        for name, value in event.payload.items():
            known = message.logprobs.get(name)
            message.logprobs[name] = (
                known + value if isinstance(known, list) and isinstance(value, list) else value
            )
    else:
        _add_more(message, event, dropped)


def _think(message: _Message, event: ThinkingDelta) -> None:
    message.thoughts.append(event.text)
    extra = wire.own(event.extra)
    message.field = extra.get("field", message.field)
    message.details += extra.get("details", [])
    if not extra:
        message.blocks.setdefault(event.block, []).append(event.text)


def _add_more(message: _Message, event: Event, dropped: Dropped) -> None:
    if isinstance(event, MediaDelta):
        delta = wire.media_delta(event)
        if delta is None:
            dropped.add(event.media.kind)
        elif "images" in delta:
            message.more.setdefault("images", []).extend(delta["images"])
        else:
            message.more |= delta
    elif isinstance(event, Annotation):
        note = wire.annotation(event)
        if note is None:
            dropped.add("citations")
        else:
            message.more.setdefault("annotations", []).append(note)
    elif isinstance(event, OpaqueBlock):
        dropped.add(event.payload.what)
