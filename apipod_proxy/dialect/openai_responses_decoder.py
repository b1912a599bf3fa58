"""Answers of the Responses API to events. What a provider leaves out (added events, deltas, items) is made up from what comes later:
each item is completed when it is done, and all items when the response is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson

from apipod_proxy.dialect import (
    NO_QUIRKS,
    IdMaker,
    ProtocolError,
    Quirks,
    Truncated,
    lenient,
    provider_errors,
    usage,
)
from apipod_proxy.dialect.openai_responses_items import NAME, flat_name
from apipod_proxy.dialect.shapes import a_text, an_index, an_object, listed, objects
from apipod_proxy.dialect.sse import FrameReader
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Finish,
    Heartbeat,
    Json,
    Logprobs,
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
    Unknown,
    UsageReport,
)

Object = dict[str, Json]

CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
INCOMPLETE = {"max_output_tokens": StopReason.LENGTH, "content_filter": StopReason.CONTENT_FILTER}
CONTENT = frozenset({"type", "role", "content", "summary", "encrypted_content"})
BREAK = "\n\n"
"""Stands between two parts of a reasoning summary."""


class _Item:
    """What has been said of one output item."""

    __slots__ = ("blocks", "done", "kept", "kind", "notes", "opened", "said")

    def __init__(self) -> None:
        self.kind = ""
        self.kept: Object = {}
        """What stands beside the content: id, phase, status."""
        self.blocks: dict[tuple[str, int], int] = {}
        """(kind of part, its index) → block."""
        self.said: dict[tuple[str, int], int] = {}
        """How many characters of each part went out."""
        self.notes: dict[int, int] = {}
        """How many citations of each text went out."""
        self.opened = False
        self.done = False


class Decoder:
    """Of a stream. ``event:`` lines are not needed: the type stands in the data."""

    def __init__(self, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> None:
        self._frames = FrameReader()
        self._answer = Answer(ids)

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for frame in self._frames.feed(data):
            self._one(frame.event, frame.data, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        for frame in self._frames.eof():
            self._one(frame.event, frame.data, events)
        return events + self._answer.close()

    def _one(self, name: str, data: bytes | None, events: list[Event]) -> None:
        if data is not None and data.strip() == b"[DONE]":
            return
        try:
            value = lenient.loads(data) if data else None
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            events.append(Unknown(data or b""))
            return
        self._answer.add(a_text(value.get("type")) or name, value, events)


def decode_unary(body: bytes, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> list[Event]:
    """The events of a whole response; raises ProtocolError."""
    try:
        value = lenient.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Truncated(f"the answer is no JSON: {exc.msg}") from exc
    if not isinstance(value, dict):
        raise ProtocolError("the answer is no object")
    events: list[Event] = []
    answer = Answer(ids)
    if "output" not in value and value.get("error") is not None:
        answer.add("error", value, events)
        return events
    if not isinstance(value.get("output"), list):
        raise ProtocolError("the answer has no output")
    answer.finish(value, events)
    return events + answer.close()


class Answer:
    """The events of one answer → ours."""

    def __init__(self, ids: IdMaker) -> None:
        self._ids = ids
        self._items: dict[int, _Item] = {}
        self._known: dict[str, _Item] = {}
        """By id: the places in the finished response are not always those of the stream."""
        self._blocks = 0
        self._calls = 0
        self._started = False
        self._over = False
        self._failed = False

    def add(self, kind: str, event: Object, events: list[Event]) -> None:
        """Append the events for one event of the wire."""
        if self._over or self._failed:
            return
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, event, events)
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self.finish(an_object(event.get("response")), events)
        elif kind == "error" or (not kind and event.get("error") is not None):
            self._fail(event, events)
        elif kind.startswith("response.") or kind in ("keepalive", "ping"):
            events.append(Heartbeat())
        else:
            events.append(Unknown(lenient.dumps(event)))

    def close(self) -> list[Event]:
        """The closing events; raises Truncated where the terminal event is missing."""
        if self._failed:
            return []
        if not self._over:
            raise Truncated("the response was not completed")
        return [End()]

    def _fail(self, event: Object, events: list[Event]) -> None:
        self._failed = True
        events.append(provider_errors.failure_of(event))

    def start(self, event: Object, events: list[Event]) -> None:
        """``response.created`` or its kin, whichever comes first."""
        self._start(event.get("response"), events)
        if event.get("type") != "response.created":
            events.append(Heartbeat())

    def _start(self, response: Json, events: list[Event]) -> None:
        if self._started or not isinstance(response, dict):
            return
        self._started = True
        created = response.get("created_at")
        kept = {
            key: value
            for key, value in response.items()
            if key not in ("output", "usage", "error", "incomplete_details")
        }
        events.append(
            Start(
                a_text(response.get("id")),
                a_text(response.get("model")),
                int(created) if isinstance(created, (int, float)) else None,
                extra=Opaque(NAME, kept),
            )
        )

    def finish(self, response: Object, events: list[Event]) -> None:
        """The terminal event: what is missing of the items, usage, the reason."""
        self._start(response, events)
        status = a_text(response.get("status")) or "completed"
        if status == "failed" and response.get("error"):
            self._report(response, events)
            self._fail(response, events)
            return
        # Some give one id to several items, so an id only counts if it is known from the stream.
        known = dict(self._known)
        for index, item in enumerate(listed(response.get("output"))):
            if isinstance(item, dict):
                at = self._items.get(index) or known.get(str(item.get("call_id") or item.get("id")))
                self._complete(at or self._items.setdefault(index, _Item()), item, events)
        details = response.get("incomplete_details")
        cause = a_text(details.get("reason")) if isinstance(details, dict) else None
        reason = StopReason.TOOL_USE if self._calls else StopReason.STOP
        if status == "incomplete":
            reason = INCOMPLETE.get(cause or "", StopReason.OTHER)
        elif status != "completed":
            reason = StopReason.OTHER
        kept = {key: value for key, value in response.items() if key not in ("output", "usage")}
        events.append(Finish(reason, 0, None, cause or status, Opaque(NAME, kept)))
        self._report(response, events)
        self._over = True

    def _report(self, response: Object, events: list[Event]) -> None:
        if isinstance(response.get("usage"), dict):
            events.append(UsageReport(usage.from_responses(response["usage"])))

    # Items

    def _item(self, event: Object) -> _Item:
        index = event.get("output_index")
        return self._items.setdefault(index if isinstance(index, int) else 0, _Item())

    def _block(self, item: _Item, part: str, index: int) -> tuple[int, bool]:
        """The block of a part of an item, and whether it is new."""
        block = item.blocks.get((part, index))
        if block is not None:
            return block, False
        item.blocks[part, index] = block = self._blocks
        self._blocks += 1
        return block, True

    def _note(self, item: _Item, raw: Object) -> None:
        if name := raw.get("call_id") or raw.get("id"):
            self._known[str(name)] = item

    def item_added(self, event: Object, events: list[Event]) -> None:
        raw = event.get("item")
        if not isinstance(raw, dict):
            return
        item = self._item(event)
        item.kind = str(raw.get("type"))
        item.kept = _marks(raw)
        self._note(item, raw)
        if item.kind in CALLS:
            self._open_call(item, raw, events)
        elif item.kind not in ("message", "reasoning"):
            events.append(Heartbeat())

    def item_done(self, event: Object, events: list[Event]) -> None:
        raw = event.get("item")
        if isinstance(raw, dict):
            self._complete(self._item(event), raw, events)

    def _complete(self, item: _Item, raw: Object, events: list[Event]) -> None:
        """Say what of an item has not been said."""
        if item.done:
            return
        item.done = True
        self._note(item, raw)
        kind = str(raw.get("type"))
        if kind == "message":
            content = listed(raw.get("content"))
            if not any(part.get("text") or part.get("refusal") for part in objects(content)):
                block, _ = self._block(item, "opaque", 0)
                events.append(OpaqueBlock(Opaque(NAME, raw, "message"), block))
            for index, part in zip(_places(item, ("text", "refusal"), len(content)), content, strict=True):
                if isinstance(part, dict):
                    self._content(item, index, part, raw, events)
        elif kind == "reasoning":
            self._reasoning(item, raw, events)
        elif kind in CALLS:
            self._open_call(item, raw, events)
            self._rest(item, "call", 0, raw.get(CALLS[kind]), events)
        else:
            block, _ = self._block(item, "opaque", 0)
            events.append(OpaqueBlock(Opaque(NAME, raw, kind), block))

    def _content(self, item: _Item, index: int, part: Object, raw: Object, events: list[Event]) -> None:
        item.kept = item.kept or _marks(raw)
        if part.get("type") == "refusal":
            self._rest(item, "refusal", index, part.get("refusal"), events)
            return
        self._rest(item, "text", index, part.get("text"), events)
        notes = listed(part.get("annotations"))
        for note in notes[item.notes.get(index, 0) :]:
            self._annotate(item, index, note, events)
        if (tokens := objects(part.get("logprobs"))) and not item.said.get(("logprobs", index)):
            events.append(Logprobs({"content": tokens, "refusal": None}))

    def _rest(self, item: _Item, part: str, index: int, whole: Json, events: list[Event]) -> None:
        """What of a part's whole text has not come in deltas."""
        said = item.said.get((part, index), 0)
        if isinstance(whole, str) and len(whole) > said:
            self._say(item, part, index, whole[said:], events)

    def _say(self, item: _Item, part: str, index: int, text: str, events: list[Event]) -> None:
        if not text:
            return
        item.said[part, index] = item.said.get((part, index), 0) + len(text)
        if part in ("text", "refusal"):
            before = len(item.blocks)
            block, new = self._block(item, part, index)
            about = Opaque(NAME, {**item.kept, "content_index": before}) if new else None
            events.append(
                TextDelta(text, block, extra=about)
                if part == "text"
                else RefusalDelta(text, block, extra=about)
            )
        elif part == "call":
            events.append(ToolArgs(text, self._block(item, part, 0)[0]))
        else:
            self._think(item, part, index, text, events)

    def _think(self, item: _Item, part: str, index: int, text: str, events: list[Event]) -> None:
        """A piece of a summary, or of the reasoning itself. Both stand in one block; a new part begins behind a blank line."""
        block, new = self._block(item, "reasoning", 0)
        first = (part, index) not in item.blocks
        item.blocks[part, index] = block
        if first and not new:
            events.append(ThinkingDelta(BREAK, block, extra=Opaque(NAME, {"break": True, "part": part})))
        about = Opaque(NAME, {**item.kept, "part": part}) if first and new else None
        events.append(ThinkingDelta(text, block, extra=about))

    def _reasoning(self, item: _Item, raw: Object, events: list[Event]) -> None:
        item.kept = item.kept or _marks(raw)
        for key in ("summary", "content"):
            parts = listed(raw.get(key))
            for index, part in zip(_places(item, (key,), len(parts)), parts, strict=True):
                if isinstance(part, dict):
                    self._rest(item, key, index, part.get("text"), events)
        sealed = a_text(raw.get("encrypted_content"))
        if sealed:
            block, new = self._block(item, "reasoning", 0)
            kept = _marks(raw) | ({"content": []} if raw.get("content") == [] else {})
            events.append(SignatureDelta(sealed, NAME, block, redacted=new, extra=Opaque(NAME, kept)))
        elif not item.blocks:
            block, _ = self._block(item, "opaque", 0)
            events.append(OpaqueBlock(Opaque(NAME, raw, "reasoning"), block))

    def _open_call(self, item: _Item, raw: Object, events: list[Event]) -> None:
        if item.opened:
            return
        item.opened = True
        self._calls += 1
        block, _ = self._block(item, "call", 0)
        kind = str(raw.get("type"))
        name = a_text(raw.get("name")) or ""
        namespace = a_text(raw.get("namespace"))
        kept = {
            key: value
            for key, value in raw.items()
            if key not in ("type", "call_id", "name", "status", CALLS[kind])
        }
        if namespace:
            kept["name"] = name
        call_id = a_text(raw.get("call_id")) or a_text(raw.get("id")) or self._ids("call_")
        extra = Opaque(NAME, kept) if kept else None
        events.append(
            ToolOpen(
                call_id, flat_name(namespace, name), block, custom=kind == "custom_tool_call", extra=extra
            )
        )

    def _annotate(self, item: _Item, index: int, note: Json, events: list[Event]) -> None:
        if not isinstance(note, dict):
            return
        item.notes[index] = item.notes.get(index, 0) + 1
        block, _ = self._block(item, "text", index)
        start, end = note.get("start_index"), note.get("end_index")
        events.append(
            Annotation(
                Opaque(NAME, note, "annotations"),
                block,
                0,
                a_text(note.get("url")),
                a_text(note.get("title")) or a_text(note.get("filename")),
                a_text(note.get("quote")),
                start if isinstance(start, int) else None,
                end if isinstance(end, int) else None,
            )
        )

    # Deltas

    def text_delta(self, event: Object, events: list[Event]) -> None:
        item = self._item(event)
        index = an_index(event.get("content_index"))
        self._say(item, "text", index, str(event.get("delta") or ""), events)
        if tokens := objects(event.get("logprobs")):
            item.said["logprobs", index] = 1
            events.append(Logprobs({"content": tokens, "refusal": None}))

    def refusal_delta(self, event: Object, events: list[Event]) -> None:
        self._say(
            self._item(event),
            "refusal",
            an_index(event.get("content_index")),
            str(event.get("delta") or ""),
            events,
        )

    def summary_delta(self, event: Object, events: list[Event]) -> None:
        self._say(
            self._item(event),
            "summary",
            an_index(event.get("summary_index")),
            str(event.get("delta") or ""),
            events,
        )

    def reasoning_delta(self, event: Object, events: list[Event]) -> None:
        self._say(
            self._item(event),
            "content",
            an_index(event.get("content_index")),
            str(event.get("delta") or ""),
            events,
        )

    def call_delta(self, event: Object, events: list[Event]) -> None:
        item = self._item(event)
        if item.opened:
            self._say(item, "call", 0, str(event.get("delta") or ""), events)

    def annotation_added(self, event: Object, events: list[Event]) -> None:
        self._annotate(
            self._item(event), an_index(event.get("content_index")), event.get("annotation"), events
        )

    def silent(self, event: Object, events: list[Event]) -> None:
        """Says nothing that the deltas and the done item do not."""


_HANDLERS: Mapping[str, Callable[[Answer, Object, list[Event]], None]] = {
    "response.created": Answer.start,
    "response.in_progress": Answer.start,
    "response.queued": Answer.start,
    "response.output_item.added": Answer.item_added,
    "response.output_item.done": Answer.item_done,
    "response.output_text.delta": Answer.text_delta,
    "response.refusal.delta": Answer.refusal_delta,
    "response.reasoning_summary_text.delta": Answer.summary_delta,
    "response.reasoning_summary.delta": Answer.summary_delta,
    "response.reasoning_text.delta": Answer.reasoning_delta,
    "response.reasoning.delta": Answer.reasoning_delta,
    "response.function_call_arguments.delta": Answer.call_delta,
    "response.custom_tool_call_input.delta": Answer.call_delta,
    "response.output_text.annotation.added": Answer.annotation_added,
    "response.content_part.added": Answer.silent,
    "response.content_part.done": Answer.silent,
    "response.output_text.done": Answer.silent,
    "response.refusal.done": Answer.silent,
    "response.reasoning_summary_part.added": Answer.silent,
    "response.reasoning_summary_part.done": Answer.silent,
    "response.reasoning_summary_text.done": Answer.silent,
    "response.reasoning_text.done": Answer.silent,
    "response.function_call_arguments.done": Answer.silent,
    "response.custom_tool_call_input.done": Answer.silent,
}


def _places(item: _Item, kinds: tuple[str, ...], count: int) -> Sequence[int]:
    """The indexes under which the stream spoke of an item's ``count`` parts of these kinds: some servers count on from item to item."""
    said = sorted({index for kind, index in item.said if kind in kinds})
    if not count or not said or said[-1] < count:
        return range(count)
    said = said[:count]
    return [*said, *range(said[-1] + 1, said[-1] + 1 + count - len(said))]


def _marks(raw: Object) -> Object:
    """What an item has beside its content: its id, its phase …"""
    return {key: value for key, value in raw.items() if key not in CONTENT and value is not None}
