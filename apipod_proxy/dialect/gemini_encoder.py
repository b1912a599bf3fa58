"""Events to Gemini's answers: chunks of an event stream, and whole answers.

Calls are whole objects there, so fragments are held until a call is complete, and with them what comes in between. The finish goes out with the
last parts and the usage, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from apipod_proxy.dialect import AnswerInfo, custom_tools, lenient
from apipod_proxy.dialect.gemini_names import NAME, REASONS, SKIP_VALIDATION, STATUSES, WORDS
from apipod_proxy.dialect.gemini_parts import REDACTED
from apipod_proxy.dialect.shapes import is_whole
from apipod_proxy.dialect.signatures import CALL, wrap_base64
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
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Usage,
    UsageReport,
)
from apipod_proxy.errors import Kind

Object = dict[str, Json]

_PIECE = b'data: {"candidates":[{"content":{"parts":[{"text":'
_THOUGHT = b',"thought":true'


class _Choice:
    """One candidate while it is written."""

    __slots__ = ("annotations", "called", "calls", "finish", "held", "last", "logprobs", "parts", "text")

    def __init__(self) -> None:
        self.calls: dict[int, tuple[ToolOpen, list[str]]] = {}
        self.called = False
        self.held: list[Event] = []
        """What came between the fragments of calls."""
        self.finish: Finish | None = None
        self.annotations: list[Annotation] = []
        self.logprobs: list[Json] = []
        self.text: list[str] = []
        self.parts: list[Object] = []
        """Of a whole answer."""
        self.last: tuple[str, int] = ("", -1)
        """Kind and block of the last part of a whole answer: pieces of one block are joined."""

    def waits(self, event: Event) -> bool:
        """Whether a call is not complete yet: then ``event`` is kept until it is. Of free text nobody can say where it ends."""
        if not self.calls or self.calls_over():
            return False
        self.held.append(event)
        return True

    def calls_over(self) -> bool:
        return all(opened.custom or is_whole(pieces) for opened, pieces in self.calls.values())


class Encoder:
    """As ``data:`` events with a blank after the colon: SDKs of Gemini fail on anything else."""

    def __init__(self, info: AnswerInfo) -> None:
        self.dropped: list[str] = []
        self._info = info
        self._id = info.request_id
        self._top: Object = {}
        self._usage = Usage()
        self._fresh_usage = False
        self._choices: dict[int, _Choice] = {}
        self._tails: dict[int, bytes] = {}
        """What stands behind the part of a chunk that is one piece of text, by choice. Writing such chunks around their text takes a fourth of
        the time of writing them out.
        """

    def send(self, event: Event) -> bytes:
        if isinstance(event, TextDelta):
            written = b"" if event.signature else self._piece(event, b"")
        elif isinstance(event, ThinkingDelta):
            written = self._piece(event, _THOUGHT)
        else:
            written = b""
        if written:
            return written
        if isinstance(event, End):
            return self._frame(self._closing())
        if isinstance(event, Failure):
            return self._frame(error_object(event))
        choice, parts = self._take(event)
        return self._frame(self._chunk(choice, parts)) if parts else b""

    def fold(self, events: Sequence[Event]) -> bytes:
        """The whole answer as the body of ``generateContent``."""
        for event in events:
            if isinstance(event, Failure):
                return orjson.dumps(error_object(event))
            choice, parts = self._take(event)
            if parts:
                state = self._choice(choice)
                for part in parts:
                    _join(state, part, getattr(event, "block", -1))
        return lenient.dumps(self._closing())

    def _piece(self, event: TextDelta | ThinkingDelta, mark: bytes) -> bytes:
        """The chunk of a plain piece of text; nothing where there is more to say."""
        state = self._choices.get(event.choice)
        if not event.text or state is None or state.calls or self._fresh_usage:
            return b""
        if not mark:
            state.text.append(event.text)
        tail = self._tails.get(event.choice)
        if tail is None:
            tail = self._tails[event.choice] = self._make_tail(event.choice)
        return b"%b%b%b%b" % (_PIECE, lenient.dumps(event.text), mark, tail)

    def _make_tail(self, choice: int) -> bytes:
        """Of a chunk without usage."""
        rest = lenient.dumps(self._headed({}))
        return b'}],"role":"model"},"index":%d}],%b\r\n\r\n' % (choice, rest[1:])

    def _frame(self, value: Object) -> bytes:
        return b"data: " + lenient.dumps(value) + b"\r\n\r\n"

    def _choice(self, index: int) -> _Choice:
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        return state

    def _take(self, event: Event) -> tuple[int, list[Object]]:
        """Remember what an event says; the parts that are ready with it."""
        if isinstance(event, TextDelta):
            state = self._choice(event.choice)
            if state.calls and state.waits(event):
                return event.choice, []
            state.text.append(event.text)
            part: Object = {"text": event.text}
            if event.signature:
                part["thoughtSignature"] = _signature(event.signature, event.signed_by, "text")
            return event.choice, [*self._calls(state), part] if event.text or event.signature else []
        if isinstance(event, ToolArgs):
            state = self._choice(event.choice)
            if call := state.calls.get(event.block):
                call[1].append(event.fragment)
            return event.choice, self._released(state) if state.held and state.calls_over() else []
        if isinstance(event, ThinkingDelta):
            state = self._choice(event.choice)
            if not event.text or state.waits(event):
                return event.choice, []
            return event.choice, [*self._calls(state), {"text": event.text, "thought": True}]
        if isinstance(event, ToolOpen):
            self._choice(event.choice).calls[event.block] = (event, [])
            return event.choice, []
        if isinstance(event, UsageReport):
            self._usage = self._usage.merged(event.usage)
            self._fresh_usage = True
            return 0, []
        return self._take_rare(event)

    def _take_rare(self, event: Event) -> tuple[int, list[Object]]:
        if isinstance(event, Start):
            self._id = event.id or self._id
            if event.extra and event.extra.dialect == NAME:
                self._top = event.extra.payload
            self._tails.clear()
            if event.usage:
                self._usage = self._usage.merged(event.usage)
                self._fresh_usage = True
        elif isinstance(event, Finish):
            self._choice(event.choice).finish = event
        elif isinstance(event, Annotation):
            self._choice(event.choice).annotations.append(event)
        elif isinstance(event, Logprobs):
            self._choice(event.choice).logprobs += (event.payload or {}).get("content") or []
        elif isinstance(event, (RefusalDelta, SignatureDelta, MediaDelta, OpaqueBlock)):
            return event.choice, self._rare_parts(event)
        return 0, []

    def _rare_parts(self, event: RefusalDelta | SignatureDelta | MediaDelta | OpaqueBlock) -> list[Object]:
        state = self._choice(event.choice)
        if state.waits(event):
            return []
        ready = self._calls(state)
        if isinstance(event, RefusalDelta):
            return [*ready, {"text": event.text}] if event.text else ready
        if isinstance(event, SignatureDelta):
            place = REDACTED if event.redacted else ""
            return [
                *ready,
                {
                    "text": "",
                    "thought": True,
                    "thoughtSignature": _signature(event.signature, event.signed_by, place),
                },
            ]
        if isinstance(event, MediaDelta):
            media = event.media
            own = media.extra.payload if media.extra and media.extra.dialect == NAME else {}
            if media.data is None:
                return [
                    *ready,
                    {"fileData": {"fileUri": media.url or "", "mimeType": media.media_type}, **own},
                ]
            return [*ready, {"inlineData": {"mimeType": media.media_type, "data": media.data}, **own}]
        if event.payload.dialect == NAME:
            return [*ready, event.payload.payload]
        self.dropped.append(event.payload.what or event.payload.dialect)
        return ready

    def _calls(self, state: _Choice) -> list[Object]:
        """The calls that are complete because something else begins."""
        if not state.calls:
            return []
        parts = [_call_part(opened, "".join(pieces)) for opened, pieces in state.calls.values()]
        opened = next(iter(state.calls.values()))[0]
        if not state.called and not opened.signature and not _is_own(opened):
            # On the next turn a Gemini may answer, which refuses calls that nobody signed.
            parts[0]["thoughtSignature"] = SKIP_VALIDATION
        state.called = True
        state.calls.clear()
        return parts

    def _released(self, state: _Choice) -> list[Object]:
        """The calls, and behind them what came between their fragments."""
        parts = self._calls(state)
        held, state.held = state.held, []
        for event in held:
            parts += self._take(event)[1]
        return parts

    def _chunk(self, index: int, parts: list[Object]) -> Object:
        chunk: Object = {"candidates": [{"content": {"parts": parts, "role": "model"}, "index": index}]}
        if self._fresh_usage:
            self._fresh_usage = False
            chunk["usageMetadata"] = to_gemini(self._usage)
        return self._headed(chunk)

    def _headed(self, chunk: Object) -> Object:
        chunk["modelVersion"] = self._info.model
        if self._top:
            chunk.update(self._top)
        chunk["responseId"] = self._id
        return chunk

    def _closing(self) -> Object:
        """The last chunk of a stream, and the whole of an answer that is not streamed."""
        chunk: Object = {}
        candidates = []
        for index, state in sorted(self._choices.items()):
            blocked = _feedback(state.finish)
            for part in self._released(state):
                _join(state, part, -1)
            parts = state.parts
            if blocked is not None:
                chunk["promptFeedback"] = blocked
                if not state.text and not parts:
                    continue
            candidates.append(_candidate(index, state, parts))
        if candidates:
            chunk = {"candidates": candidates, **chunk}
        if self._usage != Usage():
            chunk["usageMetadata"] = to_gemini(self._usage)
        return self._headed(chunk)


def _signature(signature: str, signed_by: str | None, place: str) -> str:
    return signature if signed_by in (None, NAME) else wrap_base64(signature, signed_by, place)


def _is_own(opened: ToolOpen) -> bool:
    return opened.extra is not None and opened.extra.dialect == NAME


def _call_part(opened: ToolOpen, arguments: str) -> Object:
    call: Object = {
        "name": opened.name,
        "args": lenient.arguments_object(
            custom_tools.to_arguments(arguments) if opened.custom else arguments
        ),
    }
    if opened.extra is None or not _is_own(opened) or opened.extra.payload.get("id", "") is not None:
        call["id"] = opened.id
    part: Object = {"functionCall": call}
    if opened.signature:
        part["thoughtSignature"] = _signature(opened.signature, opened.signed_by, CALL)
    return part


def _join(state: _Choice, part: Object, block: int) -> None:
    """Add a part of a whole answer; pieces of one text or thought become one part, as long as no signature ends it."""
    kind = "" if "text" not in part else "thought" if part.get("thought") else "text"
    if kind and state.last == (kind, block) and ("thoughtSignature" not in part or kind == "thought"):
        state.parts[-1]["text"] += part["text"]
        if "thoughtSignature" in part:
            state.parts[-1]["thoughtSignature"] = part["thoughtSignature"]
            state.last = ("", -1)
        return
    state.parts.append(dict(part))
    state.last = (kind, block) if kind and "thoughtSignature" not in part else ("", -1)


def _feedback(finish: Finish | None) -> Json:
    extra = finish.extra if finish else None
    return extra.payload.get("promptFeedback") if extra and extra.dialect == NAME else None


def _candidate(index: int, state: _Choice, parts: list[Object]) -> Object:
    # A turn without parts would be thrown out of a chat's history by the SDKs.
    candidate: Object = {"content": {"parts": parts or [{"text": ""}], "role": "model"}}
    finish = state.finish
    if finish:
        word = finish.raw if finish.raw in REASONS else WORDS[finish.reason]
        if finish.raw is not None or finish.extra is None or finish.extra.dialect != NAME:
            candidate["finishReason"] = word
    candidate["index"] = index
    own = finish.extra.payload if finish and finish.extra and finish.extra.dialect == NAME else {}
    candidate.update({key: value for key, value in own.items() if key != "promptFeedback"})
    if state.annotations and "groundingMetadata" not in own:
        candidate["groundingMetadata"] = _grounding(state.annotations, "".join(state.text))
    if state.logprobs and "logprobsResult" not in own:
        candidate["logprobsResult"] = _logprobs(state.logprobs)
    return candidate


def _grounding(annotations: list[Annotation], text: str) -> Object:
    """Citations of another dialect as grounding: the sources once each, and which piece of the text rests on which."""
    chunks: list[Object] = []
    supports: list[Object] = []
    for note in annotations:
        source = {"web": {key: value for key, value in (("uri", note.url), ("title", note.title)) if value}}
        if source not in chunks:
            chunks.append(source)
        if note.end is not None:
            start = note.start or 0
            segment: Object = {
                "endIndex": len(text[: note.end].encode("utf-8", "surrogatepass")),
                "text": text[start : note.end],
            }
            if start:
                segment["startIndex"] = len(text[:start].encode("utf-8", "surrogatepass"))
            supports.append({"segment": segment, "groundingChunkIndices": [chunks.index(source)]})
    return (
        {"groundingChunks": chunks, "groundingSupports": supports}
        if supports
        else {"groundingChunks": chunks}
    )


def _logprobs(tokens: list[Json]) -> Object:
    chosen = [{"token": item.get("token"), "logProbability": item.get("logprob")} for item in tokens]
    tops = [
        {
            "candidates": [
                {"token": top.get("token"), "logProbability": top.get("logprob")}
                for top in item.get("top_logprobs") or []
            ]
        }
        for item in tokens
    ]
    return {"chosenCandidates": chosen, "topCandidates": tops}


def to_gemini(usage: Usage) -> Object:
    """``usageMetadata``; Gemini's own object where it came from there."""
    if usage.extra is not None and usage.extra.dialect == NAME and isinstance(usage.extra.payload, dict):
        return usage.extra.payload
    prompt = (usage.input or 0) + (usage.cache_read or 0) + (usage.cache_write or 0)
    out: Object = {"promptTokenCount": prompt, "candidatesTokenCount": usage.output or 0}
    if usage.cache_read:
        out["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning is not None:
        out["thoughtsTokenCount"] = usage.reasoning
    out["totalTokenCount"] = prompt + (usage.output or 0) + (usage.reasoning or 0)
    return out


def error_object(event: Failure) -> Object:
    """An error inside a stream, as the API words it."""
    try:
        status = STATUSES[Kind(event.kind)]
    except ValueError:
        status = "INTERNAL"
    return {
        "error": {
            "code": event.status or 500,
            "message": event.message,
            "status": event.code if event.code in _KNOWN else status,
        }
    }


_KNOWN = frozenset(STATUSES.values())
