"""Chat answers → events, with every accent of the providers that speak it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from apipod_proxy.dialect import NO_QUIRKS, IdMaker, ProtocolError, Quirks, Truncated, lenient
from apipod_proxy.dialect.openai_chat.messages import LEGACY, google_signature
from apipod_proxy.dialect.openai_chat.names import FORMATS, NAME, REASONS
from apipod_proxy.dialect.openai_chat.think_marks import ThinkMarks
from apipod_proxy.dialect.provider_errors import failure_of
from apipod_proxy.dialect.sse import FrameReader
from apipod_proxy.dialect.usage import from_chat
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    End,
    Event,
    Finish,
    Json,
    Logprobs,
    Media,
    MediaDelta,
    Opaque,
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

Object = dict[str, Any]

REASONING = Opaque(NAME, {"field": "reasoning"})
"""The provider calls its reasoning so, and not ``reasoning_content``."""
_CHUNK = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "obfuscation", "p", "error", "x_groq")
)
_CHOICE = frozenset(("index", "delta", "message", "text", "logprobs", "finish_reason", "stop_reason"))


class _Tool:
    """A tool call whose pieces are coming. ``held``: arguments that came before the name."""

    __slots__ = ("block", "held", "id", "legacy", "name", "signature")

    def __init__(self, call_id: str, legacy: bool) -> None:
        self.id = call_id
        self.name = ""
        self.held = ""
        self.block = -1
        self.legacy = legacy
        self.signature: str | None = None


class _Choice:
    """What is open in one choice."""

    __slots__ = (
        "block",
        "blocks",
        "finished",
        "index",
        "kind",
        "last_text",
        "last_tool",
        "marks",
        "signatures",
        "signed",
        "tools",
        "used_tools",
    )

    def __init__(self, index: int, marks: ThinkMarks | None) -> None:
        self.index = index
        self.kind = ""
        """The kind of the open block: text, thinking, refusal, tool, media; empty at first."""
        self.block = -1
        self.blocks = 0
        self.last_text = -1
        self.tools: dict[object, _Tool] = {}
        self.last_tool: _Tool | None = None
        self.used_tools = False
        self.finished = False
        self.marks = marks
        self.signed = False
        self.signatures: dict[str, str] = {}
        """Signatures of calls that came before their call, by id."""

    def open(self, kind: str) -> int:
        """The open block if it is of this kind, else a new one."""
        if self.kind != kind:
            self.kind = kind
            self.block = self.blocks
            self.blocks += 1
            self.signed = False
            if kind == "text":
                self.last_text = self.block
        return self.block


class Decoder:
    """One stream. Ends at ``[DONE]``, or at its end if each choice has its finish reason."""

    __slots__ = (
        "_choices",
        "_ended",
        "_extras",
        "_failed",
        "_ids",
        "_quirks",
        "_reader",
        "_started",
        "_whole",
    )

    def __init__(self, ids: IdMaker, quirks: Quirks = NO_QUIRKS, *, whole: bool = False) -> None:
        self._whole = whole
        self._ids = ids
        self._quirks = quirks
        self._reader = FrameReader()
        self._choices: dict[int, _Choice] = {}
        self._started = False
        self._ended = False
        self._failed = False
        self._extras: Object = {}

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for name, text in self._reader.feed(data):
            self._frame(name, text, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        for name, text in self._reader.eof():
            self._frame(name, text, events)
        if self._ended:
            return events
        if not self._choices or not all(choice.finished for choice in self._choices.values()):
            if self._failed:
                # Groq sends nothing behind an error.
                return events
            raise Truncated("the stream ended before a finish reason")
        self._ended = True
        events.append(End())
        return events

    def _frame(self, name: str, text: bytes | None, events: list[Event]) -> None:
        if self._ended:
            return
        if text is None:
            events.append(Unknown(b""))
            return
        if text.startswith(b"[DONE]"):
            self.close(events)
            return
        try:
            chunk = lenient.loads(text)
        except orjson.JSONDecodeError:
            if text.strip():
                events.append(Unknown(text))
            return
        if not isinstance(chunk, dict):
            events.append(Unknown(text))
        elif chunk.get("error") or name == "error":
            self._failed = True
            events.append(failure_of(chunk))
        else:
            self.chunk(chunk, events)

    def close(self, events: list[Event]) -> None:
        """``[DONE]``: providers that send no finish reason are taken at this word."""
        self._ended = True
        if self._started and not self._choices:
            self._choice(0)
        for choice in self._choices.values():
            if not choice.finished:
                self._finish(choice, None, {}, events)
        events.append(End())

    def chunk(self, chunk: Object, events: list[Event]) -> None:
        """One chunk, or the body of a unary answer, which is read as one."""
        choices = chunk.get("choices")
        usage = chunk.get("usage")
        if not self._started:
            self._start(chunk, choices, usage, events)
        if choices:
            for item in choices if isinstance(choices, list) else ():
                if isinstance(item, dict):
                    self._read_choice(item, events)
        if usage is None:
            groq = chunk.get("x_groq")
            usage = groq.get("usage") if isinstance(groq, dict) else None
        if isinstance(usage, dict):
            events.append(UsageReport(from_chat(usage)))

    def _start(self, chunk: Object, choices: Json, usage: Json, events: list[Event]) -> None:
        """Azure sends a chunk without id, model and choices first: what it holds is kept for the real start."""
        for name, value in chunk.items():
            if value is not None and name not in _CHUNK:
                self._extras[name] = value
        if not choices and not chunk.get("id") and usage is None:
            return
        self._started = True
        created = chunk.get("created")
        events.append(
            Start(
                _text(chunk.get("id")),
                _text(chunk.get("model")),
                created if isinstance(created, int) and created > 0 else None,
                None,
                Opaque(NAME, self._extras) if self._extras else None,
            )
        )

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            marks = ThinkMarks() if self._quirks.inline_thinking else None
            choice = self._choices[index] = _Choice(index, marks)
        return choice

    def _read_choice(self, item: Object, events: list[Event]) -> None:
        index = item.get("index")
        choice = self._choice(index if isinstance(index, int) else 0)
        # Perplexity puts both into streams, where the message is what came so far, and into whole answers, where the delta is empty.
        delta = item.get("message") if self._whole else item.get("delta")
        if delta is None:
            delta = item.get("delta") if self._whole else item.get("message")
        text = item.get("text")
        if isinstance(delta, dict):
            self._delta(choice, delta, events)
        elif text and isinstance(text, str):
            # Legacy completions; Together says the same twice.
            events.append(TextDelta(text, choice.open("text"), choice.index))
        logprobs = item.get("logprobs")
        if logprobs and isinstance(logprobs, dict):
            events.append(Logprobs(logprobs, choice.index))
        reason = item.get("finish_reason")
        if reason and not choice.finished:
            self._finish(choice, reason, item, events)

    def _delta(self, choice: _Choice, delta: Object, events: list[Event]) -> None:
        content = delta.get("content")
        if len(delta) == 1 and content and type(content) is str and choice.marks is None:
            # What nearly every event of a stream is.
            events.append(TextDelta(content, choice.open("text"), choice.index))
            return
        self._think(choice, delta, events)
        if content:
            self._content(choice, content, events)
        refusal = delta.get("refusal")
        if refusal and isinstance(refusal, str):
            events.append(RefusalDelta(refusal, choice.open("refusal"), choice.index))
        signature = google_signature(delta) if "extra_content" in delta else None
        if signature is not None:
            events.append(TextDelta("", choice.open("text"), choice.index, signature, "gemini"))
        calls = delta.get("tool_calls")
        if calls and isinstance(calls, list):
            for call in calls:
                if isinstance(call, dict):
                    self._call(choice, call, events)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict):
            self._legacy(choice, legacy, events)
        if "audio" in delta or "images" in delta:
            _media(choice, delta, events)
        notes = delta.get("annotations")
        if notes and isinstance(notes, list):
            _annotations(choice, notes, events)

    def _think(self, choice: _Choice, delta: Object, events: list[Event]) -> None:
        text = delta.get("reasoning_content")
        mark = None
        if not text:
            text = delta.get("reasoning")
            mark = REASONING
        details = delta.get("reasoning_details")
        if details and isinstance(details, list):
            _details(choice, details, text if isinstance(text, str) else "", events)
        elif text and isinstance(text, str):
            if choice.signed:
                choice.kind = ""
            events.append(ThinkingDelta(text, choice.open("thinking"), choice.index, False, mark))

    def _content(self, choice: _Choice, content: Json, events: list[Event]) -> None:
        if isinstance(content, list):
            for part in content:
                if isinstance(part, dict):
                    _part(choice, part, events)
            return
        if not isinstance(content, str):
            # Cloudflare answers a JSON schema with the object itself.
            content = orjson.dumps(content).decode()
        if choice.marks is None:
            events.append(TextDelta(content, choice.open("text"), choice.index))
            return
        self._marked(choice, choice.marks.feed(content), events)

    def _marked(self, choice: _Choice, pieces: Iterable[tuple[bool, str]], events: list[Event]) -> None:
        for thinking, text in pieces:
            if thinking:
                events.append(ThinkingDelta(text, choice.open("thinking"), choice.index))
            else:
                events.append(TextDelta(text, choice.open("text"), choice.index))

    def _call(self, choice: _Choice, call: Object, events: list[Event]) -> None:
        """A piece of a tool call. Some providers number every call 0, or none; then ids and names tell calls apart."""
        inner = call.get("function") or call.get("custom")
        inner = inner if isinstance(inner, dict) else {}
        name = _text(inner.get("name"))
        given = _text(call.get("id"))
        key: object = call.get("index")
        if not isinstance(key, int):
            tool = _nameless(choice, given, name)
            key = ("nameless", len(choice.tools))
        else:
            tool = choice.tools.get(key)
            if tool is not None and name is not None and given is not None and given != tool.id:
                tool = None
        if tool is None:
            tool = choice.tools[key] = _Tool(given or self._ids("call_"), False)
        choice.last_tool = tool
        if name is not None and not tool.name:
            tool.name = name
        tool.signature = tool.signature or google_signature(call) or choice.signatures.pop(tool.id, None)
        fragment = inner.get("arguments")
        if fragment is None:
            fragment = inner.get("input")
        self._piece(choice, tool, fragment, call.get("type") == "custom" or "custom" in call, events)

    def _legacy(self, choice: _Choice, call: Object, events: list[Event]) -> None:
        """The older interface: one call, without id."""
        tool = choice.tools.get("function_call")
        if tool is None:
            tool = choice.tools["function_call"] = _Tool(self._ids("call_"), True)
        name = _text(call.get("name"))
        if name is not None and not tool.name:
            tool.name = name
        self._piece(choice, tool, call.get("arguments"), False, events)

    def _piece(self, choice: _Choice, tool: _Tool, fragment: Json, custom: bool, events: list[Event]) -> None:
        if fragment is not None and not isinstance(fragment, str):
            fragment = orjson.dumps(fragment).decode()
        if tool.block < 0:
            if not tool.name:
                tool.held += fragment or ""
                return
            choice.kind = ""
            tool.block = choice.open("tool")
            choice.used_tools = True
            signed_by = None if tool.signature is None else "gemini"
            extra = LEGACY if tool.legacy else None
            events.append(
                ToolOpen(
                    tool.id, tool.name, tool.block, choice.index, custom, tool.signature, signed_by, extra
                )
            )
            fragment = tool.held + (fragment or "")
        if fragment:
            events.append(ToolArgs(fragment, tool.block, choice.index))

    def _finish(self, choice: _Choice, raw: Json, item: Object, events: list[Event]) -> None:
        choice.finished = True
        if choice.marks is not None:
            self._marked(choice, choice.marks.eof(), events)
        word = raw if isinstance(raw, str) else None
        reason = StopReason.STOP if word is None else REASONS.get(word.lower(), StopReason.OTHER)
        sequence = item.get("stop_reason")
        if choice.used_tools and reason in (StopReason.STOP, StopReason.OTHER):
            reason = StopReason.TOOL_USE
        elif isinstance(sequence, str) and reason is StopReason.STOP:
            reason = StopReason.STOP_SEQUENCE
        rest = {name: value for name, value in item.items() if value is not None and name not in _CHOICE}
        events.append(
            Finish(
                reason,
                choice.index,
                sequence if isinstance(sequence, str) else None,
                word,
                Opaque(NAME, rest) if rest else None,
            )
        )


def _nameless(choice: _Choice, given: str | None, name: str | None) -> _Tool | None:
    """The call that a piece without an index belongs to: that of its id, else the last one; a name without an id begins a call."""
    if given is not None:
        return next((tool for tool in choice.tools.values() if tool.id == given), None)
    return choice.last_tool if name is None else None


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


def _details(choice: _Choice, details: list[Json], said: str, events: list[Event]) -> None:
    """OpenRouter's form. The text stands in it and beside it; it is read once, and the details are kept for clients of this dialect."""
    told = False
    for detail in details:
        if not isinstance(detail, dict):
            continue
        text = detail.get("text") or detail.get("summary") or ""
        signature = _text(detail.get("signature"))
        data = _text(detail.get("data"))
        signed_by = FORMATS.get(_text(detail.get("format")) or "", NAME)
        extra = Opaque(NAME, {"field": "reasoning", "details": [detail]})
        if text and isinstance(text, str):
            if choice.signed:
                choice.kind = ""
            told = True
            events.append(ThinkingDelta(text, choice.open("thinking"), choice.index, False, extra))
            extra = Opaque(NAME, {})
        if signature is not None:
            events.append(
                SignatureDelta(signature, signed_by, choice.open("thinking"), choice.index, False, extra)
            )
            choice.signed = True
        elif data is not None:
            _hidden(choice, detail, data, signed_by, events)
    if said and not told:
        if choice.signed:
            choice.kind = ""
        events.append(ThinkingDelta(said, choice.open("thinking"), choice.index, False, REASONING))


def _hidden(choice: _Choice, detail: Object, data: str, signed_by: str, events: list[Event]) -> None:
    identity = detail.get("id")
    if signed_by == "gemini" and isinstance(identity, str):
        # It belongs to the call of that id, which mostly comes next.
        choice.signatures[identity] = data
    choice.kind = ""
    block = choice.open("thinking")
    extra = Opaque(NAME, {"details": [detail]})
    events.append(SignatureDelta(data, signed_by, block, choice.index, True, extra))
    choice.signed = True


def _part(choice: _Choice, part: Object, events: list[Event]) -> None:
    """A part of Mistral's content lists."""
    if part.get("type") == "thinking":
        inner = part.get("thinking")
        for piece in inner if isinstance(inner, list) else [{"text": inner}]:
            text = piece.get("text") if isinstance(piece, dict) else None
            if text and isinstance(text, str):
                events.append(ThinkingDelta(text, choice.open("thinking"), choice.index))
    elif isinstance(part.get("text"), str):
        if part["text"]:
            events.append(TextDelta(part["text"], choice.open("text"), choice.index))
    elif part.get("type") == "image_url":
        _media(choice, {"images": [part]}, events)


def _media(choice: _Choice, delta: Object, events: list[Event]) -> None:
    audio = delta.get("audio")
    if isinstance(audio, dict):
        block = choice.open("audio")
        media = Media("audio", data=_text(audio.get("data")), extra=Opaque(NAME, {"audio": audio}))
        events.append(MediaDelta(media, block, choice.index))
    images = delta.get("images")
    for image in images if isinstance(images, list) else ():
        holder = image.get("image_url") if isinstance(image, dict) else None
        url = holder.get("url") if isinstance(holder, dict) else holder
        if not isinstance(url, str):
            continue
        media = Media("image", extra=Opaque(NAME, {"images": [image]}))
        head, comma, data = url.partition(";base64,")
        if comma and head.startswith("data:"):
            media.media_type, media.data = head[5:], data
        else:
            media.url = url
        choice.kind = ""
        events.append(MediaDelta(media, choice.open("media"), choice.index))


def _annotations(choice: _Choice, notes: list[Json], events: list[Event]) -> None:
    for note in notes:
        if not isinstance(note, dict):
            continue
        block = choice.last_text if choice.last_text >= 0 else choice.open("text")
        where = note.get("url_citation")
        cited = where if isinstance(where, dict) else {}
        events.append(
            Annotation(
                Opaque(NAME, note, "annotations"),
                block,
                choice.index,
                _text(cited.get("url")),
                _text(cited.get("title")),
                _text(cited.get("content")),
                _whole(cited.get("start_index")),
                _whole(cited.get("end_index")),
            )
        )


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) else None


def decode_unary(body: bytes, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> list[Event]:
    """The events of a whole answer. An error in the guise of an answer is a ``Failure``."""
    try:
        value = lenient.loads(body)
    except orjson.JSONDecodeError as exc:
        raise ProtocolError("the answer is no JSON") from exc
    if not isinstance(value, dict):
        raise ProtocolError("the answer is no object")
    choices = value.get("choices")
    if not isinstance(choices, list) or not choices:
        if value.get("error"):
            return [failure_of(value)]
        raise ProtocolError("the answer has no choices")
    decoder = Decoder(ids, quirks, whole=True)
    events: list[Event] = []
    decoder.chunk(value, events)
    decoder.close(events)
    return events
