"""Anthropic's Messages."""

from __future__ import annotations

from collections.abc import Iterator

from apipod_proxy.simulator.answers.scene import Failure, Frame, Scene, arguments_of, dumps, fragments
from apipod_proxy.simulator.ask import JSON, is_object
from apipod_proxy.simulator.reply import Usage
from apipod_proxy.simulator.requests.anthropic import KIND
from apipod_proxy.simulator.signature import sign

_STOPS = {
    "end": "end_turn",
    "tool": "tool_use",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "filter": "refusal",
    "blocked": "refusal",
}
MALFORMED = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_del\n\n'
)
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
# status: type, message
_KINDS = {
    400: ("invalid_request_error", "Invalid request."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "model: not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: (
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute.",
    ),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


def _usage(usage: Usage, output: int) -> JSON:
    counts: JSON = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }
    if usage.reasoning and output == usage.output:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counts


def _message(scene: Scene, content: list[JSON], stop: str | None, output: int) -> JSON:
    message: JSON = {
        "model": scene.model,
        "id": scene.ids.message(),
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": scene.reply.stopped_at if stop else None,
        "usage": _usage(scene.reply.usage, output),
    }
    if scene.script.no_usage:
        del message["usage"]
    return message


def _blocks(scene: Scene) -> list[JSON]:
    reply = scene.reply
    blocks: list[JSON] = []
    if reply.thoughts and reply.redacted:
        blocks.append({"type": "redacted_thinking", "data": sign(KIND, reply.thinking)})
    elif reply.thoughts:
        thinking = scene.body.get("thinking")
        omitted = is_object(thinking) and thinking.get("display") == "omitted"
        blocks.append(
            {
                "type": "thinking",
                "thinking": "" if omitted else reply.thinking,
                "signature": sign(KIND, reply.thinking),
            }
        )
    if reply.pieces or not (reply.calls or reply.stop in {"filter", "blocked"}):
        blocks.append({"type": "text", "text": reply.text})
    blocks += [
        {"type": "tool_use", "id": scene.ids.tool_use(), "name": call.name, "input": call.arguments}
        for call in reply.calls
    ]
    return blocks


def _stop(scene: Scene) -> str:
    return _STOPS.get(scene.reply.stop, scene.reply.stop)


def unary(scene: Scene) -> bytes:
    """The whole answer."""
    return dumps(_message(scene, _blocks(scene), _stop(scene), scene.reply.usage.output))


def _event(name: str, value: JSON) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), dumps({"type": name, **value}))


def _delta(index: int, kind: str, field: str, value: str) -> Frame:
    return True, (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":%s}}\n\n'
        % (index, kind.encode(), field.encode(), dumps(value))
    )


def stream(scene: Scene) -> Iterator[Frame]:
    """The answer as a stream; a ping follows the start of the first block."""
    reply = scene.reply
    yield False, _event("message_start", {"message": _message(scene, [], None, 1)})
    for index, block in enumerate(_blocks(scene)):
        started = dict(block)
        match block["type"]:
            case "thinking":
                started |= {"thinking": "", "signature": ""}
            case "text":
                started["text"] = ""
            case "tool_use":
                started["input"] = {}
        yield False, _event("content_block_start", {"index": index, "content_block": started})
        if index == 0:
            yield False, _PING
        yield from _stream_block(scene, index, block)
        yield False, b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % index
    usage = _usage(reply.usage, reply.usage.output)
    delta = {
        "delta": {"stop_reason": _stop(scene), "stop_sequence": reply.stopped_at},
        "usage": {name: value for name, value in usage.items() if "tokens" in name},
    }
    if scene.script.no_usage:
        del delta["usage"]
    yield False, _event("message_delta", delta)
    if not scene.script.no_done:
        yield False, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _stream_block(scene: Scene, index: int, block: JSON) -> Iterator[Frame]:
    match block["type"]:
        case "thinking":
            for thought in scene.reply.thoughts if block["thinking"] else ():
                yield _delta(index, "thinking_delta", "thinking", thought)
            yield _delta(index, "signature_delta", "signature", block["signature"])
        case "text":
            before: tuple[str, Frame] | None = None
            for piece in scene.reply.pieces:
                if before is None or before[0] != piece:
                    before = piece, _delta(index, "text_delta", "text", piece)
                yield before[1]
        case "tool_use":
            yield _delta(index, "input_json_delta", "partial_json", "")
            if block["input"]:
                for fragment in fragments(arguments_of(block["input"])):
                    yield _delta(index, "input_json_delta", "partial_json", fragment)


def _error(failure: Failure, request_id: str) -> JSON:
    kind, message = (
        _KINDS.get(failure.status)
        or _KINDS[529 if failure.status == 503 else 500 if failure.status >= 500 else 400]
    )
    return {
        "type": "error",
        "error": {"type": failure.code or kind, "message": failure.message or message},
        "request_id": request_id,
    }


def error(failure: Failure, request_id: str) -> bytes:
    """The body of an error."""
    return dumps(_error(failure, request_id))


def failed(scene: Scene, failure: Failure, *, first: bool) -> Iterator[Frame]:
    """What a stream says when it fails."""
    yield False, b"event: error\ndata: " + dumps(_error(failure, scene.ids.request())) + b"\n\n"
