"""GigaChat's v1 ``/chat/completions``, which providers speak and clients do not. https://developers.sber.ru/docs/ru/gigachat/api/reference/rest

It calls one function at a time, whose arguments are an object; what belongs to a call is told by ``functions_state_id`` instead of an id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import orjson

from apipod_proxy.dialect import (
    NO_QUIRKS,
    Aim,
    Encoded,
    IdMaker,
    ProtocolError,
    Quirks,
    Tongue,
    Truncated,
    custom_tools,
    provider_errors,
)
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.places import place_of
from apipod_proxy.dialect.sse import FrameReader
from apipod_proxy.dialect.usage import from_chat
from apipod_proxy.dialect.vocabulary import (
    Call,
    End,
    Event,
    Finish,
    Heartbeat,
    Json,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Role,
    Start,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArgs,
    ToolCall,
    ToolOpen,
    ToolResult,
    Unknown,
    UsageReport,
)
from apipod_proxy.errors import BadRequest

NAME = "gigachat"

REASONS: Mapping[str, StopReason] = MappingProxyType(
    {
        "stop": StopReason.STOP,
        "length": StopReason.LENGTH,
        "function_call": StopReason.TOOL_USE,
        "blacklist": StopReason.CONTENT_FILTER,
    }
)

Object = dict[str, Json]

COLDEST = 0.0001
"""It refuses 0; whatever is below 0.001 makes its answers as steady as they can be."""

IN_PROGRESS = "function_in_progress"
"""The role of what it says while one of its own functions works: how long that will still take."""

_STATE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""An id of a call that is GigaChat's own; others come from elsewhere and mean nothing to it."""


# Requests


def encode_request(call: Call, aim: Aim) -> Encoded:
    """The body of a request; raises BadRequest for content that cannot be carried."""
    dropped = Dropped()
    body: Object = {"model": aim.model, "messages": _Messages(call, dropped).write(), "stream": call.stream}
    if call.max_tokens is not None:
        body["max_tokens"] = dropped.cut(call.max_tokens, aim.max_output)
    if call.sampling.temperature is not None:
        body["temperature"] = max(call.sampling.temperature, COLDEST)
    if call.sampling.top_p is not None:
        body["top_p"] = call.sampling.top_p
    _write_functions(call, body, dropped)
    if call.output is not None and call.output.kind == "json_schema":
        body["response_format"] = {
            "type": "json_schema",
            "schema": call.output.schema,
            "strict": bool(call.output.strict),
        }
    elif call.output is not None and call.output.kind != "text":
        dropped.add("response_format")
    _name_the_rest(call, dropped)
    return Encoded(orjson.dumps(body), tuple(dropped))


def _write_functions(call: Call, body: Object, dropped: Dropped) -> None:
    choice = call.tool_choice
    functions: list[Object] = []
    for index, tool in enumerate(call.tools):
        if tool.hosted is not None:
            if all(other.hosted is not None for other in call.tools):
                raise BadRequest(
                    f"The tool '{tool.name}' is run by another provider and cannot be offered by this model",
                    f"$.tools[{index}]",
                )
            dropped.add(f"tools[{index}]")
            continue
        if choice is not None and choice.mode == "allowed" and tool.name not in choice.names:
            continue
        parameters = custom_tools.parameters() if tool.custom else tool.parameters
        function: Object = {
            "name": tool.name,
            "parameters": parameters if parameters is not None else {"type": "object", "properties": {}},
        }
        description = custom_tools.description(tool) if tool.custom else tool.description
        if description is not None:
            function["description"] = description
        functions.append(function)
    if not functions:
        if choice is not None and choice.mode == "allowed":
            raise BadRequest("None of these tools can be offered to this model", "$.tool_choice")
        return
    body["functions"] = functions
    if choice is None:
        body["function_call"] = "auto"
    elif choice.mode == "tool" and choice.names:
        body["function_call"] = {"name": choice.names[0]}
    elif choice.mode == "none":
        body["function_call"] = "none"
    elif (choice.mode == "required" or choice.required) and len(functions) == 1:
        body["function_call"] = {"name": functions[0]["name"]}
    else:
        if choice.mode == "required" or choice.required:
            dropped.add("tool_choice")
        body["function_call"] = "auto"


def _name_the_rest(call: Call, dropped: Dropped) -> None:
    sampling = call.sampling
    for name in (
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    ):
        if getattr(sampling, name) is not None:
            dropped.add(name)
    dropped.add_set(
        {
            "stop": call.stop or None,
            "n": call.choices if call.choices != 1 else None,
            "reasoning": call.reasoning,
            "verbosity": call.verbosity,
            "user": call.user,
            "metadata": call.metadata,
            "service_tier": call.service_tier,
            "prompt_cache_key": call.cache_key,
        }
    )
    dropped.add_private(call)


class _Messages:
    """System texts are one message, the first. A call that has a result stands right in front of it, each pair by itself."""

    def __init__(self, call: Call, dropped: Dropped) -> None:
        self._call = call
        self._dropped = dropped
        self._system: list[str] = []
        self._out: list[Object] = []
        self._open: dict[str, ToolCall] = {}

    def write(self) -> list[Object]:
        for message in self._call.messages:
            if message.role is Role.ASSISTANT:
                self._close()
                self._assistant(message)
            elif message.role is Role.USER:
                self._user(message)
            else:
                self._system.append(self._text(message, message.parts))
        self._close()
        system = "\n\n".join(text for text in self._system if text)
        return [{"role": "system", "content": system}, *self._out] if system else self._out

    def _user(self, message: Message) -> None:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        for result in results:
            called = self._open.pop(result.call_id, None)
            if called is not None:
                self._out.append(self._called(called))
            self._result(message, result, called.name if called is not None else result.name)
        self._close()
        rest: list[Part] = [part for part in message.parts if not isinstance(part, ToolResult)]
        if rest or not results:
            self._out.append({"role": "user", "content": self._text(message, rest)})

    def _result(self, message: Message, result: ToolResult, name: str | None) -> None:
        text = self._text(message, result.content, result)
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            value = None
        # It takes nothing but an object.
        content = text if isinstance(value, dict) and not result.is_error else None
        if content is None:
            content = orjson.dumps({"error" if result.is_error else "result": text}).decode()
        self._out.append({"role": "function", "name": name or "function", "content": content})

    def _assistant(self, message: Message) -> None:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        said: list[Part] = []
        for part in message.parts:
            if isinstance(part, Thinking):
                self._dropped.add("thinking")
            elif not isinstance(part, ToolCall):
                said.append(part)
        text = self._text(message, said)
        if text or not calls:
            self._out.append({"role": "assistant", "content": text})
        self._open = {call.id: call for call in calls}

    def _close(self) -> None:
        """Calls that never got a result are told all the same."""
        for call in self._open.values():
            self._out.append(self._called(call))
        self._open = {}

    def _called(self, call: ToolCall) -> Object:
        try:
            arguments = orjson.loads(call.arguments or "{}")
        except orjson.JSONDecodeError:
            arguments = None
        if call.custom or not isinstance(arguments, dict):
            arguments = {custom_tools.INPUT: call.arguments}
        out: Object = {
            "role": "assistant",
            "content": "",
            "function_call": {"name": call.name, "arguments": arguments},
        }
        if _STATE.fullmatch(call.id):
            out["functions_state_id"] = call.id
        return out

    def _text(self, message: Message, parts: list[Part], whole: Part | None = None) -> str:
        texts: list[str] = []
        for part in parts:
            if isinstance(part, Text | Refusal):
                texts.append(part.text)
            elif isinstance(part, Media) and part.text is not None:
                texts.append("\n".join(line for line in (part.name, part.context, part.text) if line))
            else:
                what = f"This {part.kind}" if isinstance(part, Media) else "This content"
                raise BadRequest(
                    f"{what} cannot be sent to this model", place_of(self._call, message, whole or part)
                )
            if not isinstance(part, Refusal) and part.cache is not None:
                self._dropped.add("cache_control")
        return "\n\n".join(texts)


# Answers


class Decoder:
    """Of a stream."""

    def __init__(self, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> None:
        self._reader = FrameReader()
        self._ids = ids
        self._started = False
        self._finished = False
        self._ended = False
        self._state = ""
        self._kinds: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for _, text in self._reader.feed(data):
            self._frame(text, events)
        return events

    def eof(self) -> list[Event]:
        events: list[Event] = []
        for _, text in self._reader.eof():
            self._frame(text, events)
        if not self._ended:
            if not self._finished:
                raise Truncated("the stream ended before a finish reason")
            self._ended = True
            events.append(End())
        return events

    def _frame(self, text: bytes | None, events: list[Event]) -> None:
        if self._ended or text == b"":
            return
        if text is not None and text.strip() == b"[DONE]":
            if self._finished:
                self._ended = True
                events.append(End())
            return
        try:
            chunk = None if text is None else orjson.loads(text)
        except orjson.JSONDecodeError:
            chunk = None
        if isinstance(chunk, dict) and "choices" in chunk:
            self.chunk(chunk, "delta", events)
        elif isinstance(chunk, dict) and ("message" in chunk or "error" in chunk):
            events.append(provider_errors.failure_of(chunk))
        else:
            events.append(Unknown(text or b""))

    def chunk(self, chunk: Object, member: str, events: list[Event]) -> None:
        """One chunk of a stream, or a whole answer, whose text is in ``member``."""
        if not self._started:
            self._started = True
            created = chunk.get("created")
            events.append(Start(None, chunk.get("model"), created if isinstance(created, int) else None))
        if isinstance(chunk.get("usage"), dict):
            events.append(UsageReport(from_chat(chunk["usage"])._replace(extra=Opaque(NAME, chunk["usage"]))))
        choices = chunk["choices"]
        for choice in choices if isinstance(choices, list) else ():
            # There is never more than one.
            if isinstance(choice, dict):
                delta = choice.get(member)
                self._delta(delta if isinstance(delta, dict) else {}, events)
                reason = choice.get("finish_reason")
                if isinstance(reason, str) and reason and not self._finished:
                    self._finish(reason, events)

    def _delta(self, delta: Object, events: list[Event]) -> None:
        if delta.get("role") == IN_PROGRESS:
            events.append(Heartbeat())
            return
        state = delta.get("functions_state_id")
        if isinstance(state, str) and state:
            self._state = state
        thought, text = delta.get("reasoning_content"), delta.get("content")
        if isinstance(thought, str) and thought:
            events.append(ThinkingDelta(thought, self._block("thinking")))
        if isinstance(text, str) and text:
            events.append(TextDelta(text, self._block("text")))
        call = delta.get("function_call")
        if isinstance(call, dict) and isinstance(call.get("name"), str):
            self._kinds.append("call")
            block = len(self._kinds) - 1
            events.append(ToolOpen(self._state or self._ids("call_"), call["name"], block))
            arguments = call.get("arguments")
            fragment = arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()
            events.append(ToolArgs(fragment, block))

    def _finish(self, raw: str, events: list[Event]) -> None:
        self._finished = True
        if raw == "error":
            events.append(
                provider_errors.failure_of({"error": {"message": "The provider reported an error."}})
            )
            self._ended = True
            return
        reason = REASONS.get(raw, StopReason.OTHER)
        if "call" in self._kinds and reason is StopReason.STOP:
            reason = StopReason.TOOL_USE
        events.append(Finish(reason, raw=raw))

    def _block(self, kind: str) -> int:
        if not self._kinds or self._kinds[-1] != kind:
            self._kinds.append(kind)
        return len(self._kinds) - 1


def decode_unary(body: bytes, ids: IdMaker, quirks: Quirks = NO_QUIRKS) -> list[Event]:
    """The events of a whole answer; raises ProtocolError for what is none."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise Truncated(f"the answer is no JSON: {exc.msg}") from exc
    if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list) or not answer["choices"]:
        raise ProtocolError("the answer holds no choice")
    decoder = Decoder(ids)
    events: list[Event] = []
    decoder.chunk(answer, "message", events)
    return events + decoder.eof()


ROW = Tongue(
    name=NAME,
    encode_request=encode_request,
    decoder=Decoder,
    decode_unary=decode_unary,
    decode_error=provider_errors.decode_error,
)
