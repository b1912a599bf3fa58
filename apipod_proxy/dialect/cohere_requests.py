"""A call as Cohere's v2 ``/chat`` takes it. https://docs.cohere.com/reference/chat"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from apipod_proxy.dialect import Aim, Encoded, custom_tools
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.places import place_of
from apipod_proxy.dialect.vocabulary import (
    Call,
    Json,
    Media,
    Message,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

NAME = "cohere"

MAX_STOPS = 5
RANGES: Mapping[str, tuple[float, float]] = {
    "p": (0.01, 0.99),
    "k": (0, 500),
    "frequency_penalty": (0.0, 1.0),
    "presence_penalty": (0.0, 1.0),
}
"""What it takes; beyond is a 400. Elsewhere penalties go from -2 to 2."""
NAMES = {"p": "top_p", "k": "top_k"}

Object = dict[str, Json]


def encode_request(call: Call, aim: Aim) -> Encoded:
    """The body of a request; raises BadRequest for content that cannot be carried."""
    dropped = Dropped()
    body: Object = {"model": aim.model, "messages": _Messages(call, dropped).write(), "stream": call.stream}
    if call.max_tokens is not None:
        body["max_tokens"] = dropped.cut(call.max_tokens, aim.max_output)
    if call.stop:
        if len(call.stop) > MAX_STOPS:
            dropped.add("stop")
        body["stop_sequences"] = call.stop[:MAX_STOPS]
    _write_sampling(call, body, dropped)
    _write_tools(call, body, dropped)
    _write_output(call, body)
    _write_thinking(call, aim, body, dropped)
    _name_the_rest(call, dropped)
    return Encoded(orjson.dumps(body), tuple(dropped))


def _write_sampling(call: Call, body: Object, dropped: Dropped) -> None:
    sampling = call.sampling
    for name, value in (
        ("temperature", sampling.temperature),
        ("p", sampling.top_p),
        ("k", sampling.top_k),
        ("seed", sampling.seed),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("logprobs", sampling.logprobs),
    ):
        if value is None:
            continue
        low, high = RANGES.get(name, (value, value))
        body[name] = min(max(value, low), high)
        if body[name] != value and (name, value) != ("p", 1):
            dropped.add(NAMES.get(name, name))
    if sampling.top_p is not None and sampling.top_p >= 1:
        # From 0.01 to 0.99; all of the probability is what happens without it.
        del body["p"]
    for name in ("logit_bias", "top_logprobs"):
        if getattr(sampling, name) is not None:
            dropped.add(name)


def _write_tools(call: Call, body: Object, dropped: Dropped) -> None:
    choice = call.tool_choice
    wanted = choice.names if choice is not None and choice.mode in ("tool", "allowed") else None
    tools: list[Object] = []
    for index, tool in enumerate(call.tools):
        if tool.hosted is not None:
            if (wanted and tool.name in wanted) or all(other.hosted is not None for other in call.tools):
                raise BadRequest(
                    f"The tool '{tool.name}' is run by another provider and cannot be offered by this model",
                    f"$.tools[{index}]",
                )
            dropped.add(f"tools[{index}]")
        elif wanted is None or tool.name in wanted:
            # There is no way to demand one tool but to offer no other.
            tools.append(_tool(tool))
            if tool.cache is not None:
                dropped.add("cache_control")
    if not tools:
        if wanted is not None:
            raise BadRequest("None of these tools can be offered to this model", "$.tool_choice")
        return
    body["tools"] = tools
    if any(tool.strict for tool in call.tools):
        # It holds for all of them, and a tool without a required parameter is a 400 then.
        if all(tool["function"]["parameters"].get("required") for tool in tools):
            body["strict_tools"] = True
        else:
            dropped.add("strict")
    if choice is None:
        return
    if choice.mode == "none":
        body["tool_choice"] = "NONE"
    elif choice.mode in ("required", "tool") or choice.required:
        body["tool_choice"] = "REQUIRED"
    if choice.parallel is False:
        dropped.add("parallel_tool_calls")


def _tool(tool: Tool) -> Object:
    description = custom_tools.description(tool) if tool.custom else tool.description
    parameters = custom_tools.parameters() if tool.custom else tool.parameters
    function: Object = {
        "name": tool.name,
        "parameters": parameters if parameters is not None else {"type": "object", "properties": {}},
    }
    if description is not None:
        function["description"] = description
    return {"type": "function", "function": function}


def _write_output(call: Call, body: Object) -> None:
    output = call.output
    if output is None or output.kind == "text":
        return
    form: Object = {"type": "json_object"}
    if output.kind == "json_schema" and output.schema is not None:
        form["json_schema"] = output.schema
    body["response_format"] = form


def _write_thinking(call: Call, aim: Aim, body: Object, dropped: Dropped) -> None:
    """Other models than those that reason refuse the field."""
    reasoning = call.reasoning
    if reasoning is None:
        return
    thinks = aim.thinks if aim.thinks is not None else "reasoning" in aim.model or "a-plus" in aim.model
    if not thinks:
        if not reasoning.off:
            dropped.add("reasoning")
        return
    thinking: Object = {"type": "disabled" if reasoning.off else "enabled"}
    if reasoning.budget is not None and reasoning.budget > 0 and not reasoning.off:
        thinking["token_budget"] = reasoning.budget
    elif reasoning.effort is not None and not reasoning.off:
        # It either thinks or does not.
        dropped.add("reasoning.effort")
    body["thinking"] = thinking


def _name_the_rest(call: Call, dropped: Dropped) -> None:
    dropped.add_set(
        {
            "n": call.choices if call.choices != 1 else None,
            "verbosity": call.verbosity,
            "user": call.user,
            "metadata": call.metadata,
            "service_tier": call.service_tier,
            "prompt_cache_key": call.cache_key,
            "modalities": call.modalities if call.modalities not in ([], ["text"]) else None,
        }
    )
    dropped.add_private(call)


class _Messages:
    def __init__(self, call: Call, dropped: Dropped) -> None:
        self._call = call
        self._dropped = dropped
        self._out: list[Object] = []

    def write(self) -> list[Object]:
        for message in self._call.messages:
            if message.name is not None:
                self._dropped.add("name")
            if message.role is Role.ASSISTANT:
                self._assistant(message)
            elif message.role is Role.USER:
                self._user(message)
            else:
                self._out.append({"role": "system", "content": self._content(message, message.parts)})
        return self._out

    def _user(self, message: Message) -> None:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        rest: list[Part] = [part for part in message.parts if not isinstance(part, ToolResult)]
        shown: list[Part] = []
        for result in results:
            shown += self._result(message, result)
        if shown or rest or not results:
            self._out.append({"role": "user", "content": self._content(message, shown + rest)})

    def _result(self, message: Message, result: ToolResult) -> list[Part]:
        """Writes a result's text; gives the images, which only a user's message can hold."""
        texts = ["Error:"] if result.is_error else []
        shown: list[Part] = []
        for part in result.content:
            if isinstance(part, Text):
                texts.append(part.text)
            elif isinstance(part, Media):
                shown.append(part)
            else:
                raise self._refusal(message, result)
        if shown:
            shown.insert(0, Text(f"Part of the result of the tool call {result.call_id}:"))
            texts = texts or ["The result follows in the next message."]
        self._out.append({"role": "tool", "tool_call_id": result.call_id, "content": "\n\n".join(texts)})
        return shown

    def _assistant(self, message: Message) -> None:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        content: list[Object] = []
        for part in message.parts:
            if isinstance(part, Thinking):
                if part.text and not part.redacted:
                    content.append({"type": "thinking", "thinking": part.text})
                if part.signature:
                    self._dropped.add("thinking.signature")
            elif isinstance(part, Text | Refusal):
                content.append({"type": "text", "text": part.text})
            elif not isinstance(part, ToolCall):
                raise self._refusal(message, part)
        out: Object = {"role": "assistant"}
        if calls:
            # What it said before it called is its plan.
            plan = [part["text"] for part in content if part["type"] == "text" and part["text"]]
            if plan:
                out["tool_plan"] = "\n\n".join(plan)
            content = [part for part in content if part["type"] == "thinking"]
            out["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": custom_tools.to_arguments(call.arguments)
                        if call.custom
                        else call.arguments or "{}",
                    },
                }
                for call in calls
            ]
        if content or not calls:
            out["content"] = content or ""
        self._out.append(out)

    def _content(self, message: Message, parts: list[Part]) -> Json:
        """A string where there is one plain text, else a list of parts."""
        if len(parts) == 1 and isinstance(parts[0], Text):
            return parts[0].text
        return [self._part(message, part) for part in parts] or ""

    def _part(self, message: Message, part: Part) -> Object:
        if isinstance(part, Text | Media) and part.cache is not None:
            self._dropped.add("cache_control")
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, Media) and part.text is not None:
            head = "\n".join(line for line in (part.name, part.context) if line)
            return {"type": "text", "text": f"{head}\n\n{part.text}" if head else part.text}
        if isinstance(part, Media) and part.kind == "image" and (part.data is not None or part.url):
            url = part.url
            if part.data is not None:
                url = f"data:{part.media_type or 'image/png'};base64,{part.data}"
            image: Object = {"url": url}
            if part.detail in ("low", "high", "auto"):
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        raise self._refusal(message, part)

    def _refusal(self, message: Message, part: Part) -> BadRequest:
        what = f"This {part.kind}" if isinstance(part, Media) else "This content"
        return BadRequest(f"{what} cannot be sent to this model", place_of(self._call, message, part))
