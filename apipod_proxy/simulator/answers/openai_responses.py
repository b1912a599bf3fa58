"""OpenAI's Responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apipod_proxy.simulator.answers.openai_errors import error_inside
from apipod_proxy.simulator.answers.scene import Failure, Frame, Scene, arguments_of, dumps, fragments, pretty
from apipod_proxy.simulator.ask import JSON, is_object
from apipod_proxy.simulator.reply import Usage
from apipod_proxy.simulator.requests.openai_responses import KIND
from apipod_proxy.simulator.signature import sign

MALFORMED = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n'
_INCOMPLETE = {"length": "max_output_tokens", "filter": "content_filter", "blocked": "content_filter"}
# What of a request comes back in its answer, and what stands there when it was not given.
_ECHOED: JSON = {
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "metadata": {},
}


def _usage(usage: Usage) -> JSON:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.output,
    }


class _Response:
    """The response object in its states, with the items of its output."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        body = scene.body
        echoed = {
            name: body[name] if body.get(name) is not None else default for name, default in _ECHOED.items()
        }
        reasoning = body.get("reasoning")
        reasoning = reasoning if is_object(reasoning) else {}
        text = body.get("text")
        text = text if is_object(text) else {}
        self._fixed: JSON = {
            "id": scene.ids.response_item("resp"),
            "object": "response",
            "created_at": scene.now,
            "model": scene.model,
            "background": False,
            **echoed,
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "text": {
                "format": text.get("format") or {"type": "text"},
                "verbosity": text.get("verbosity") or "medium",
            },
        }
        self._sealed = (
            "reasoning.encrypted_content" in (body.get("include") or ()) or body.get("store") is False
        )
        self._summary = bool(reasoning.get("summary")) or scene.script.thinking

    def items(self) -> list[JSON]:
        """The items of the output, complete."""
        scene, reply = self._scene, self._scene.reply
        items: list[JSON] = []
        if reply.thoughts:
            item: JSON = {"id": scene.ids.response_item("rs"), "type": "reasoning", "content": []}
            if self._sealed:
                item["encrypted_content"] = sign(KIND, reply.thinking)
            item["summary"] = [{"type": "summary_text", "text": reply.thinking}] if self._summary else []
            items.append(item)
        if reply.pieces or not (reply.calls or reply.stop in _INCOMPLETE):
            part: JSON = {"type": "output_text", "annotations": [], "logprobs": [], "text": reply.text}
            if reply.stop == "refusal":
                part = {"type": "refusal", "refusal": reply.text}
            status = "incomplete" if reply.stop in _INCOMPLETE else "completed"
            items.append(
                {
                    "id": scene.ids.response_item("msg"),
                    "type": "message",
                    "status": status,
                    "content": [part],
                    "role": "assistant",
                }
            )
        for call in reply.calls:
            if call.text is not None:
                held = {
                    "type": "custom_tool_call",
                    "status": "completed",
                    "call_id": scene.ids.call(),
                    "input": call.text,
                    "name": call.name,
                }
                items.append({"id": scene.ids.response_item("ctc"), **held})
            else:
                arguments = arguments_of(call.arguments)
                held = {
                    "type": "function_call",
                    "status": "completed",
                    "arguments": arguments,
                    "call_id": scene.ids.call(),
                    "name": call.name,
                }
                items.append({"id": scene.ids.response_item("fc"), **held})
        return items

    def started(self) -> JSON:
        return self._fixed | {
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }

    def ended(self, items: list[JSON], failure: Failure | None = None) -> JSON:
        reason = _INCOMPLETE.get(self._scene.reply.stop)
        status = "failed" if failure else "incomplete" if reason else "completed"
        inside = error_inside(failure) if failure else None
        return self._fixed | {
            "status": status,
            "completed_at": self._scene.now if status == "completed" else None,
            "error": {"code": inside["code"] or "server_error", "message": inside["message"]}
            if inside
            else None,
            "incomplete_details": {"reason": reason} if reason and not failure else None,
            "output": items,
            "usage": None if failure or self._scene.script.no_usage else _usage(self._scene.reply.usage),
        }


def unary(scene: Scene) -> bytes:
    """The whole answer."""
    response = _Response(scene)
    scene.notes["ended"] = ended = response.ended(response.items())
    return pretty(ended)


class _Events:
    """Numbers the events."""

    def __init__(self) -> None:
        self.number = 0

    def make(self, name: str, **members: Any) -> bytes:
        event = b"event: %s\ndata: %s\n\n" % (
            name.encode(),
            dumps({"type": name, **members, "sequence_number": self.number}),
        )
        self.number += 1
        return event

    def deltas(self, name: str, pads: list[str], **members: Any) -> _Deltas:
        return _Deltas(self, name, pads, members)


class _Deltas:
    """Events that differ in their delta, padding and number only, built without a JSON encoder but for the delta."""

    def __init__(self, events: _Events, name: str, pads: list[str], members: JSON) -> None:
        self._events = events
        self._pads = [f'"obfuscation":"{pad}",'.encode() for pad in pads] or [b""]
        self._head = b'event: %s\ndata: {"type":"%s",%s,"delta":' % (
            name.encode(),
            name.encode(),
            dumps(members)[1:-1],
        )

    def make(self, delta: str) -> Frame:
        number = self._events.number
        self._events.number += 1
        return True, b'%s%s,%s"sequence_number":%d}\n\n' % (
            self._head,
            dumps(delta),
            self._pads[number % len(self._pads)],
            number,
        )


def stream(scene: Scene) -> Iterator[Frame]:
    """The answer as a stream of events; there is no ``[DONE]``."""
    events, response = _Events(), _Response(scene)
    scene.notes["stream"] = events, response
    options = scene.body.get("stream_options")
    padded = not (is_object(options) and options.get("include_obfuscation") is False)
    pads = [scene.ids.obfuscation() for _ in range(16)] if padded else []
    yield False, events.make("response.created", response=response.started())
    yield False, events.make("response.in_progress", response=response.started())
    items = response.items()
    for index, item in enumerate(items):
        match item["type"]:
            case "reasoning":
                yield from _reasoning(scene, events, pads, index, item)
            case "message":
                yield from _message(scene, events, pads, index, item)
            case _:
                yield from _call(events, pads, index, item)
    scene.notes["ended"] = ended = response.ended(items)
    if not scene.script.no_done:
        yield False, events.make(f"response.{ended['status']}", response=ended)


def _reasoning(scene: Scene, events: _Events, pads: list[str], index: int, item: JSON) -> Iterator[Frame]:
    yield False, events.make("response.output_item.added", item=item | {"summary": []}, output_index=index)
    for place, part in enumerate(item["summary"]):
        where = {"item_id": item["id"], "output_index": index, "summary_index": place}
        yield (
            False,
            events.make(
                "response.reasoning_summary_part.added", **where, part={"type": "summary_text", "text": ""}
            ),
        )
        deltas = events.deltas("response.reasoning_summary_text.delta", pads, **where)
        for thought in scene.reply.thoughts:
            yield deltas.make(thought)
        yield False, events.make("response.reasoning_summary_text.done", **where, text=part["text"])
        yield False, events.make("response.reasoning_summary_part.done", **where, part=part)
    yield False, events.make("response.output_item.done", item=item, output_index=index)


def _message(scene: Scene, events: _Events, pads: list[str], index: int, item: JSON) -> Iterator[Frame]:
    part = item["content"][0]
    refused = part["type"] == "refusal"
    where = {"content_index": 0, "item_id": item["id"], "output_index": index}
    yield (
        False,
        events.make(
            "response.output_item.added",
            item=item | {"status": "in_progress", "content": []},
            output_index=index,
        ),
    )
    empty = part | ({"refusal": ""} if refused else {"text": ""})
    yield False, events.make("response.content_part.added", **where, part=empty)
    extra: JSON = {} if refused else {"logprobs": []}
    deltas = events.deltas(
        "response.refusal.delta" if refused else "response.output_text.delta", pads, **where, **extra
    )
    for piece in scene.reply.pieces:
        yield deltas.make(piece)
    if refused:
        yield False, events.make("response.refusal.done", **where, refusal=part["refusal"])
    else:
        yield False, events.make("response.output_text.done", **where, logprobs=[], text=part["text"])
    yield False, events.make("response.content_part.done", **where, part=part)
    yield False, events.make("response.output_item.done", item=item, output_index=index)


def _call(events: _Events, pads: list[str], index: int, item: JSON) -> Iterator[Frame]:
    name, field = (
        ("custom_tool_call_input", "input")
        if item["type"] == "custom_tool_call"
        else ("function_call_arguments", "arguments")
    )
    where = {"item_id": item["id"], "output_index": index}
    yield (
        False,
        events.make(
            "response.output_item.added", item=item | {"status": "in_progress", field: ""}, output_index=index
        ),
    )
    deltas = events.deltas(f"response.{name}.delta", pads, **where)
    for fragment in fragments(item[field]):
        yield deltas.make(fragment)
    yield False, events.make(f"response.{name}.done", **where, **{field: item[field]})
    yield False, events.make("response.output_item.done", item=item, output_index=index)


def failed(scene: Scene, failure: Failure, *, first: bool) -> Iterator[Frame]:
    """What a stream says when it fails: an error event, then the failed response."""
    events, response = scene.notes.get("stream") or (_Events(), _Response(scene))
    if first:
        yield False, events.make("response.created", response=response.started())
        yield False, events.make("response.in_progress", response=response.started())
    yield False, events.make("error", error=error_inside(failure))
    yield False, events.make("response.failed", response=response.ended([], failure))
