"""Events to answers of the Responses API: the numbered event sequence of a stream, and whole responses.

The stream of one item is: added · its parts and deltas · done, with the whole item in it. Texts and reasoning are closed when something else
begins; calls, which may interleave, when another begins and their arguments are whole, when text or reasoning begins, or at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson

from apipod_proxy.dialect import AnswerInfo, lenient
from apipod_proxy.dialect.openai_responses_items import NAME, REDACTED
from apipod_proxy.dialect.openai_responses_wire import (
    Call,
    Item,
    Message,
    Object,
    Reasoning,
    error_code,
    response_object,
    to_responses,
)
from apipod_proxy.dialect.signatures import CALL, TEXT, wrap, wrap_foreign
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Failure,
    Finish,
    Json,
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

INCOMPLETE = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.CONTEXT_WINDOW: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.REFUSAL: "content_filter",
}
"""Reasons for which a response is not complete; all others complete it."""


class Encoder:
    """One response. Only the first choice is said: there are no others in this dialect."""

    def __init__(self, info: AnswerInfo) -> None:
        self.dropped: list[str] = []
        self._info = info
        self._frames: list[bytes] = []
        self._muted = False
        self._number = 0
        self._head: Object = {}
        self._begun = False
        self._output: dict[int, Object] = {}
        self._open: Message | Reasoning | None = None
        self._calls: dict[int, Call] = {}
        self._items = 0
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._logprobs: list[Json] = []
        self.final: Object = {}
        """The finished response, once the end was sent: what a store keeps of it."""
        tools = info.call.tools if info.call else []
        self._custom = {tool.name for tool in tools if tool.custom}
        self._spaced = {
            tool.name: (tool.extra.payload["namespace"], tool.extra.payload["name"])
            for tool in tools
            if tool.extra and tool.extra.dialect == NAME and "namespace" in tool.extra.payload
        }

    def send(self, event: Event) -> bytes:
        self._take(event)
        if not self._frames:
            return b""
        sent = self._frames[0] if len(self._frames) == 1 else b"".join(self._frames)
        self._frames.clear()
        return sent

    def fold(self, events: Sequence[Event]) -> bytes:
        """The whole response as one object."""
        self._muted = True
        last: Event = End()
        for event in events:
            self._take(event)
            last = event
            if isinstance(event, Failure):
                break
        if isinstance(last, Failure):
            return orjson.dumps(
                {**self._response("failed"), "error": {"code": error_code(last), "message": last.message}}
            )
        if not self.final:
            self.end(End())
        return lenient.dumps(self.final)

    def _take(self, event: Event) -> None:
        if getattr(event, "choice", 0):
            if "n" not in self.dropped:
                self.dropped.append("n")
            return
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)

    def _emit(self, kind: str, fields: Object) -> None:
        if self._muted:
            return
        data = lenient.dumps({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        self._frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))

    # The response

    def start(self, event: Start) -> None:
        own = event.extra is not None and event.extra.dialect == NAME
        head: Object = dict(event.extra.payload) if event.extra and own else {}
        created = event.created if event.created is not None else self._info.created
        head |= {"id": event.id if own and event.id else self._made_id(), "created_at": created}
        self._head = head
        if event.usage is not None:
            self._usage = event.usage
        self._begin()

    def _made_id(self) -> str:
        return f"resp_{self._info.request_id.removeprefix('resp_')}"

    def _begin(self) -> None:
        """The two events that open a stream; made up where the provider gave no start."""
        if self._begun:
            return
        self._begun = True
        response = self._response("in_progress")
        self._emit("response.created", {"response": response})
        self._emit("response.in_progress", {"response": response})

    def _response(self, status: str) -> Object:
        output = [item for _, item in sorted(self._output.items())]
        head = {"id": self._made_id(), "created_at": self._info.created, **self._head}
        return response_object(head, self._info, status, output)

    def usage(self, event: UsageReport) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merged(event.usage)

    def finish(self, event: Finish) -> None:
        self._finish = event

    def end(self, _: End) -> None:
        self._begin()
        finish = self._finish or Finish(StopReason.STOP)
        cause = INCOMPLETE.get(finish.reason)
        self._close_all("incomplete" if cause else "completed")
        if finish.extra is not None and finish.extra.dialect == NAME:
            self._head |= {
                key: value for key, value in finish.extra.payload.items() if key not in ("id", "model")
            }
        status = "incomplete" if cause else "completed"
        if finish.reason is StopReason.OTHER and finish.raw in (
            "queued",
            "in_progress",
            "cancelled",
            "incomplete",
        ):
            status = finish.raw
        elif finish.reason is StopReason.MALFORMED_CALL:
            status = "failed"
        final = self._response(status)
        if cause and not isinstance(final.get("incomplete_details"), dict):
            final["incomplete_details"] = {"reason": cause}
        if status == "failed":
            final["error"] = {
                "code": "server_error",
                "message": "The model made a tool call that could not be read.",
            }
        final["usage"] = to_responses(self._usage) if self._usage is not None else None
        self.final = final
        known = status in ("completed", "incomplete", "failed")
        self._emit(f"response.{status if known else 'completed'}", {"response": final})

    def failure(self, event: Failure) -> None:
        self._begin()
        self._close_all("incomplete")
        code = error_code(event)
        error = {"type": event.kind, "code": code, "message": event.message, "param": None}
        self._emit("error", {"code": code, "message": event.message, "param": None, "error": error})
        failed = {**self._response("failed"), "error": {"code": code, "message": event.message}}
        if self._usage is not None:
            failed["usage"] = to_responses(self._usage)
        self._emit("response.failed", {"response": failed})

    # Items

    def _new_index(self) -> int:
        self._begin()
        self._items += 1
        return self._items - 1

    def _item_id(self, prefix: str, index: int) -> str:
        return f"{prefix}_{self._info.request_id.removeprefix('resp_')}_{index}"

    def _added(self, item: Item) -> None:
        self._emit("response.output_item.added", {"output_index": item.index, "item": item.begun()})

    def _done(self, item: Item, status: str) -> None:
        whole = item.whole(status)
        self._output[item.index] = whole
        self._emit("response.output_item.done", {"output_index": item.index, "item": whole})

    def _close_open(self, status: str = "completed") -> None:
        item = self._open
        if item is None:
            return
        self._open = None
        for kind, fields in item.closing():
            self._emit(kind, fields)
        self._done(item, status)

    def _close_call(self, block: int, status: str = "completed") -> None:
        call = self._calls.pop(block)
        for kind, fields in call.closing():
            self._emit(kind, fields)
        self._done(call, status)

    def _close_calls(self, status: str = "completed") -> None:
        for block in list(self._calls):
            self._close_call(block, status)

    def _close_whole_calls(self) -> None:
        """Before another call: OpenAI's own never overlap, and there are clients that keep in mind one at a time."""
        for block, call in list(self._calls.items()):
            if call.is_whole():
                self._close_call(block)

    def _close_all(self, status: str) -> None:
        # What is cut short is the last thing that was said.
        self._close_calls("completed" if self._open else status)
        self._close_open(status)

    def _whole(self, item: Object, index: int) -> None:
        """An item that comes all at once."""
        self._output[index] = item
        self._emit("response.output_item.added", {"output_index": index, "item": item})
        self._emit("response.output_item.done", {"output_index": index, "item": item})

    def _sealed(self, sealed: str) -> None:
        """A reasoning item that holds nothing but another provider's signature."""
        index = self._new_index()
        self._whole(
            {
                "id": self._item_id("rs", index),
                "type": "reasoning",
                "summary": [],
                "encrypted_content": sealed,
            },
            index,
        )

    # Text

    def _message(self, event: TextDelta | RefusalDelta, kind: str) -> Message:
        item = self._open
        if isinstance(item, Message) and item.block == event.block and item.kind == kind:
            return item
        own: Object = event.extra.payload if event.extra and event.extra.dialect == NAME else {}
        if not isinstance(item, Message) or (own and not own.get("content_index")):
            self._close_open()
            self._close_calls()
            index = self._new_index()
            item = Message(index, own.get("id") or self._item_id("msg", index), own)
            self._open = item
            self._added(item)
        else:
            for name, fields in item.closing():
                self._emit(name, fields)
        part = item.begin(kind, event.block)
        self._emit("response.content_part.added", {**item.place(), "part": part})
        return item

    def text(self, event: TextDelta) -> None:
        if event.text:
            item = self._open
            if not isinstance(item, Message) or item.block != event.block or item.kind != "output_text":
                item = self._message(event, "output_text")
            item.pieces.append(event.text)
            self._emit(
                "response.output_text.delta",
                {
                    "item_id": item.id,
                    "output_index": item.index,
                    "content_index": item.at,
                    "delta": event.text,
                    "logprobs": self._logprobs,
                },
            )
            if self._logprobs:
                item.logprobs += self._logprobs
                self._logprobs = []
        if event.signature and event.signed_by:
            self._close_open()
            self._close_calls()
            self._sealed(wrap(event.signature, event.signed_by, TEXT))

    def refusal(self, event: RefusalDelta) -> None:
        if event.text:
            item = self._message(event, "refusal")
            item.pieces.append(event.text)
            self._emit("response.refusal.delta", {**item.place(), "delta": event.text})

    def logprobs(self, event: Logprobs) -> None:
        tokens = (event.payload or {}).get("content") or []
        if isinstance(self._open, Message):
            self._open.logprobs += tokens
        else:
            self._logprobs += tokens

    def annotation(self, event: Annotation) -> None:
        item = self._open
        if event.citation.dialect == NAME:
            note = event.citation.payload
        elif event.url:
            text = "".join(item.pieces) if isinstance(item, Message) else ""
            end = event.end if event.end is not None else len(text)
            note = {
                "type": "url_citation",
                "url": event.url,
                "title": event.title or "",
                "start_index": event.start or 0,
                "end_index": end,
            }
        else:
            note = None
        if note is None or not isinstance(item, Message) or item.block != event.block:
            self.dropped.append("citations")
            return
        self._emit(
            "response.output_text.annotation.added",
            {**item.place(), "annotation_index": len(item.notes), "annotation": note},
        )
        item.notes.append(note)

    # Reasoning

    def _reasoning(self, block: int, extra: Object) -> Reasoning:
        item = self._open
        if not isinstance(item, Reasoning) or item.block != block:
            self._close_open()
            self._close_calls()
            index = self._new_index()
            item = Reasoning(index, extra.get("id") or self._item_id("rs", index), block)
            self._open = item
            self._added(item)
        item.kept |= extra
        return item

    def thinking(self, event: ThinkingDelta) -> None:
        own: Object = event.extra.payload if event.extra and event.extra.dialect == NAME else {}
        if not event.text and not own:
            return
        item = self._reasoning(event.block, own)
        part = own.get("part") or item.part or "summary"
        if own.get("break") or part != item.part:
            for kind, fields in item.closing():
                self._emit(kind, fields)
            item.begin(part)
            if part == "summary":
                fields = {**item.place(), "part": {"type": "summary_text", "text": ""}}
                self._emit("response.reasoning_summary_part.added", fields)
            if own.get("break"):
                return
        item.pieces.append(event.text)
        kind = (
            "response.reasoning_summary_text.delta" if part == "summary" else "response.reasoning_text.delta"
        )
        self._emit(kind, {**item.place(), "delta": event.text})

    def signature(self, event: SignatureDelta) -> None:
        own: Object = event.extra.payload if event.extra and event.extra.dialect == NAME else {}
        item = self._reasoning(event.block, own)
        place = REDACTED if event.redacted and event.signed_by != NAME else ""
        item.sealed = wrap_foreign(event.signature, event.signed_by, NAME, place)
        self._close_open()

    # Calls and what comes whole

    def tool_open(self, event: ToolOpen) -> None:
        self._close_open()
        self._close_whole_calls()
        if event.signature and event.signed_by:
            self._sealed(wrap(event.signature, event.signed_by, CALL))
        index = self._new_index()
        own: Object = event.extra.payload if event.extra and event.extra.dialect == NAME else {}
        custom = event.custom or event.name in self._custom
        space, name = self._spaced.get(event.name, (own.get("namespace"), own.get("name", event.name)))
        item_id = own.get("id") or self._item_id("ctc" if custom else "fc", index)
        kept = {key: value for key, value in own.items() if key not in ("id", "name", "namespace")}
        if space:
            kept["namespace"] = space
        call = Call(index, item_id, event.id, name, custom, kept)
        # Another provider sends a custom tool's text as JSON, of which nothing can be shown before it is whole.
        call.held = custom and not event.custom
        self._calls[event.block] = call
        self._added(call)

    def tool_args(self, event: ToolArgs) -> None:
        call = self._calls.get(event.block)
        if call is None or not event.fragment:
            return
        call.pieces.append(event.fragment)
        if not call.held:
            self._emit(
                call.delta_event, {"item_id": call.id, "output_index": call.index, "delta": event.fragment}
            )

    def opaque(self, event: OpaqueBlock) -> None:
        if event.payload.dialect != NAME:
            self.dropped.append(event.payload.what or event.payload.dialect)
            return
        self._close_open()
        self._close_calls()
        self._whole(event.payload.payload, self._new_index())

    def media(self, event: MediaDelta) -> None:
        if event.media.kind != "image" or event.media.data is None:
            self.dropped.append(event.media.kind)
            return
        self._close_open()
        self._close_calls()
        index = self._new_index()
        form = (event.media.media_type or "image/png").partition("/")[2]
        item = {
            "id": self._item_id("ig", index),
            "type": "image_generation_call",
            "status": "completed",
            "result": event.media.data,
        }
        self._whole({**item, "output_format": form}, index)


_HANDLERS: Mapping[type, Callable[[Encoder, Json], None]] = {
    Start: Encoder.start,
    TextDelta: Encoder.text,
    RefusalDelta: Encoder.refusal,
    ThinkingDelta: Encoder.thinking,
    SignatureDelta: Encoder.signature,
    ToolOpen: Encoder.tool_open,
    ToolArgs: Encoder.tool_args,
    MediaDelta: Encoder.media,
    Annotation: Encoder.annotation,
    Logprobs: Encoder.logprobs,
    OpaqueBlock: Encoder.opaque,
    Finish: Encoder.finish,
    UsageReport: Encoder.usage,
    Failure: Encoder.failure,
    End: Encoder.end,
}
