"""Gemini's generateContent, as one answer, as server-sent events and as a streamed JSON array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import orjson

from apipod_proxy.simulator.answers.scene import Failure, Frame, Scene, dumps, pretty
from apipod_proxy.simulator.ask import JSON
from apipod_proxy.simulator.requests.gemini import KIND
from apipod_proxy.simulator.signature import sign

_STOPS = {"length": "MAX_TOKENS", "filter": "SAFETY", "refusal": "PROHIBITED_CONTENT"}
MALFORMED = b'data: {"candidates": [{"content": {"parts": [{"text": "\r\n\r\n'
# The generations before the third send no ids of calls and, unless asked to think, no signatures.
_EARLY = re.compile(r"gemini-[12]\b|gemini-[12]\.")
# status: name, message
_KINDS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: (
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid credential.",
    ),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: (
        "NOT_FOUND",
        "models/gemini is not found for API version v1beta, or is not supported for generateContent.",
    ),
    429: (
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    499: ("CANCELLED", "The operation was cancelled."),
    500: (
        "INTERNAL",
        "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    ),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}


def _compact(value: object) -> bytes:
    """JSON with Google's blanks and escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ": "))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").encode()


class _Chunks:
    """The answer as a list of candidates' parts with the usage so far; one object for all three framings."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.early = bool(_EARLY.search(scene.model))
        usage = scene.reply.usage
        self._prompt: JSON = {"promptTokenCount": usage.prompt}
        self._details: JSON = {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}]}
        if usage.cache_read:
            self._details["cachedContentTokenCount"] = usage.cache_read
        self._end: JSON = {
            "modelVersion": scene.model.removeprefix("models/"),
            "responseId": scene.ids.gemini_response(),
        }
        self._said = 0

    def usage(self, said: int, reasoning: int) -> JSON:
        usage = dict(self._prompt)
        if said:
            usage["candidatesTokenCount"] = said
        usage["totalTokenCount"] = self.scene.reply.usage.prompt + said + reasoning
        usage |= self._details
        if reasoning:
            usage["thoughtsTokenCount"] = reasoning
        return usage

    def chunk(
        self, parts: list[JSON], *, said: int, reasoning: int, finish: str | None = None, choice: int = 0
    ) -> JSON:
        candidate: JSON = {"content": {"parts": parts, "role": "model"}}
        if finish:
            candidate["finishReason"] = finish
        candidate["index"] = choice
        if finish == "STOP" and any("functionCall" in part for part in parts):
            candidate["finishMessage"] = "Model generated function call(s)."
        if self.scene.script.no_usage:
            return {"candidates": [candidate], **self._end}
        return {"candidates": [candidate], "usageMetadata": self.usage(said, reasoning), **self._end}

    def blocked(self) -> JSON:
        return {
            "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
            "usageMetadata": self.usage(0, 0),
            **self._end,
        }

    def call_parts(self) -> list[JSON]:
        """Each call as a part; only the first is signed."""
        scene = self.scene
        parts: list[JSON] = []
        for call in scene.reply.calls:
            held: JSON = {"name": call.name, "args": call.arguments}
            if not self.early:
                held["id"] = scene.ids.gemini_call()
            part: JSON = {"functionCall": held}
            if not parts and (not self.early or scene.reply.thoughts):
                part["thoughtSignature"] = sign(
                    KIND, scene.reply.thinking + call.name + json.dumps(call.arguments, sort_keys=True)
                )
            parts.append(part)
        return parts

    @property
    def finish(self) -> str:
        return _STOPS.get(self.scene.reply.stop, "STOP")

    def text_signature(self) -> str | None:
        reply = self.scene.reply
        return (
            sign(KIND, reply.thinking + reply.text)
            if reply.pieces and (reply.thoughts or not self.early) and not reply.calls
            else None
        )


def _thought(text: str) -> JSON:
    return {"text": text, "thought": True}


def unary(scene: Scene) -> bytes:
    """The whole answer."""
    chunks = _Chunks(scene)
    reply = scene.reply
    if reply.stop == "blocked":
        return pretty(chunks.blocked())
    parts = [_thought(reply.thinking)] if reply.thoughts else []
    if reply.pieces:
        text: JSON = {"text": reply.text}
        if signature := chunks.text_signature():
            text["thoughtSignature"] = signature
        parts.append(text)
    parts += chunks.call_parts()
    usage = reply.usage
    answer = chunks.chunk(
        parts, said=usage.output - usage.reasoning, reasoning=usage.reasoning, finish=chunks.finish
    )
    answer["candidates"] = [answer["candidates"][0] | {"index": choice} for choice in range(reply.choices)]
    return pretty(answer)


def _objects(chunks: _Chunks, pieces: Sequence[str]) -> Iterator[tuple[bool, JSON]]:
    scene, reply = chunks.scene, chunks.scene.reply
    if reply.stop == "blocked":
        yield False, chunks.blocked()
        return
    reasoning = reply.usage.reasoning
    for thought in reply.thoughts:
        yield True, chunks.chunk([_thought(thought)], said=0, reasoning=reasoning)
    for said, piece in enumerate(pieces, 1):
        for choice in range(reply.choices):
            yield True, chunks.chunk([{"text": piece}], said=said, reasoning=reasoning, choice=choice)
    total = reply.usage.output - reasoning
    for part in chunks.call_parts():
        yield True, chunks.chunk([part], said=total, reasoning=reasoning)
    if scene.script.no_done:
        return
    last: JSON = {"text": ""}
    if signature := chunks.text_signature():
        last["thoughtSignature"] = signature
    for choice in range(reply.choices):
        yield (
            False,
            chunks.chunk([last], said=total, reasoning=reasoning, finish=chunks.finish, choice=choice),
        )


def stream(scene: Scene) -> Iterator[Frame]:
    """The answer as server-sent events, whose lines end in CRLF."""
    chunks, reply = _Chunks(scene), scene.reply
    pieces = reply.pieces
    if (
        scene.script.events
        and reply.choices == 1
        and not (reply.thoughts or reply.calls or scene.script.no_usage)
    ):
        # A load test: only the counts change from one event to the next, so only they are written anew.
        chunk = chunks.chunk([{"text": pieces[0]}], said=1, reasoning=0)
        chunk["usageMetadata"] |= {"candidatesTokenCount": "@said@", "totalTokenCount": "@total@"}
        template = (
            _compact(chunk).replace(b"%", b"%%").replace(b'"@said@"', b"%d").replace(b'"@total@"', b"%d")
        )
        template = b"data: " + template + b"\r\n\r\n"
        prompt = reply.usage.prompt
        for said in range(1, len(pieces) + 1):
            yield True, template % (said, prompt + said)
        pieces = ()
    for content, chunk in _objects(chunks, pieces):
        yield content, b"data: " + _compact(chunk) + b"\r\n\r\n"


def stream_array(scene: Scene) -> Iterator[Frame]:
    """The answer as a JSON array that grows, which is what comes without ``alt=sse``."""
    start = b"["
    for content, chunk in _objects(_Chunks(scene), scene.reply.pieces):
        yield content, start + orjson.dumps(chunk, option=orjson.OPT_INDENT_2) + b"\n"
        start = b",\r\n"
    yield False, b"]" if start != b"[" else b"[]"


def _error(failure: Failure) -> JSON:
    name, message = _KINDS.get(failure.status) or _KINDS[500 if failure.status >= 500 else 400]
    inside: JSON = {
        "code": failure.status,
        "message": failure.message or message,
        "status": failure.code or name,
    }
    details: list[JSON] = []
    if failure.param is not None:
        violation = {"field": failure.param, "description": failure.message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    if failure.retry_after:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{failure.retry_after}s"}
        )
    if details:
        inside["details"] = details
    return {"error": inside}


def error(failure: Failure, *, array: bool = False) -> bytes:
    """The body of an error; a stream that is no event stream has it in an array."""
    body = pretty(_error(failure))
    return b"[" + body + b"]" if array else body


def failed(scene: Scene, failure: Failure, *, first: bool) -> Iterator[Frame]:
    """What an event stream says when it fails."""
    yield False, b"data: " + _compact(_error(failure)) + b"\r\n\r\n"


def failed_array(scene: Scene, failure: Failure, *, first: bool) -> Iterator[Frame]:
    """What a streamed array says when it fails."""
    yield False, (b"[" if first else b",\r\n") + dumps(_error(failure)) + b"]"
