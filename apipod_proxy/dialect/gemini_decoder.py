"""Gemini's answers to events: chunks of ``streamGenerateContent``, as an event stream or as a JSON array, and whole answers.

There is no closing mark: a stream is whole when each candidate that was seen has a finish reason, or when the prompt was blocked. Finishes are
given at the end of the stream, because older models put a finish reason on every chunk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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
from apipod_proxy.dialect.gemini_names import NAME, REASONS, finish_word, with_names
from apipod_proxy.dialect.json_stream import ObjectReader
from apipod_proxy.dialect.media_types import kind_of, standard_base64
from apipod_proxy.dialect.shapes import a_text, an_index, an_object, listed, objects
from apipod_proxy.dialect.sse import FrameReader
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
    OpaqueBlock,
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

TEXT, THOUGHT = "text", "thought"
_CALL = b'"functionCall"'
CANDIDATE_FIELDS = frozenset({"content", "finishReason", "index"})
ANSWER_FIELDS = frozenset(
    {"candidates", "usageMetadata", "modelVersion", "responseId", "promptFeedback", "error"}
)


class _Candidate:
    """What is known of one candidate while it arrives."""

    __slots__ = ("block", "calls", "extra", "finish", "kind", "open_call", "text")

    def __init__(self) -> None:
        self.block = -1
        self.kind = ""
        """Of the open block: text, thought, or nothing."""
        self.text: list[str] = []
        """The answer's text so far: citations point into it by byte offsets."""
        self.calls = 0
        self.open_call: _PartialCall | None = None
        self.finish = ""
        self.extra: dict[str, Json] = {}

    def block_of(self, kind: str) -> int:
        """The block that a piece of this kind belongs to: the open one, or a new one."""
        if not kind or self.kind != kind:
            self.block += 1
            self.kind = kind
        return self.block


class _PartialCall:
    """A call whose arguments arrive piece by piece, each with its place in the object."""

    __slots__ = ("args", "block")

    def __init__(self, block: int, args: dict[str, Json]) -> None:
        self.block = block
        self.args = args

    def add(self, pieces: Json) -> None:
        for piece in objects(pieces):
            if isinstance(piece.get("jsonPath"), str):
                _put(self.args, _steps(piece["jsonPath"]), piece)


_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]""")


def _steps(path: str) -> list[str | int]:
    """``$.a.b[0]['c d']`` → ["a", "b", 0, "c d"]."""
    steps: list[str | int] = []
    for name, index, single, double in _STEP.findall(path):
        steps.append(int(index) if index else name or single or double)
    return steps


MAX_INDEX = 100_000
"""Guards against a path like ``$.a[999999999]``, for which a list would have to be filled."""


def _put(target: Json, steps: list[str | int], piece: Mapping[str, Json]) -> None:
    if not steps:
        return
    at = target
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(at, list):
            if not isinstance(step, int) or step > MAX_INDEX:
                raise ProtocolError(f"an argument's path leads nowhere: {steps}")
            at += [None] * (step + 1 - len(at))
        elif not isinstance(at, dict) or not isinstance(step, str):
            raise ProtocolError(f"an argument's path leads nowhere: {steps}")
        old = at.get(step) if isinstance(at, dict) else at[step]
        if following is not None:
            if old is None:
                old = [] if isinstance(following, int) else {}
                at[step] = old
            at = old
        elif "stringValue" in piece:
            at[step] = (old if isinstance(old, str) else "") + str(piece["stringValue"])
        elif "numberValue" in piece:
            number = piece["numberValue"]
            at[step] = int(number) if isinstance(number, float) and number.is_integer() else number
        else:
            at[step] = piece.get("boolValue")


class Decoder:
    """Of a stream, in whichever of its two framings; told by the first byte."""

    def __init__(self, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> None:
        self._answer = Answer(ids)
        self._frames: FrameReader | None = None
        self._objects: ObjectReader | None = None

    def feed(self, data: bytes) -> list[Event]:
        if self._frames is None and self._objects is None:
            data = data.lstrip(b" \t\r\n") if data[:3] != b"\xef\xbb\xbf" else data
            if not data:
                return []
            if data[:1] in b"[{":
                self._objects = ObjectReader()
            else:
                self._frames = FrameReader()
        events: list[Event] = []
        if self._frames is not None:
            for frame in self._frames.feed(data):
                self._one(frame.data, events)
        elif self._objects is not None:
            for text in self._objects.feed(data):
                self._one(text, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        if self._frames is not None:
            for frame in self._frames.eof():
                self._one(frame.data, events)
        return events + self._answer.close()

    def _one(self, text: bytes | None, events: list[Event]) -> None:
        if not text or text.strip() == b"[DONE]":
            if text is None or text == b"":
                events.append(Unknown(b""))
            return
        try:
            value = lenient.loads_exactly(text) if _CALL in text else lenient.loads(text)
        except orjson.JSONDecodeError:
            lines = text.split(b"\n")
            if len(lines) == 1:
                events.append(Unknown(text))
            # Events whose blank lines were lost on the way arrive as one with several lines.
            for line in lines if len(lines) > 1 else ():
                self._one(line, events)
            return
        for chunk in value if isinstance(value, list) else [value]:
            if isinstance(chunk, dict):
                self._answer.add(chunk, events)
            else:
                events.append(Unknown(text))


def decode_unary(body: bytes, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> list[Event]:
    """The events of a whole answer (or of all chunks of a stream in one array); raises ProtocolError."""
    try:
        value = lenient.loads_exactly(body)
    except orjson.JSONDecodeError as exc:
        raise Truncated(f"the answer is no JSON: {exc.msg}") from exc
    answer = Answer(ids, unary=True)
    events: list[Event] = []
    for chunk in value if isinstance(value, list) else [value]:
        if not isinstance(chunk, dict):
            raise ProtocolError("the answer is no object")
        answer.add(chunk, events)
    return events + answer.close()


class Answer:
    """The chunks of one answer → events. ``unary``: each part is a block of its own, and a finish reason may be missing."""

    def __init__(self, ids: IdMaker, *, unary: bool = False) -> None:
        self._ids = ids
        self._unary = unary
        self._started = False
        self._failed = False
        self._vertex = False
        self._numbered = False
        self._usage: Json = None
        self._blocked: dict[str, Json] | None = None
        self._candidates: dict[int, _Candidate] = {}

    def add(self, chunk: dict[str, Json], events: list[Event]) -> None:
        """Append the events of one chunk."""
        if chunk.get("error") is not None:
            self._failed = True
            events.append(provider_errors.failure_of(chunk))
            return
        if not self._started:
            self._started = True
            self._vertex = "createTime" in chunk or "trafficType" in an_object(chunk.get("usageMetadata"))
            kept = {key: value for key, value in chunk.items() if key not in ANSWER_FIELDS}
            extra = Opaque(NAME, kept) if kept else None
            events.append(
                Start(a_text(chunk.get("responseId")), a_text(chunk.get("modelVersion")), extra=extra)
            )
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._blocked = feedback
        for position, candidate in enumerate(objects(chunk.get("candidates"))):
            index = candidate.get("index")
            choice = index if isinstance(index, int) else position
            self._candidate(self._candidates.setdefault(choice, _Candidate()), choice, candidate, events)
        metadata = an_object(chunk.get("usageMetadata"))
        if metadata and metadata != self._usage:
            self._usage = metadata
            if self._numbered:
                metadata = with_names(metadata)
            events.append(UsageReport(usage.from_gemini(metadata)))

    def close(self) -> list[Event]:
        """The closing events; raises Truncated where a finish reason is missing."""
        if self._failed:
            return []
        events: list[Event] = []
        if not self._candidates:
            if self._blocked is None:
                raise Truncated("the answer has neither a candidate nor a block reason")
            extra = Opaque(NAME, {"promptFeedback": self._blocked})
            raw = str(self._blocked["blockReason"])
            return [Finish(StopReason.CONTENT_FILTER, 0, None, raw, extra), End()]
        for choice, state in sorted(self._candidates.items()):
            # A whole answer that was read to its end may lack the reason (speech does), but not the content.
            excused = self._blocked is not None or (self._unary and state.block >= 0)
            if not state.finish and not excused:
                raise Truncated(f"candidate {choice} has no finish reason")
            self._finish(state, choice, events)
        events.append(End())
        return events

    def _candidate(
        self, state: _Candidate, choice: int, candidate: dict[str, Json], events: list[Event]
    ) -> None:
        content = candidate.get("content")
        if isinstance(content, dict):
            for part in objects(content.get("parts")):
                self._part(state, choice, part, events)
                if self._unary:
                    state.kind = ""
        self._numbered = self._numbered or isinstance(candidate.get("finishReason"), int)
        if word := finish_word(candidate.get("finishReason"), self._vertex):
            state.finish = word
        for key, value in candidate.items():
            if key not in CANDIDATE_FIELDS:
                state.extra[key] = value

    def _part(self, state: _Candidate, choice: int, part: dict[str, Json], events: list[Event]) -> None:
        signature = a_text(part.get("thoughtSignature"))
        call = part.get("functionCall")
        if isinstance(call, dict):
            self._call(state, choice, call, signature, events)
        elif isinstance(part.get("text"), str) or set(part) == {"thoughtSignature"}:
            text = part.get("text") or ""
            if part.get("thought"):
                _thought(state, choice, text, signature, events)
            elif text or signature:
                state.text.append(text)
                block = state.block_of(TEXT)
                events.append(TextDelta(text, block, choice, signature, NAME if signature else None))
                if signature:
                    state.kind = ""
        elif isinstance(part.get("inlineData"), dict):
            data = part["inlineData"]
            media_type = a_text(data.get("mimeType"))
            kept = {key: value for key, value in part.items() if key != "inlineData"}
            media = Media(
                kind_of(media_type),
                media_type,
                standard_base64(str(data.get("data") or "")),
                extra=Opaque(NAME, kept) if kept else None,
            )
            events.append(MediaDelta(media, state.block_of(""), choice))
        elif part:
            what = next((key for key in part if key not in ("thought", "thoughtSignature")), "part")
            events.append(OpaqueBlock(Opaque(NAME, part, what), state.block_of(""), choice))

    def _call(
        self,
        state: _Candidate,
        choice: int,
        call: dict[str, Json],
        signature: str | None,
        events: list[Event],
    ) -> None:
        name = a_text(call.get("name"))
        partial = state.open_call
        if partial is not None and name:
            _close_call(state, choice, events)
            partial = None
        if partial is None:
            if not name:
                return
            state.calls += 1
            given = a_text(call.get("id"))
            block = state.block_of("")
            extra = Opaque(NAME, {} if given else {"id": None})
            made = given or self._ids("call_")
            events.append(
                ToolOpen(made, name, block, choice, False, signature, NAME if signature else None, extra)
            )
            args = call.get("args")
            partial = state.open_call = _PartialCall(block, args if isinstance(args, dict) else {})
        partial.add(call.get("partialArgs"))
        if not call.get("willContinue"):
            _close_call(state, choice, events)

    def _finish(self, state: _Candidate, choice: int, events: list[Event]) -> None:
        _close_call(state, choice, events)
        grounding = state.extra.get("groundingMetadata")
        if isinstance(grounding, dict) and state.text:
            events += _annotations(grounding, "".join(state.text), max(state.block, 0), choice)
        if isinstance(logprobs := state.extra.get("logprobsResult"), dict):
            events.append(Logprobs(logprobs_to_chat(logprobs), choice))
        reason = REASONS.get(state.finish, StopReason.OTHER) if state.finish else StopReason.STOP
        if self._blocked is not None and not state.finish:
            reason = StopReason.CONTENT_FILTER
        if state.calls and reason in (StopReason.STOP, StopReason.MALFORMED_CALL):
            # A call of a tool that was never offered is one that the client can answer.
            reason = StopReason.TOOL_USE
        extra = Opaque(NAME, state.extra) if state.extra else None
        events.append(Finish(reason, choice, None, state.finish or None, extra))


def _thought(state: _Candidate, choice: int, text: str, signature: str | None, events: list[Event]) -> None:
    if not text and not signature:
        return
    block = state.block_of(THOUGHT)
    if text:
        events.append(ThinkingDelta(text, block, choice))
    if signature:
        events.append(SignatureDelta(signature, NAME, block, choice))
        state.kind = ""


def _close_call(state: _Candidate, choice: int, events: list[Event]) -> None:
    if state.open_call is not None:
        events.append(ToolArgs(lenient.dumps(state.open_call.args).decode(), state.open_call.block, choice))
        state.open_call = None


def _annotations(grounding: dict[str, Json], text: str, block: int, choice: int) -> list[Annotation]:
    """One annotation for each source that supports a piece of the text. Gemini counts bytes, the vocabulary characters."""
    raw = text.encode("utf-8", "surrogatepass")
    chunks = listed(grounding.get("groundingChunks"))
    found = []
    for support in objects(grounding.get("groundingSupports")):
        segment = an_object(support.get("segment"))
        start, end = an_index(segment.get("startIndex")), an_index(segment.get("endIndex"))
        for index in listed(support.get("groundingChunkIndices")):
            if (
                not isinstance(index, int)
                or not 0 <= index < len(chunks)
                or not isinstance(chunks[index], dict)
            ):
                continue
            source = next((value for value in chunks[index].values() if isinstance(value, dict)), {})
            found.append(
                Annotation(
                    Opaque(NAME, {"segment": segment, "chunk": chunks[index]}, "groundingMetadata"),
                    block,
                    choice,
                    a_text(source.get("uri")),
                    a_text(source.get("title")),
                    a_text(source.get("text")),
                    len(raw[:start].decode("utf-8", "replace")),
                    len(raw[:end].decode("utf-8", "replace")),
                )
            )
    return found


def logprobs_to_chat(result: Mapping[str, Json]) -> Json:
    """``logprobsResult`` in Chat's form."""
    tops = listed(result.get("topCandidates"))
    content = []
    for position, token in enumerate(objects(result.get("chosenCandidates"))):
        top = an_object(tops[position]) if position < len(tops) else {}
        content.append(
            {**_token(token), "top_logprobs": [_token(item) for item in objects(top.get("candidates"))]}
        )
    return {"content": content, "refusal": None}


def _token(item: dict[str, Json]) -> dict[str, Json]:
    token = str(item.get("token", ""))
    return {
        "token": token,
        "logprob": item.get("logProbability", 0.0),
        "bytes": list(token.encode("utf-8", "surrogatepass")),
    }
