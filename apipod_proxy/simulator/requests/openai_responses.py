"""OpenAI's Responses."""

from __future__ import annotations

import re

from apipod_proxy.simulator.ask import JSON, Ask, Refusal, Tool, find_unknown, is_object, media, media_url
from apipod_proxy.simulator.signature import is_ours

KIND = "openai_responses"
_KNOWN = frozenset(
    {
        *(
            "background",
            "conversation",
            "include",
            "input",
            "instructions",
            "max_output_tokens",
            "max_tool_calls",
            "metadata",
        ),
        *(
            "model",
            "moderation",
            "parallel_tool_calls",
            "previous_response_id",
            "prompt",
            "prompt_cache_key",
            "reasoning",
        ),
        *(
            "prompt_cache_options",
            "prompt_cache_retention",
            "safety_identifier",
            "service_tier",
            "store",
            "stream",
        ),
        *(
            "stream_options",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        ),
        *("context_management", "access_programs", "client_metadata"),
    }
)
_ROLES = ("assistant", "system", "developer", "user")
_OUTPUTS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def read(body: JSON) -> Ask:
    """Checks the request as OpenAI would and says what it asks for; raises Refusal."""
    if unknown := find_unknown(body, _KNOWN):
        raise Refusal(f"Unknown parameter: '{unknown}'.", param=unknown, code="unknown_parameter")
    for name in ("model", "input"):
        if name not in body and not (name == "input" and (body.get("prompt") or body.get("instructions"))):
            raise Refusal(
                f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            )
    if not isinstance(body["model"], str):
        raise Refusal("Invalid type for 'model': expected a string.", param="model", code="invalid_type")
    ask = Ask(body["model"], stream=body.get("stream") is True)
    most = body.get("max_output_tokens")
    if most is not None and (not isinstance(most, int) or most < 16):
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {most} instead."
        raise Refusal(message, param="max_output_tokens", code="integer_below_min_value")
    ask.max_tokens = most
    if isinstance(instructions := body.get("instructions"), str):
        ask.system.append(instructions)
        ask.characters += len(instructions)
    match body.get("text"):
        case {"format": {"type": "json_schema", "name": str(), **rest}}:
            ask.schema = rest.get("schema") or {}
        case {"format": {"type": "json_schema"}}:
            raise Refusal(
                "Missing required parameter: 'text.format.name'.",
                param="text.format.name",
                code="missing_required_parameter",
            )
        case {"format": {"type": "json_object"}}:
            ask.schema = {"type": "object", "properties": {"answer": {"const": "simulated"}}}
        case _:
            pass
    reasoning = body.get("reasoning")
    ask.thinking = (is_object(reasoning) and reasoning.get("effort") not in (None, "none")) or (
        is_object(reasoning) and bool(reasoning.get("summary"))
    )
    _read_tools(body.get("tools"), ask)
    _read_choice(body, ask)
    _Input(ask).read(body.get("input") or [])
    return ask


def _read_tools(tools: object, ask: Ask) -> None:
    for index, tool in enumerate(tools if isinstance(tools, list) else ()):
        path = f"tools[{index}]"
        kind = tool.get("type") if is_object(tool) else None
        if not is_object(tool) or not isinstance(kind, str):
            raise Refusal(
                f"Missing required parameter: '{path}.type'.",
                param=f"{path}.type",
                code="missing_required_parameter",
            )
        if kind == "namespace":
            _read_tools(tool.get("tools"), ask)
        elif kind in ("function", "custom"):
            name = tool.get("name")
            if not isinstance(name, str):
                raise Refusal(
                    f"Missing required parameter: '{path}.name'.",
                    param=f"{path}.name",
                    code="missing_required_parameter",
                )
            if not _TOOL_NAME.match(name):
                message = f"Invalid '{path}.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
                raise Refusal(message, param=f"{path}.name", code="invalid_value")
            ask.tools.append(Tool(name, tool.get("parameters"), custom=kind == "custom"))


def _read_choice(body: JSON, ask: Ask) -> None:
    ask.parallel = body.get("parallel_tool_calls") is not False
    match body.get("tool_choice"):
        case None | "auto":
            pass
        case "none":
            ask.choice = "none"
        case "required":
            ask.choice = "any"
        case {"type": "function" | "custom", "name": str(name)}:
            if all(tool.name != name for tool in ask.tools):
                raise Refusal(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
            ask.choice = name
        case _:
            pass  # one of OpenAI's own tools


class _Input:
    """One walk over the input items, which remembers the calls that wait for their outputs."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._calls: dict[str, tuple[str, str]] = {}
        self._answered: set[str] = set()
        self._results: list[tuple[str, str]] = []

    def read(self, items: object) -> None:
        if isinstance(items, str):
            self._ask.turns = 1
            self._ask.characters += len(items)
            self._ask.says(items)
            return
        if not isinstance(items, list):
            message = "Invalid type for 'input': expected one of an array of objects or string."
            raise Refusal(message, param="input", code="invalid_type")
        self._ask.turns = len(items)
        for index, item in enumerate(items):
            if not is_object(item):
                raise Refusal(
                    f"Invalid type for 'input[{index}]': expected an object.",
                    param=f"input[{index}]",
                    code="invalid_type",
                )
            self._item(item, f"input[{index}]")
        self._end_round()
        if missing := next((call for call in self._calls if call not in self._answered), None):
            kind = "function call" if self._calls[missing][0] == "function_call" else "custom tool call"
            raise Refusal(f"No tool output found for {kind} {missing}.", param="input")

    def _end_round(self) -> None:
        if self._results:
            self._ask.returns(self._results)
            self._results = []

    def _item(self, item: JSON, path: str) -> None:
        kind = item.get("type", "message")
        if isinstance(kind, str) and kind in _OUTPUTS:
            self._output(item, kind, path)
            return
        self._end_round()
        match item:
            case {"type": "function_call", "call_id": str(call), "name": str(name), "arguments": str()}:
                self._calls[call] = ("function_call", name)
            case {"type": "custom_tool_call", "call_id": str(call), "name": str(name), "input": str()}:
                self._calls[call] = ("custom_tool_call", name)
            case {"type": "function_call" | "custom_tool_call"}:
                wanted = ("call_id", "name", "arguments" if kind == "function_call" else "input")
                missing = next(name for name in wanted if not isinstance(item.get(name), str))
                raise Refusal(
                    f"Missing required parameter: '{path}.{missing}'.",
                    param=f"{path}.{missing}",
                    code="missing_required_parameter",
                )
            case {"type": "reasoning"}:
                self._reasoning(item)
            case {"type": "additional_tools"}:
                _read_tools(item.get("tools"), self._ask)
            case _ if kind == "message":
                self._message(item, path)
            case {"type": str(other), "call_id": str(call)} if other.endswith("_call"):
                # A call of one of OpenAI's own tools that the client runs; its output need not come.
                self._calls[call] = ("function_call", other)
                self._answered.add(call)
            case _:
                pass  # other items of OpenAI's own tools

    def _reasoning(self, item: JSON) -> None:
        sealed = item.get("encrypted_content")
        if sealed is not None and not is_ours(KIND, str(sealed), None):
            raise Refusal(
                f"The encrypted content for item {item.get('id')} could not be verified. Reason: Encrypted content could not be decrypted or parsed.",
                code="invalid_encrypted_content",
            )

    def _output(self, item: JSON, kind: str, path: str) -> None:
        call = item.get("call_id")
        if not isinstance(call, str):
            raise Refusal(
                f"Missing required parameter: '{path}.call_id'.",
                param=f"{path}.call_id",
                code="missing_required_parameter",
            )
        if call not in self._calls or self._calls[call][0] != _OUTPUTS[kind]:
            what = "function call" if kind == "function_call_output" else "custom tool call"
            raise Refusal(f"No tool call found for {what} output with call_id {call}.", param="input")
        self._answered.add(call)
        output = item.get("output")
        text = (
            output
            if isinstance(output, str)
            else self._parts(output, f"{path}.output", ("input_text", "input_image", "input_file"))
        )
        self._results.append((self._calls[call][1], text))

    def _message(self, item: JSON, path: str) -> None:
        role = item.get("role")
        if role not in _ROLES:
            names = ", ".join(f"'{name}'" for name in _ROLES)
            raise Refusal(
                f"Invalid value: '{role}'. Supported values are: {names}.",
                param=f"{path}.role",
                code="invalid_value",
            )
        content = item.get("content")
        allowed = (
            ("output_text", "refusal")
            if role == "assistant"
            else ("input_text", "input_image", "input_file", "input_audio")
        )
        if isinstance(content, str):
            self._ask.characters += len(content)
            text = content
        else:
            text = self._parts(content, f"{path}.content", allowed)
        if role in ("system", "developer"):
            self._ask.system.append(text)
        elif role == "user":
            self._ask.says(text)

    def _parts(self, content: object, path: str, allowed: tuple[str, ...]) -> str:
        if not isinstance(content, list):
            raise Refusal(
                f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
            )
        texts = []
        for index, part in enumerate(content):
            where = f"{path}[{index}]"
            kind = part.get("type") if is_object(part) else None
            if kind not in allowed:
                names = ", ".join(f"'{name}'" for name in allowed)
                raise Refusal(
                    f"Invalid value: '{kind}'. Supported values are: {names}.",
                    param=where,
                    code="invalid_value",
                )
            match part:
                case {"text": str(text)} | {"refusal": str(text)}:
                    self._ask.characters += len(text)
                    texts.append(text)
                case {"image_url": str(url)}:
                    self._ask.images.append(media_url(url))
                case {"file_data": str(data)}:
                    self._ask.documents.append(
                        media_url(data) if data.startswith("data:") else media("file", data)
                    )
                case {"file_url": str(what)} | {"file_id": str(what)}:
                    (self._ask.images if kind == "input_image" else self._ask.documents).append(what)
                case {"type": "input_audio"}:
                    self._ask.audio += 1
                case _:
                    raise Refusal(
                        f"Missing required parameter: '{where}'.",
                        param=where,
                        code="missing_required_parameter",
                    )
        return "\n".join(texts)
