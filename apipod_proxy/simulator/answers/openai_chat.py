"""OpenAI's Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator

from apipod_proxy.simulator.answers.openai_errors import error_event
from apipod_proxy.simulator.answers.scene import (
    DONE,
    Failure,
    Frame,
    Scene,
    arguments_of,
    dumps,
    fragments,
    pretty,
)
from apipod_proxy.simulator.ask import JSON, is_object
from apipod_proxy.simulator.reply import Call, Usage

_FINGERPRINT = "fp_5127f7f8a2"
_STOPS = {
    "end": "stop",
    "tool": "tool_calls",
    "length": "length",
    "stop_sequence": "stop",
    "filter": "content_filter",
    "blocked": "content_filter",
}
MALFORMED = b'data: {"id":"chatcmpl-broken","choices":[{"delta":{"content":"\n\n'


def _usage(usage: Usage) -> JSON:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _logprob(piece: str) -> JSON:
    return {"token": piece, "logprob": -0.0625, "bytes": list(piece.encode()), "top_logprobs": []}


def _call(scene: Scene, call: Call) -> JSON:
    if call.text is not None:
        return {"id": scene.ids.call(), "type": "custom", "custom": {"name": call.name, "input": call.text}}
    return {
        "id": scene.ids.call(),
        "type": "function",
        "function": {"name": call.name, "arguments": arguments_of(call.arguments)},
    }


def unary(scene: Scene) -> bytes:
    """The whole answer."""
    reply = scene.reply
    refused = reply.stop == "refusal"
    message: JSON = {"role": "assistant", "content": None if refused or not reply.pieces else reply.text}
    if scene.script.thinking:
        message["reasoning_content"] = reply.thinking
    if reply.calls:
        message["tool_calls"] = [_call(scene, call) for call in reply.calls]
    message |= {"refusal": reply.text if refused else None, "annotations": []}
    logprobs = (
        {"content": [_logprob(piece) for piece in reply.pieces], "refusal": None} if reply.logprobs else None
    )
    answer: JSON = {
        "id": scene.ids.chat(),
        "object": "chat.completion",
        "created": scene.now,
        "model": scene.model,
        "choices": [
            {
                "index": index,
                "message": message,
                "logprobs": logprobs,
                "finish_reason": _STOPS.get(reply.stop, "stop"),
            }
            for index in range(reply.choices)
        ],
        "usage": _usage(reply.usage),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    if scene.script.no_usage:
        del answer["usage"]
    return pretty(answer)


class _Chunks:
    """Builds chunks from parts that stay the same through the stream: no event is put together by a JSON encoder as a whole."""

    def __init__(self, scene: Scene) -> None:
        options = scene.body.get("stream_options")
        options = options if is_object(options) else {}
        self.with_usage = options.get("include_usage") is True and not scene.script.no_usage
        start = {
            "id": scene.ids.chat(),
            "object": "chat.completion.chunk",
            "created": scene.now,
            "model": scene.model,
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
        }
        self._head = b"data: " + dumps(start)[:-1] + b',"choices":['
        self._usage = b',"usage":null' if self.with_usage else b""
        padded = options.get("include_obfuscation") is not False
        pads = [scene.ids.obfuscation() for _ in range(16)] if padded else [""]
        self._tails = [
            b"]" + self._usage + (b',"obfuscation":"%s"' % pad.encode() if pad else b"") + b"}\n\n"
            for pad in pads
        ]
        self._turn = 0

    def _tail(self) -> bytes:
        self._turn += 1
        return self._tails[self._turn % len(self._tails)]

    def delta(
        self, choice: int, delta: bytes, *, logprobs: bytes = b"null", finish: bytes = b"null"
    ) -> bytes:
        return b'%s{"index":%d,"delta":%s,"logprobs":%s,"finish_reason":%s}%s' % (
            self._head,
            choice,
            delta,
            logprobs,
            finish,
            self._tail(),
        )

    def usage(self, usage: Usage) -> bytes:
        tail = self._tail()[len(b"]") + len(self._usage) :]
        return self._head + b'],"usage":' + dumps(_usage(usage)) + tail


def stream(scene: Scene) -> Iterator[Frame]:
    """The answer as a stream; several choices come interleaved, piece by piece."""
    chunks = _Chunks(scene)
    reply = scene.reply
    choices = range(reply.choices)
    merged = not reply.pieces and len(reply.calls) == 1 and not scene.script.thinking
    if not merged:
        content = b'""' if reply.pieces or not reply.calls else b"null"
        for choice in choices:
            yield False, chunks.delta(choice, b'{"role":"assistant","content":%s,"refusal":null}' % content)
    if scene.script.thinking:
        for thought in reply.thoughts:
            for choice in choices:
                yield True, chunks.delta(choice, b'{"content":null,"reasoning_content":%s}' % dumps(thought))
    field = b"refusal" if reply.stop == "refusal" else b"content"
    for piece in reply.pieces:
        delta = b'{"%s":%s}' % (field, dumps(piece))
        logprobs = dumps({"content": [_logprob(piece)], "refusal": None}) if reply.logprobs else b"null"
        for choice in choices:
            yield True, chunks.delta(choice, delta, logprobs=logprobs)
    yield from _stream_calls(scene, chunks, merged=merged)
    finish = dumps(_STOPS.get(reply.stop, "stop"))
    for choice in choices:
        yield False, chunks.delta(choice, b"{}", finish=finish)
    if chunks.with_usage:
        yield False, chunks.usage(reply.usage)
    if not scene.script.no_done:
        yield False, DONE


def _stream_calls(scene: Scene, chunks: _Chunks, *, merged: bool) -> Iterator[Frame]:
    opened: list[list[bytes]] = []
    for index, call in enumerate(scene.reply.calls):
        whole = _call(scene, call)
        kind = whole["type"]
        field = "input" if kind == "custom" else "arguments"
        text = whole[kind][field]
        whole[kind] = whole[kind] | {field: ""}
        start: JSON = {"tool_calls": [{"index": index, **whole}]}
        if merged:
            start = {"role": "assistant", "content": None, **start, "refusal": None}
        pieces = [dumps(start)]
        pieces += [
            dumps({"tool_calls": [{"index": index, kind: {field: fragment}}]}) for fragment in fragments(text)
        ]
        opened.append(pieces)
    for delta in (
        _interleaved(opened) if scene.script.interleave else (delta for pieces in opened for delta in pieces)
    ):
        for choice in range(scene.reply.choices):
            yield True, chunks.delta(choice, delta)


def _interleaved(opened: list[list[bytes]]) -> Iterator[bytes]:
    """The first piece of every call, then the second of every call, and so on."""
    for turn in range(max(map(len, opened), default=0)):
        yield from (pieces[turn] for pieces in opened if turn < len(pieces))


def failed(scene: Scene, failure: Failure, *, first: bool) -> Iterator[Frame]:
    """What a stream says when it fails; there is no ``[DONE]`` after it."""
    yield False, b"data: " + dumps(error_event(failure)) + b"\n\n"
