"""The objects of a response while they are written: items with what closes them, the response around them, usage, error codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from apipod_proxy.dialect import AnswerInfo, custom_tools
from apipod_proxy.dialect.openai_responses_items import NAME, choice_of
from apipod_proxy.dialect.shapes import is_whole
from apipod_proxy.dialect.vocabulary import Call as Request
from apipod_proxy.dialect.vocabulary import Failure, Json, Usage
from apipod_proxy.errors import Kind

Object = dict[str, Json]
Closing = list[tuple[str, Object]]


class Item(Protocol):
    """An output item. ``begun`` is how it looks in its added event, ``closing`` what goes before its done event."""

    index: int
    id: str

    def begun(self) -> Object: ...
    def closing(self) -> Closing: ...
    def whole(self, status: str) -> Object: ...


class Message:
    """Text and refusals of the model; one part is open at a time."""

    __slots__ = ("at", "block", "id", "index", "kept", "kind", "logprobs", "notes", "parts", "pieces")

    def __init__(self, index: int, item_id: str, kept: Object) -> None:
        self.index = index
        self.id = item_id
        self.kept = {
            key: value for key, value in kept.items() if key not in ("id", "status", "content_index")
        }
        self.parts: list[Object] = []
        self.at = -1
        self.block = -1
        self.kind = ""
        self.pieces: list[str] = []
        self.notes: list[Json] = []
        self.logprobs: list[Json] = []

    def begun(self) -> Object:
        return self._item([], "in_progress")

    def _item(self, content: list[Object], status: str) -> Object:
        item: Object = {"id": self.id, "type": "message", "status": status, "role": "assistant"}
        return {**item, "content": content, **self.kept}

    def begin(self, kind: str, block: int) -> Object:
        """Open a part; the part as it looks when it is added."""
        self.at += 1
        self.kind = kind
        self.block = block
        self.pieces = []
        self.notes = []
        self.logprobs = []
        return self._part("")

    def _part(self, text: str) -> Object:
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": self.notes, "logprobs": self.logprobs}

    def place(self) -> Object:
        return {"item_id": self.id, "output_index": self.index, "content_index": self.at}

    def closing(self) -> Closing:
        if not self.kind:
            return []
        text = "".join(self.pieces)
        part = self._part(text)
        self.parts.append(part)
        place = self.place()
        if self.kind == "refusal":
            done = ("response.refusal.done", {**place, "refusal": text})
        else:
            done = ("response.output_text.done", {**place, "text": text, "logprobs": self.logprobs})
        self.kind = ""
        return [done, ("response.content_part.done", {**place, "part": part})]

    def whole(self, status: str) -> Object:
        return self._item(self.parts, status)


class Reasoning:
    """A summary of reasoning in parts, or the reasoning itself. ``sealed`` is what the provider wants back."""

    __slots__ = ("at", "block", "content", "id", "index", "kept", "part", "pieces", "sealed", "summary")

    def __init__(self, index: int, item_id: str, block: int) -> None:
        self.index = index
        self.id = item_id
        self.kept: Object = {}
        self.block = block
        self.part = ""
        self.at = -1
        self.pieces: list[str] = []
        self.summary: list[Object] = []
        self.content: list[Object] = []
        self.sealed: str | None = None

    def begun(self) -> Object:
        return {"id": self.id, "type": "reasoning", "summary": []}

    def begin(self, part: str) -> None:
        self.part = part
        self.at = len(self.summary if part == "summary" else self.content)
        self.pieces = []

    def place(self) -> Object:
        index = "summary_index" if self.part == "summary" else "content_index"
        return {"item_id": self.id, "output_index": self.index, index: self.at}

    def closing(self) -> Closing:
        if not self.part:
            return []
        text = "".join(self.pieces)
        place = self.place()
        summary = self.part == "summary"
        part = {"type": "summary_text" if summary else "reasoning_text", "text": text}
        (self.summary if summary else self.content).append(part)
        self.part = ""
        if not summary:
            return [("response.reasoning_text.done", {**place, "text": text})]
        return [
            ("response.reasoning_summary_text.done", {**place, "text": text}),
            ("response.reasoning_summary_part.done", {**place, "part": part}),
        ]

    def whole(self, status: str) -> Object:
        kept = {
            key: value
            for key, value in self.kept.items()
            if key not in ("id", "part", "break", "content_index")
        }
        item: Object = {"id": self.id, "type": "reasoning", "summary": self.summary, **kept}
        if "status" in item:
            item["status"] = status
        if self.content:
            item["content"] = self.content
        if self.sealed is not None:
            item["encrypted_content"] = self.sealed
        return item


class Call:
    """A call of a function or of a custom tool. ``held``: its pieces are JSON that the custom tool's text is still to be taken from."""

    __slots__ = ("call_id", "custom", "held", "id", "index", "kept", "name", "pieces")

    def __init__(self, index: int, item_id: str, call_id: str, name: str, custom: bool, kept: Object) -> None:
        self.index = index
        self.id = item_id
        self.call_id = call_id
        self.name = name
        self.custom = custom
        self.kept = kept
        self.pieces: list[str] = []
        self.held = False

    @property
    def delta_event(self) -> str:
        return (
            "response.custom_tool_call_input.delta"
            if self.custom
            else "response.function_call_arguments.delta"
        )

    def _item(self, text: str, status: str) -> Object:
        kind = "custom_tool_call" if self.custom else "function_call"
        item: Object = {
            "id": self.id,
            "type": kind,
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            **self.kept,
        }
        item["input" if self.custom else "arguments"] = text
        return item

    def _text(self) -> str:
        text = "".join(self.pieces)
        if self.held:
            return custom_tools.from_arguments(text)
        return text if text or self.custom else "{}"

    def is_whole(self) -> bool:
        """Whether nothing more can come; of a text that is no JSON it cannot be told."""
        return (self.held or not self.custom) and is_whole(self.pieces)

    def begun(self) -> Object:
        return self._item("", "in_progress")

    def closing(self) -> Closing:
        text = self._text()
        place: Object = {"item_id": self.id, "output_index": self.index}
        events: Closing = []
        if text and (self.held or not self.pieces):
            events.append((self.delta_event, {**place, "delta": text}))
        if self.custom:
            return [*events, ("response.custom_tool_call_input.done", {**place, "input": text})]
        return [
            *events,
            ("response.function_call_arguments.done", {**place, "name": self.name, "arguments": text}),
        ]

    def whole(self, status: str) -> Object:
        return self._item(self._text(), status)


def response_object(head: Object, info: AnswerInfo, status: str, output: list[Object]) -> Object:
    """A response: what the provider said of it, else what the request said, else the defaults of the API."""
    call = info.call
    sampling = call.sampling if call else None
    reasoning = call.reasoning if call else None
    choice = call.tool_choice if call else None
    response: Object = {
        "id": None,
        "object": "response",
        "created_at": None,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": call.max_tokens if call else None,
        "parallel_tool_calls": choice is None or choice.parallel is not False,
        "previous_response_id": call.previous_response_id if call else None,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": reasoning.summary if reasoning else None,
        },
        "store": bool(call.store) if call else False,
        "temperature": sampling.temperature if sampling else None,
        "text": {"format": _format(call)},
        "tool_choice": _tool_choice(call),
        "tools": [],
        "top_p": sampling.top_p if sampling else None,
        "truncation": "disabled",
        "usage": None,
        "user": call.user if call else None,
        "metadata": (call.metadata if call else None) or {},
    }
    response.update(head)
    response.update(model=info.model, status=status, output=output)
    return response


def _tool_choice(call: Request | None) -> Json:
    """As the request said it: a word, or the tools by name."""
    choice = call.tool_choice if call else None
    if call is None or choice is None:
        return "auto"
    tools = {tool.name: tool for tool in call.tools}
    named = [choice_of(tools[name]) for name in choice.names if name in tools]
    if choice.mode == "allowed" and named:
        mode = "required" if choice.required else "auto"
        return {"type": "allowed_tools", "mode": mode, "tools": named}
    if choice.mode == "tool" and named:
        return named[0]
    return choice.mode if choice.mode in ("none", "required") else "auto"


def _format(call: Request | None) -> Object:
    output = call.output if call else None
    if output is None or output.kind != "json_schema":
        return {"type": output.kind if output else "text"}
    return {
        "type": "json_schema",
        "name": output.name or "response",
        "schema": output.schema,
        "strict": bool(output.strict),
    }


def to_responses(usage: Usage) -> Object:
    """The ``usage`` object; the provider's own where it came from this dialect."""
    if usage.extra is not None and usage.extra.dialect == NAME and isinstance(usage.extra.payload, dict):
        return usage.extra.payload
    read = usage.input or 0
    total_in = read + (usage.cache_read or 0) + (usage.cache_write or 0)
    total_out = (usage.output or 0) + (usage.reasoning or 0)
    details: Object = {"cached_tokens": usage.cache_read or 0}
    if usage.cache_write:
        details["cache_write_tokens"] = usage.cache_write
    return {
        "input_tokens": total_in,
        "input_tokens_details": details,
        "output_tokens": total_out,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": total_in + total_out,
    }


CODES: Mapping[str, str] = {
    Kind.RATE_LIMIT.value: "rate_limit_exceeded",
    Kind.QUOTA.value: "insufficient_quota",
    Kind.INVALID_REQUEST.value: "invalid_prompt",
    Kind.OVERLOADED.value: "server_is_overloaded",
}


def error_code(event: Failure) -> str:
    """The code of a failed response."""
    return event.code or CODES.get(event.kind, "server_error")
