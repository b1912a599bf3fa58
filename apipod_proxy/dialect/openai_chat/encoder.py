"""Events → Chat answers. A stream is written from byte templates; a unary answer is folded from the same events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from apipod_proxy.dialect import AnswerInfo
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.openai_chat.errors import failure_body
from apipod_proxy.dialect.openai_chat.fold import fold
from apipod_proxy.dialect.openai_chat.names import NAME
from apipod_proxy.dialect.openai_chat.wire import (
    annotation,
    created_at,
    finish_word,
    is_legacy,
    media_delta,
    own,
    signature_detail,
    tool_call,
)
from apipod_proxy.dialect.usage import to_chat
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
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Usage,
    UsageReport,
)

Object = dict[str, Any]

DONE = b"data: [DONE]\n\n"
_HEAD = frozenset(("system_fingerprint", "service_tier", "provider"))
"""Members that each chunk repeats; others stand in the first chunk alone."""
_dumps = orjson.dumps
_UNKNOWN = Usage()


class _Tool:
    __slots__ = ("custom", "index", "legacy", "written")

    def __init__(self, index: int, custom: bool, legacy: bool) -> None:
        self.index = index
        self.custom = custom
        self.legacy = legacy
        self.written = False


class _Choice:
    __slots__ = ("details", "finished", "numbers", "thoughts", "tools")

    def __init__(self) -> None:
        self.tools: dict[int, _Tool] = {}
        self.thoughts: dict[int, list[str]] = {}
        """The text of each thinking block, since its signature is shown together with it."""
        self.details = 0
        self.numbers: dict[int, int] = {}
        """The place of each thinking block among the details, where its pieces are told as such."""
        self.finished = False


class Encoder:
    """One answer to one client."""

    __slots__ = (
        "_choices",
        "_detailed",
        "_head",
        "_info",
        "_more",
        "_tail",
        "_text",
        "_text_end",
        "_usage",
        "dropped",
    )

    def __init__(self, info: AnswerInfo) -> None:
        self._info = info
        self._choices: dict[int, _Choice] = {}
        self._detailed = info.call is not None and info.call.detailed
        self._usage = Usage()
        self.dropped = Dropped()
        self._more: Object = {}
        # A client that asked for usage gets the member on every chunk.
        self._tail = b',"usage":null}\n\n' if info.include_usage else b"}\n\n"
        self._head = self._text = self._text_end = b""
        self._begin(Start())

    def send(self, event: Event) -> bytes:
        """The bytes that ``event`` adds to the stream."""
        if (
            isinstance(event, TextDelta)
            and event.choice == 0
            and event.signature is None
            and 0 in self._choices
        ):
            return b"%b%b%b" % (self._text, _dumps(event.text), self._text_end) if event.text else b""
        writer = _WRITERS.get(type(event))
        return b"" if writer is None else writer(self, event)

    def fold(self, events: Sequence[Event]) -> bytes:
        """The whole answer as the body of a unary response."""
        return fold(events, self._info, self.dropped)

    def _begin(self, start: Start) -> None:
        info = self._info
        head: Object = {
            "id": start.id or f"chatcmpl-{info.request_id}",
            "object": "chat.completion.chunk",
            "created": created_at(start.created, info.created),
            "model": info.model,
        }
        extra = own(start.extra)
        head |= {name: extra[name] for name in _HEAD & extra.keys()}
        self._more = {name: value for name, value in extra.items() if name not in _HEAD}
        self._head = b"data: " + _dumps(head)[:-1]
        self._text = self._head + b',"choices":[{"index":0,"delta":{"content":'
        self._text_end = b'},"finish_reason":null}]' + self._tail

    def _start(self, event: Start) -> bytes:
        self._begin(event)
        if event.usage is not None:
            self._usage = self._usage.merged(event.usage)
        return self._role(0)

    def _role(self, index: int) -> bytes:
        """The first chunk of a choice."""
        if index in self._choices:
            return b""
        self._choices[index] = _Choice()
        more = b"," + _dumps(self._more)[1:-1] if self._more else b""
        self._more = {}
        delta = b'{"role":"assistant","content":""}'
        return b'%b%b,"choices":[{"index":%d,"delta":%b,"finish_reason":null}]%b' % (
            self._head,
            more,
            index,
            delta,
            self._tail,
        )

    def _delta(self, index: int, delta: bytes) -> bytes:
        """A chunk with one delta."""
        first = b"" if index in self._choices else self._role(index)
        return b'%b%b,"choices":[{"index":%d,"delta":{%b},"finish_reason":null}]%b' % (
            first,
            self._head,
            index,
            delta,
            self._tail,
        )

    def _write_text(self, event: TextDelta) -> bytes:
        out = self._delta(event.choice, b'"content":' + _dumps(event.text)) if event.text else b""
        if event.signature is not None:
            out += self._text_signature(event)
        return out

    def _text_signature(self, event: TextDelta) -> bytes:
        if event.signed_by != "gemini":
            self.dropped.add("thinking.signature")
            return b""
        extra = {"google": {"thought_signature": event.signature}}
        return self._delta(event.choice, b'"extra_content":' + _dumps(extra))

    def _refusal(self, event: RefusalDelta) -> bytes:
        return self._delta(event.choice, b'"refusal":' + _dumps(event.text))

    def _thinking(self, event: ThinkingDelta) -> bytes:
        out = b"" if event.choice in self._choices else self._role(event.choice)
        extra = event.extra.payload if event.extra is not None and event.extra.dialect == NAME else None
        if extra is None and self._detailed:
            return out + self._detail(event) if event.text else out
        if extra is None:
            thoughts = self._choices[event.choice].thoughts
            thoughts.setdefault(event.block, []).append(event.text)
            return (
                out + self._delta(event.choice, b'"reasoning_content":' + _dumps(event.text))
                if event.text
                else out
            )
        delta = {extra.get("field", "reasoning_content"): event.text}
        if "details" in extra:
            delta["reasoning_details"] = extra["details"]
        return out + self._delta(event.choice, _dumps(delta)[1:-1])

    def _detail(self, event: ThinkingDelta) -> bytes:
        choice = self._choices[event.choice]
        if event.block not in choice.numbers:
            choice.numbers[event.block] = choice.details
            choice.details += 1
        detail = {"type": "reasoning.text", "text": event.text, "index": choice.numbers[event.block]}
        return self._delta(
            event.choice, _dumps({"reasoning": event.text, "reasoning_details": [detail]})[1:-1]
        )

    def _signature(self, event: SignatureDelta) -> bytes:
        """A signature and the text that it signs, in one detail of OpenRouter's form, so that it can come back on the next turn."""
        out = b"" if event.choice in self._choices else self._role(event.choice)
        if event.extra is not None and event.extra.dialect == NAME:
            details = event.extra.payload.get("details")
            return (
                out + self._delta(event.choice, b'"reasoning_details":' + _dumps(details)) if details else out
            )
        choice = self._choices[event.choice]
        number = choice.numbers.get(event.block)
        if number is not None and not event.redacted:
            # Its text was told already.
            detail = signature_detail(event, "", number)
        else:
            detail = signature_detail(event, "".join(choice.thoughts.pop(event.block, ())), choice.details)
            choice.details += 1
        return out + self._delta(event.choice, b'"reasoning_details":' + _dumps([detail]))

    def _tool(self, event: ToolOpen) -> bytes:
        out = b"" if event.choice in self._choices else self._role(event.choice)
        tools = self._choices[event.choice].tools
        tool = tools[event.block] = _Tool(len(tools), event.custom, is_legacy(event))
        if tool.legacy:
            delta = b'"function_call":' + _dumps({"name": event.name, "arguments": ""})
        else:
            delta = b'"tool_calls":[' + _dumps(tool_call(event, tool.index, "")) + b"]"
        if event.signature is not None and event.signed_by != "gemini":
            self.dropped.add("thinking.signature")
        return out + self._delta(event.choice, delta)

    def _args(self, event: ToolArgs) -> bytes:
        tool = self._choices[event.choice].tools.get(event.block) if event.choice in self._choices else None
        if tool is None or not event.fragment:
            return b""
        tool.written = True
        return self._delta(event.choice, _fragment(tool, event.fragment))

    def _media(self, event: MediaDelta) -> bytes:
        delta = media_delta(event)
        if delta is None:
            self.dropped.add(event.media.kind)
            return b""
        return self._delta(event.choice, _dumps(delta)[1:-1])

    def _annotation(self, event: Annotation) -> bytes:
        note = annotation(event)
        if note is None:
            self.dropped.add("citations")
            return b""
        return self._delta(event.choice, b'"annotations":[' + _dumps(note) + b"]")

    def _logprobs(self, event: Logprobs) -> bytes:
        first = b"" if event.choice in self._choices else self._role(event.choice)
        return b'%b%b,"choices":[{"index":%d,"delta":{},"logprobs":%b,"finish_reason":null}]%b' % (
            first,
            self._head,
            event.choice,
            _dumps(event.payload),
            self._tail,
        )

    def _opaque(self, event: OpaqueBlock) -> bytes:
        self.dropped.add(event.payload.what)
        return b""

    def _finish(self, event: Finish) -> bytes:
        out = b"" if event.choice in self._choices else self._role(event.choice)
        choice = self._choices[event.choice]
        if choice.finished:
            return out
        choice.finished = True
        for tool in choice.tools.values():
            if not tool.written and not tool.custom:
                # Clients parse the arguments; those of a call without any are an empty object.
                out += self._delta(event.choice, _fragment(tool, "{}"))
        word = finish_word(event, any(tool.legacy for tool in choice.tools.values()))
        last: Object = {"index": event.choice, "delta": {}, "finish_reason": word} | own(event.extra)
        return out + b'%b,"choices":[%b]%b' % (self._head, _dumps(last), self._tail)

    def _report(self, event: UsageReport) -> bytes:
        self._usage = self._usage.merged(event.usage)
        return b""

    def _end(self, event: End) -> bytes:
        out = b"".join(
            self._finish(Finish(StopReason.STOP, index))
            for index, choice in list(self._choices.items())
            if not choice.finished
        )
        if self._info.include_usage and self._usage != _UNKNOWN:
            out += b'%b,"choices":[],"usage":%b}\n\n' % (self._head, _dumps(to_chat(self._usage)))
        return out + DONE

    def _failure(self, event: Failure) -> bytes:
        return b"data: " + failure_body(event) + b"\n\n"


def _fragment(tool: _Tool, text: str) -> bytes:
    if tool.legacy:
        return b'"function_call":{"arguments":' + _dumps(text) + b"}"
    if tool.custom:
        return b'"tool_calls":[{"index":%d,"custom":{"input":%b}}]' % (tool.index, _dumps(text))
    return b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (tool.index, _dumps(text))


_WRITERS: dict[type, Any] = {
    TextDelta: Encoder._write_text,
    Start: Encoder._start,
    RefusalDelta: Encoder._refusal,
    ThinkingDelta: Encoder._thinking,
    SignatureDelta: Encoder._signature,
    ToolOpen: Encoder._tool,
    ToolArgs: Encoder._args,
    MediaDelta: Encoder._media,
    Annotation: Encoder._annotation,
    Logprobs: Encoder._logprobs,
    OpaqueBlock: Encoder._opaque,
    Finish: Encoder._finish,
    UsageReport: Encoder._report,
    End: Encoder._end,
    Failure: Encoder._failure,
}
