"""OpenAI's Chat Completions."""

from __future__ import annotations

import re
from typing import Any

from apipod_proxy.simulator.ask import JSON, Ask, Refusal, Tool, is_object, media, media_url, strings

# Members of other dialects: a translation that forgot them. Extras of compatible providers pass.
_FOREIGN = frozenset(
    {
        *("system", "stop_sequences", "output_config", "context_management", "mcp_servers", "container"),
        *(
            "contents",
            "generationConfig",
            "generation_config",
            "systemInstruction",
            "system_instruction",
            "toolConfig",
        ),
        *("safetySettings", "input", "instructions", "max_output_tokens", "previous_response_id", "include"),
    }
)
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_PARTS = {
    "system": ("text",),
    "developer": ("text",),
    "tool": ("text",),
    "function": ("text",),
    "assistant": ("text", "refusal"),
    "user": ("text", "image_url", "input_audio", "refusal", "audio", "file"),
}
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")


def read(body: JSON) -> Ask:
    """Checks the request as OpenAI would and says what it asks for; raises Refusal."""
    for name in ("messages", "model"):
        if name not in body:
            raise Refusal(
                f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
            )
    if foreign := next((name for name in body if name in _FOREIGN), None):
        raise Refusal(f"Unrecognized request argument supplied: {foreign}")
    if not isinstance(body["model"], str):
        raise _wrong_type("model", "a string", body["model"])
    if "stream_options" in body and body["stream_options"] is not None and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(message, param="stream_options")
    ask = Ask(body["model"], stream=bool(body.get("stream")))
    _read_knobs(body, ask)
    _read_tools(body, ask)
    _read_messages(body["messages"], ask)
    return ask


def _wrong_type(path: str, wanted: str, got: object) -> Refusal:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        type(None): "null",
    }
    got_name = names.get(type(got), "a decimal number")
    return Refusal(
        f"Invalid type for '{path}': expected {wanted}, but got {got_name} instead.",
        param=path,
        code="invalid_type",
    )


def _read_knobs(body: JSON, ask: Ask) -> None:
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = body.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise _wrong_type(name, "an integer", value)
        if value is not None and value < 1:
            message = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {value} instead."
            raise Refusal(message, param=name, code="integer_below_min_value")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Refusal(message, param="max_tokens", code="unsupported_parameter")
    ask.max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    ask.choices = body.get("n") or 1
    ask.stops = strings(body.get("stop"))
    if len(ask.stops) > 4:
        raise Refusal(
            "Invalid 'stop': array too long. Expected an array with maximum length 4.",
            param="stop",
            code="array_above_max_length",
        )
    ask.logprobs = bool(body.get("logprobs"))
    if body.get("top_logprobs") is not None and not ask.logprobs:
        raise Refusal(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs"
        )
    # Chat tells of reasoning in its usage alone.
    ask.thinking = body.get("reasoning_effort") not in (None, "none", "minimal")
    match body.get("response_format"):
        case {"type": "json_schema", "json_schema": {"name": str(), **rest}}:
            ask.schema = rest.get("schema") or {}
        case {"type": "json_schema"}:
            path = "response_format.json_schema.name"
            raise Refusal(
                f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
            )
        case {"type": "json_object"}:
            ask.schema = {"type": "object", "properties": {"answer": {"const": "simulated"}}}
        case _:
            pass


def _read_tools(body: JSON, ask: Ask) -> None:
    tools = body.get("tools")
    if tools is None:
        if body.get("tool_choice") not in (None, "none"):
            raise Refusal(
                "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
                param="tool_choice",
            )
        if body.get("parallel_tool_calls") is not None:
            message = "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are specified."
            raise Refusal(message, param="parallel_tool_calls")
        return
    if not isinstance(tools, list):
        raise _wrong_type("tools", "an array of objects", tools)
    if not tools:
        message = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Refusal(message, param="tools", code="empty_array")
    ask.tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    ask.parallel = body.get("parallel_tool_calls") is not False
    match body.get("tool_choice"):
        case None | "auto" | {"type": "allowed_tools"}:
            pass
        case "none":
            ask.choice = "none"
        case "required":
            ask.choice = "any"
        case {"type": "function", "function": {"name": str(name)}} | {
            "type": "custom",
            "custom": {"name": str(name)},
        }:
            if all(tool.name != name for tool in ask.tools):
                raise Refusal(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")
            ask.choice = name
        case other:
            raise Refusal(f"Invalid value: {other!r}.", param="tool_choice", code="invalid_value")


def _tool(tool: object, path: str) -> Tool:
    kind = tool.get("type") if is_object(tool) else None
    if not is_object(tool) or kind not in ("function", "custom"):
        message = f"Invalid value: {kind!r}. Supported values are: 'function' and 'custom'."
        raise Refusal(message, param=f"{path}.type", code="invalid_value")
    inner = tool.get(str(kind))
    if not is_object(inner) or not isinstance(inner.get("name"), str):
        where = f"{path}.{kind}.name" if is_object(inner) else f"{path}.{kind}"
        raise Refusal(
            f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter"
        )
    if not _TOOL_NAME.match(inner["name"]):
        where = f"{path}.{kind}.name"
        message = f"Invalid '{where}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        raise Refusal(message, param=where, code="invalid_value")
    schema = inner.get("parameters")
    if schema is not None and (not is_object(schema) or schema.get("type") not in ("object", None)):
        message = f"Invalid schema for function '{inner['name']}': schema must be a JSON Schema of 'type: \"object\"'."
        raise Refusal(message, param=f"{path}.function.parameters", code="invalid_function_parameters")
    return Tool(inner["name"], schema, custom=kind == "custom")


def _read_messages(messages: object, ask: Ask) -> None:
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Refusal(message, param="messages", code="empty_array")
    ask.turns = len(messages)
    open_calls: dict[str, str] = {}
    asked_at = 0
    results: list[tuple[str, str]] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not is_object(message):
            raise _wrong_type(path, "an object", message)
        role = message.get("role")
        if role not in _ROLES:
            known = ", ".join(f"'{name}'" for name in _ROLES[:-1])
            text = f"Invalid value: {role!r}. Supported values are: {known}, and '{_ROLES[-1]}'."
            raise Refusal(text, param=f"{path}.role", code="invalid_value")
        text = _content(message, role, path, ask)
        if role == "tool":
            results.append((_answered(message, index, open_calls, answered=len(results)), text))
            continue
        _all_answered(open_calls, asked_at, len(results))
        if results:
            ask.returns(results)
            results, open_calls = [], {}
        if role in ("system", "developer"):
            ask.system.append(text)
        elif role == "user":
            ask.says(text)
        elif role == "assistant":
            asked_at = index
            open_calls = _calls(message, path)
    _all_answered(open_calls, asked_at, len(results))
    if results:
        ask.returns(results)


def _answered(message: JSON, index: int, open_calls: dict[str, str], *, answered: int) -> str:
    call = message.get("tool_call_id")
    if not isinstance(call, str):
        where = f"messages[{index}].tool_call_id"
        raise Refusal(
            f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter"
        )
    if not open_calls:
        raise Refusal(
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
            param=f"messages.[{index}].role",
        )
    name = open_calls.pop(call, None)
    if name is None:
        raise Refusal(
            f"Invalid parameter: 'tool_call_id' of '{call}' not found in 'tool_calls' of previous message.",
            param=f"messages.[{index}].tool_call_id",
        )
    # The last one leaves a marker, so that a further result of the same turn still finds its turn.
    if not open_calls:
        open_calls[""] = ""
    return name


def _all_answered(open_calls: dict[str, str], asked_at: int, answered: int) -> None:
    missing = [call for call in open_calls if call]
    if missing:
        raise Refusal(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(missing)}",
            param=f"messages.[{asked_at + 1 + answered}].role",
        )


def _calls(message: JSON, path: str) -> dict[str, str]:
    calls = message.get("tool_calls")
    if calls is None:
        return {}
    if not isinstance(calls, list) or not calls:
        message_ = f"Invalid '{path}.tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead."
        raise Refusal(message_, param=f"{path}.tool_calls", code="empty_array")
    found: dict[str, str] = {}
    for index, call in enumerate(calls):
        where = f"{path}.tool_calls[{index}]"
        match call:
            case {
                "id": str(call_id),
                "type": "function",
                "function": {"name": str(name), "arguments": str()},
            }:
                found[call_id] = name
            case {"id": str(call_id), "type": "custom", "custom": {"name": str(name), "input": str()}}:
                found[call_id] = name
            case {"function": {"arguments": arguments}} if not isinstance(arguments, str):
                raise _wrong_type(f"{where}.function.arguments", "a string", arguments)
            case _:
                missing = next(
                    (key for key in ("id", "type", "function") if not is_object(call) or key not in call),
                    "function.name",
                )
                raise Refusal(
                    f"Missing required parameter: '{where}.{missing}'.",
                    param=f"{where}.{missing}",
                    code="missing_required_parameter",
                )
    return found


def _content(message: JSON, role: str, path: str, ask: Ask) -> str:
    content = message.get("content")
    if isinstance(content, str):
        ask.characters += len(content)
        return content
    if content is None:
        if role == "assistant" and (
            message.get("tool_calls")
            or message.get("function_call")
            or message.get("refusal")
            or message.get("audio")
        ):
            return ""
        text = f"Invalid value for 'content': expected a string, got null. (path: {path}.content)"
        raise Refusal(
            text,
            param=f"{path}.content",
            code="invalid_type" if "content" in message else "missing_required_parameter",
        )
    if not isinstance(content, list):
        raise _wrong_type(f"{path}.content", "one of an array of objects or string", content)
    return "\n".join(
        filter(
            None, (_part(part, role, f"{path}.content[{index}]", ask) for index, part in enumerate(content))
        )
    )


def _part(part: object, role: str, path: str, ask: Ask) -> str:
    kind: Any = part.get("type") if is_object(part) else None
    allowed = _PARTS[role]
    if not is_object(part) or kind not in allowed:
        names = ", ".join(f"'{name}'" for name in allowed)
        raise Refusal(
            f"Invalid value: '{kind}'. Supported values are: {names}.",
            param=f"{path}.type",
            code="invalid_value",
        )
    match part:
        case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
            ask.characters += len(text)
            return text
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            _check_image(url, path)
            ask.images.append(media_url(url))
        case {"type": "input_audio", "input_audio": {"data": str(), "format": "wav" | "mp3"}}:
            ask.audio += 1
        case {"type": "file", "file": {"file_data": str(data)}}:
            ask.documents.append(media_url(data) if data.startswith("data:") else media("file", data))
        case {"type": "file", "file": {"file_id": str(file)}}:
            ask.documents.append(file)
        case {"type": "audio"}:
            ask.audio += 1
        case _:
            raise Refusal(
                f"Missing required parameter: '{path}.{kind}'.",
                param=f"{path}.{kind}",
                code="missing_required_parameter",
            )
    return ""


def _check_image(url: str, path: str) -> None:
    if url.startswith(("https://", "http://")):
        return
    if not re.match(r"data:image/(png|jpeg|jpg|gif|webp);base64,[A-Za-z0-9+/=\s]+\Z", url):
        message = (
            "Invalid base64 image_url."
            if url.startswith("data:")
            else "Invalid image URL: the URL must be http, https or a data URL."
        )
        raise Refusal(message, param=f"{path}.image_url.url", code="invalid_image_format")
