"""Events → Messages answers. Blocks are this encoder's to derive: they start and stop in order, one open at a time.

Fragments of a tool call that come while another call is open wait until that one is complete. So does what else comes between the fragments of
a call, as some servers send blanks and reasoning there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from apipod_proxy.dialect import AnswerInfo, ProtocolError, custom_tools, lenient
from apipod_proxy.dialect.anthropic.errors import failure_body
from apipod_proxy.dialect.anthropic.names import NAME, WORDS
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.shapes import is_whole
from apipod_proxy.dialect.signatures import CALL, wrap_foreign
from apipod_proxy.dialect.usage import to_messages
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Failure,
    Finish,
    Heartbeat,
    Json,
    Logprobs,
    MediaDelta,
    Opaque,
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

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
_BETWEEN = frozenset(
    (TextDelta, RefusalDelta, ThinkingDelta, SignatureDelta, Annotation, MediaDelta, OpaqueBlock)
)
"""What ends the tool calls before it, as soon as they are complete."""
_STREAMED_INPUT = frozenset(("server_tool_use", "mcp_tool_use"))
_dumps = orjson.dumps


class _Tool:
    """A tool call. ``waiting``: what came of it while another one was open."""

    __slots__ = ("event", "pieces", "waiting")

    def __init__(self, event: ToolOpen) -> None:
        self.event = event
        self.pieces: list[str] = []
        self.waiting: list[str] = []

    @property
    def complete(self) -> bool:
        """Whether the arguments so far are a whole value."""
        return is_whole(self.pieces)

    @property
    def over(self) -> bool:
        """Whether nothing more of it is waited for; of free text nobody can say where it ends."""
        return self.event.custom or is_whole(self.pieces or self.waiting)


class Encoder:
    """One answer to one client."""

    __slots__ = (
        "_begun",
        "_finish",
        "_held",
        "_index",
        "_info",
        "_kind",
        "_open",
        "_queue",
        "_refused",
        "_signed",
        "_tool",
        "_tools",
        "_usage",
        "dropped",
    )

    def __init__(self, info: AnswerInfo) -> None:
        self._info = info
        self.dropped = Dropped()
        self._begun = False
        self._index = -1
        """The index of the last block begun."""
        self._open = -1
        """The event block that is open, -1 for none. ``_kind``: what it is."""
        self._kind = ""
        self._signed = False
        self._tool: _Tool | None = None
        self._tools: dict[int, _Tool] = {}
        self._queue: list[_Tool] = []
        self._held: list[Event] = []
        """What came between the fragments of calls."""
        self._refused = False
        self._finish: Finish | None = None
        self._usage = Usage()

    def send(self, event: Event) -> bytes:
        """The bytes that ``event`` adds to the stream."""
        if (
            isinstance(event, TextDelta)
            and event.block == self._open
            and self._kind == "text"
            and event.choice == 0
        ):
            if event.signature is not None:
                self.dropped.add("thinking.signature")
            return self._delta("text_delta", "text", event.text) if event.text else b""
        writer = _WRITERS.get(type(event))
        if writer is None:
            return b""
        if getattr(event, "choice", 0):
            # Messages has one choice.
            self.dropped.add("n")
            return b""
        if self._tool is not None and type(event) in _BETWEEN and not self._calls_over():
            self._held.append(event)
            return b""
        return writer(self, event)

    def fold(self, events: Sequence[Event]) -> bytes:
        """The whole answer as the body of a unary response."""
        folding = FoldingEncoder(self._info, self.dropped)
        return folding.run(events)

    # What goes on the wire; a folding encoder collects it instead

    def _out(self, kind: str, payload: Object) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), lenient.dumps({"type": kind} | payload))

    def _delta(self, kind: str, field: str, value: str) -> bytes:
        return _DELTA % (self._index, kind.encode(), field.encode(), _dumps(value))

    def _stop(self) -> bytes:
        return _STOP % self._index

    # The message

    def _begin(self, start: Start) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        if start.usage is not None:
            self._usage = self._usage.merged(start.usage)
        message: Object = {
            "id": start.id or f"msg_{self._info.request_id}",
            "type": "message",
            "role": "assistant",
            "model": self._info.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": to_messages(self._usage),
        }
        return self._out("message_start", {"message": message | _own(start.extra)})

    def _report(self, event: UsageReport) -> bytes:
        self._usage = self._usage.merged(event.usage)
        return b""

    def _note_finish(self, event: Finish) -> bytes:
        self._finish = self._finish or event
        return b""

    def _end(self, event: End) -> bytes:
        """Usage may come after the finish reason, so both go out here."""
        out = self._begin(Start()) + self._close_all()
        out += self._release() + self._close_all()
        finish = self._finish or Finish(StopReason.STOP)
        reason = finish.reason
        if self._tools and reason in (StopReason.STOP, StopReason.OTHER):
            reason = StopReason.TOOL_USE
        elif self._refused and reason is StopReason.STOP:
            reason = StopReason.REFUSAL
        extra = dict(_own(finish.extra))
        late = (
            {"context_management": extra.pop("context_management")} if "context_management" in extra else {}
        )
        delta: Object = {"stop_reason": WORDS[reason], "stop_sequence": finish.stop_sequence} | extra
        out += self._out("message_delta", {"delta": delta, "usage": to_messages(self._usage)} | late)
        return out + self._out("message_stop", {})

    def _failure(self, event: Failure) -> bytes:
        return b"event: error\ndata: " + failure_body(event, self._info.request_id) + b"\n\n"

    def _heartbeat(self, event: Heartbeat) -> bytes:
        return PING if self._begun else b""

    # Blocks

    def _start_block(self, block: int, kind: str, content: Object) -> bytes:
        """Begin a block; the open one is closed. The first one begins the message too, where nothing else did."""
        out = self._begin(Start()) + self._close()
        self._index += 1
        self._open = block
        self._kind = kind
        self._signed = False
        return out + self._out("content_block_start", {"index": self._index, "content_block": content})

    def _close(self) -> bytes:
        if self._open < 0:
            return b""
        out = b""
        tool = self._tool
        if tool is not None and tool.event.custom:
            # A client of this dialect knows no free text: it gets the object that a function would.
            out = self._delta(
                "input_json_delta", "partial_json", custom_tools.to_arguments("".join(tool.pieces))
            )
        self._tool = None
        self._open = -1
        self._kind = ""
        return out + self._stop()

    def _close_all(self) -> bytes:
        """Close what is open, and let the calls that waited have their turn."""
        out = self._close()
        while self._queue:
            out += self._open_tool(self._queue.pop(0)) + self._close()
        return out

    def _run_of(self, block: int, kind: str, content: Object) -> bytes:
        """Be in the block, which is begun where it is not open."""
        if self._open == block and self._kind == kind:
            return b""
        return self._close_all() + self._start_block(block, kind, content)

    def _text(self, event: TextDelta) -> bytes:
        if event.signature is not None:
            self.dropped.add("thinking.signature")
        if not event.text and event.signature is not None:
            return b""
        out = self._run_of(event.block, "text", {"type": "text", "text": ""})
        return out + self._delta("text_delta", "text", event.text) if event.text else out

    def _refusal(self, event: RefusalDelta) -> bytes:
        self._refused = True
        out = self._run_of(event.block, "text", {"type": "text", "text": ""})
        return out + self._delta("text_delta", "text", event.text)

    def _thinking(self, event: ThinkingDelta) -> bytes:
        if not event.text:
            return b""
        out = self._run_of(event.block, "thinking", _thinking_block())
        return out + self._delta("thinking_delta", "thinking", event.text)

    def _signature(self, event: SignatureDelta) -> bytes:
        signature = wrap_foreign(event.signature, event.signed_by, NAME)
        if event.redacted:
            content = {"type": "redacted_thinking", "data": signature}
            return self._close_all() + self._start_block(event.block, "redacted", content) + self._close()
        if self._signed:
            out = self._close_all() + self._start_block(event.block, "thinking", _thinking_block())
        else:
            out = self._run_of(event.block, "thinking", _thinking_block())
        self._signed = True
        return out + self._delta("signature_delta", "signature", signature)

    def _tool_open(self, event: ToolOpen) -> bytes:
        tool = self._tools[event.block] = _Tool(event)
        if self._queue or (self._tool is not None and not self._tool.complete):
            self._queue.append(tool)
            return b""
        return self._open_tool(tool)

    def _open_tool(self, tool: _Tool) -> bytes:
        """Begin a call, and write what waited of it."""
        event = tool.event
        out = b"" if event.signature is None else self._call_signature(event, event.signature)
        content = {"type": "tool_use", "id": event.id or "_", "name": event.name, "input": {}} | _own(
            event.extra
        )
        out += self._start_block(event.block, "tool", content)
        self._tool = tool
        pieces, tool.waiting = tool.waiting, []
        for piece in pieces:
            out += self._piece(tool, piece)
        return out

    def _call_signature(self, event: ToolOpen, signature: str) -> bytes:
        """Messages has no place for a call's signature: it stands on the thinking before it, or on an empty one."""
        wrapped = wrap_foreign(signature, event.signed_by, NAME, CALL)
        out = b""
        if self._kind != "thinking" or self._signed:
            out = self._start_block(event.block, "thinking", _thinking_block())
        self._signed = True
        return out + self._delta("signature_delta", "signature", wrapped)

    def _args(self, event: ToolArgs) -> bytes:
        tool = self._tools.get(event.block)
        if tool is None or not event.fragment:
            return b""
        if tool is not self._tool:
            tool.waiting.append(event.fragment)
            return b""
        out = self._piece(tool, event.fragment)
        while self._queue and tool.complete:
            tool = self._queue.pop(0)
            out += self._open_tool(tool)
        if self._held and self._calls_over():
            out += self._release()
        return out

    def _calls_over(self) -> bool:
        """Whether the open call and those that wait for their turn are complete."""
        return (self._tool is None or self._tool.over) and all(tool.over for tool in self._queue)

    def _release(self) -> bytes:
        """What came between the fragments, behind the calls."""
        held, self._held = self._held, []
        return b"".join([self.send(event) for event in held])

    def _piece(self, tool: _Tool, fragment: str) -> bytes:
        tool.pieces.append(fragment)
        if fragment == "null" and len(tool.pieces) == 1:
            # What some models write for a tool without parameters; clients want an object.
            return b""
        return b"" if tool.event.custom else self._delta("input_json_delta", "partial_json", fragment)

    def _opaque(self, event: OpaqueBlock) -> bytes:
        payload = event.payload
        if payload.dialect != NAME or not isinstance(payload.payload, dict):
            self.dropped.add(payload.what)
            return b""
        block: Object = payload.payload
        if block.get("type") == "compaction" and isinstance(summary := block.get("content"), str):
            # Clients gather it from its delta.
            out = self._close_all() + self._start_block(event.block, "opaque", block | {"content": None})
            return out + self._delta("compaction_delta", "content", summary) + self._close()
        if block.get("type") not in _STREAMED_INPUT:
            return self._close_all() + self._start_block(event.block, "opaque", block) + self._close()
        out = self._close_all() + self._start_block(event.block, "opaque", block | {"input": {}})
        if block.get("input"):
            out += self._delta("input_json_delta", "partial_json", lenient.dumps(block["input"]).decode())
        return out + self._close()

    def _annotation(self, event: Annotation) -> bytes:
        cite = _citation(event)
        if cite is None or (self._open >= 0 and self._kind != "text"):
            self.dropped.add("citations")
            return b""
        out = self._run_of(event.block, "text", {"type": "text", "text": "", "citations": []})
        delta = {"type": "citations_delta", "citation": cite}
        return out + self._out("content_block_delta", {"index": self._index, "delta": delta})

    def _media(self, event: MediaDelta) -> bytes:
        self.dropped.add(event.media.kind)
        return b""

    def _logprobs(self, event: Logprobs) -> bytes:
        self.dropped.add("logprobs")
        return b""


def _thinking_block() -> Object:
    return {"type": "thinking", "thinking": "", "signature": ""}


def _own(extra: Opaque | None) -> Object:
    return extra.payload if extra is not None and extra.dialect == NAME else {}


def _citation(event: Annotation) -> Json:
    """A citation; one of another dialect becomes that of a web search, if it has an address."""
    if event.citation.dialect == NAME:
        return event.citation.payload
    if event.url is None:
        return None
    return {
        "type": "web_search_result_location",
        "url": event.url,
        "title": event.title,
        "cited_text": event.quote or "",
        "encrypted_index": "",
    }


class FoldingEncoder(Encoder):
    """The same events, collected to the message that a client would gather from the stream."""

    __slots__ = ("_arguments", "_message")

    def __init__(self, info: AnswerInfo, dropped: Dropped) -> None:
        super().__init__(info)
        self.dropped = dropped
        self._message: Object = {}
        self._arguments: list[str] = []

    def run(self, events: Sequence[Event]) -> bytes:
        """The body. ProtocolError where the events hold a failure, which is no answer."""
        ended = False
        for event in events:
            if isinstance(event, Failure):
                raise ProtocolError(event.message)
            ended = ended or isinstance(event, End)
            self.send(event)
        if not ended:
            self.send(End())
        return lenient.dumps(self._message)

    def _out(self, kind: str, payload: Object) -> bytes:
        message = self._message
        if kind == "message_start":
            message |= payload["message"]
        elif kind == "content_block_start":
            message["content"].append(dict(payload["content_block"]))
        elif kind == "content_block_delta":
            message["content"][-1].setdefault("citations", []).append(payload["delta"]["citation"])
        elif kind == "message_delta":
            usage = message["usage"] | {
                name: value for name, value in payload["usage"].items() if value is not None
            }
            message |= payload["delta"] | {"usage": usage}
            if "context_management" in payload:
                message["context_management"] = payload["context_management"]
        return b""

    def _delta(self, kind: str, field: str, value: str) -> bytes:
        block = self._message["content"][-1]
        if kind == "input_json_delta":
            self._arguments.append(value)
        else:
            block[field] = (block.get(field) or "") + value
        return b""

    def _stop(self) -> bytes:
        if self._arguments:
            text = "".join(self._arguments)
            self._arguments.clear()
            self._message["content"][-1]["input"] = lenient.arguments_object(text)
        return b""


_WRITERS: dict[type, Callable[[Encoder, Any], bytes]] = {
    Start: Encoder._begin,
    TextDelta: Encoder._text,
    RefusalDelta: Encoder._refusal,
    ThinkingDelta: Encoder._thinking,
    SignatureDelta: Encoder._signature,
    ToolOpen: Encoder._tool_open,
    ToolArgs: Encoder._args,
    MediaDelta: Encoder._media,
    Annotation: Encoder._annotation,
    Logprobs: Encoder._logprobs,
    OpaqueBlock: Encoder._opaque,
    Finish: Encoder._note_finish,
    UsageReport: Encoder._report,
    End: Encoder._end,
    Failure: Encoder._failure,
    Heartbeat: Encoder._heartbeat,
}
