"""Gemini's generateContent, streamGenerateContent and countTokens; fields in camelCase and in snake_case."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from apipod_proxy.simulator.ask import JSON, Ask, Refusal, Tool, is_object, listed, media, media_url, strings
from apipod_proxy.simulator.requests.gemini_schema import camel, mistakes, unknown_names
from apipod_proxy.simulator.signature import SKIPPED, is_ours

KIND = "gemini"
_TOP = frozenset(
    {
        *(
            "contents",
            "tools",
            "toolConfig",
            "safetySettings",
            "systemInstruction",
            "generationConfig",
            "cachedContent",
        ),
        *("model", "serviceTier", "store"),
    }
)
_GENERATION = frozenset(
    {
        *(
            "stopSequences",
            "responseMimeType",
            "responseModalities",
            "candidateCount",
            "maxOutputTokens",
            "temperature",
        ),
        *(
            "topP",
            "topK",
            "seed",
            "presencePenalty",
            "frequencyPenalty",
            "responseLogprobs",
            "logprobs",
            "responseSchema",
        ),
        *(
            "responseJsonSchema",
            "enableEnhancedCivicAnswers",
            "speechConfig",
            "thinkingConfig",
            "mediaResolution",
            "imageConfig",
        ),
    }
)
_CONTENT = frozenset({"parts", "role"})
_PART = frozenset(
    {
        *(
            "text",
            "inlineData",
            "fileData",
            "functionCall",
            "functionResponse",
            "executableCode",
            "codeExecutionResult",
        ),
        *(
            "thought",
            "thoughtSignature",
            "videoMetadata",
            "mediaResolution",
            "partMetadata",
            "toolCall",
            "toolResponse",
        ),
    }
)
_DATA = frozenset(
    {
        "text",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
    }
)
_BLOB = frozenset({"mimeType", "data", "fileUri", "displayName"})
_CALL = frozenset({"id", "name", "args", "partialArgs", "willContinue"})
_RESPONSE = frozenset({"id", "name", "response", "parts", "willContinue", "scheduling"})
_TOOL = frozenset(
    {
        *(
            "functionDeclarations",
            "googleSearch",
            "googleSearchRetrieval",
            "codeExecution",
            "urlContext",
            "fileSearch",
        ),
        *("googleMaps", "computerUse", "mcpServers"),
    }
)
_DECLARATION = frozenset(
    {
        "name",
        "description",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "behavior",
    }
)
_THINKING = frozenset({"includeThoughts", "thinkingBudget", "thinkingLevel"})
_TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}\Z")
# Before Gemini 3 a call in the history needs no signature.
_UNSIGNED = re.compile(r"gemini-[12]\b|gemini-[12]\.")


def read(model: str, body: JSON, *, stream: bool = False) -> Ask:
    """Checks the request as Google would and says what it asks for; raises Refusal."""
    fields = _known(body, _TOP, "")
    ask = Ask(model, stream=stream)
    contents = fields.get("contents")
    if not contents:
        raise Refusal("* GenerateContentRequest.contents: contents is not specified\n")
    _read_generation(fields.get("generationConfig"), ask)
    _read_tools(fields, ask)
    if is_object(system := fields.get("systemInstruction")):
        ask.system += [
            part["text"]
            for part in listed(system.get("parts"))
            if is_object(part) and isinstance(part.get("text"), str)
        ]
        ask.characters += sum(map(len, ask.system))
    _Contents(ask).read(contents)
    return ask


def read_count(model: str, body: JSON) -> Ask:
    """The same for countTokens: contents alone, or a whole request under `generateContentRequest`."""
    fields = _known(body, frozenset({"contents", "generateContentRequest"}), "")
    if is_object(inner := fields.get("generateContentRequest")):
        return read(model, inner)
    if not fields.get("contents"):
        raise Refusal("* CountTokensRequest.contents: contents is not specified\n")
    return read(model, {"contents": fields["contents"]})


def _unknown(complaints: list[tuple[str, str]]) -> Refusal:
    refusal = Refusal("\n".join(f"Invalid JSON payload received. {text}" for _, text in complaints))
    refusal.param = complaints[0][0]
    return refusal


def _known(value: Mapping[str, object], known: frozenset[str], path: str) -> JSON:
    """The members in camelCase; refuses one that no field is there for."""
    fields = {camel(name): inner for name, inner in value.items()}
    where = f" at '{path}'" if path else ""
    unknown = [
        (path, f'Unknown name "{name}"{where}: Cannot find field.')
        for name in value
        if camel(name) not in known
    ]
    if unknown:
        raise _unknown(unknown)
    return fields


def _message(value: object, known: frozenset[str], path: str) -> JSON:
    if not is_object(value):
        raise Refusal(f"Invalid value at '{path}': a message is expected")
    return _known(value, known, path)


def _read_generation(config: object, ask: Ask) -> None:
    if config is None:
        return
    fields = _message(config, _GENERATION, "generation_config")
    most = fields.get("maxOutputTokens")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool)):
        raise Refusal(f"Invalid value at 'generation_config.max_output_tokens' (TYPE_INT32), {most!r}")
    if most is not None and most < 1:
        raise Refusal(
            "* GenerateContentRequest.generation_config.max_output_tokens: max_output_tokens must be positive.\n"
        )
    ask.max_tokens = most
    ask.stops = strings(fields.get("stopSequences"))
    if len(ask.stops) > 5:
        raise Refusal(
            "* GenerateContentRequest.generation_config.stop_sequences: at most 5 stop sequences are allowed.\n"
        )
    ask.choices = fields.get("candidateCount") or 1
    ask.logprobs = bool(fields.get("responseLogprobs"))
    if (thinking := fields.get("thinkingConfig")) is not None:
        settings = _message(thinking, _THINKING, "generation_config.thinking_config")
        if "thinkingBudget" in settings and "thinkingLevel" in settings:
            raise Refusal("You can only set only one of thinking budget and thinking level.")
        ask.thinking = settings.get("includeThoughts") is True and settings.get("thinkingBudget") != 0
    schema, json_schema = fields.get("responseSchema"), fields.get("responseJsonSchema")
    if schema is not None and (unknown := list(unknown_names(schema, "generation_config.response_schema"))):
        raise _unknown(unknown)
    if (schema or json_schema) and fields.get("responseMimeType") not in ("application/json", "text/x.enum"):
        raise Refusal(
            "* GenerateContentRequest.generation_config.response_mime_type: response schema is only supported with application/json\n"
        )
    if fields.get("responseMimeType") == "application/json":
        ask.schema = (
            schema or json_schema or {"type": "object", "properties": {"answer": {"const": "simulated"}}}
        )


def _read_tools(fields: JSON, ask: Ask) -> None:
    for index, tool in enumerate(listed(fields.get("tools"))):
        path = f"tools[{index}]"
        declarations = listed(_message(tool, _TOOL, path).get("functionDeclarations"))
        ask.tools += [
            _declaration(one, f"{path}.function_declarations[{place}]")
            for place, one in enumerate(declarations)
        ]
    names = [tool.name for tool in ask.tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Refusal(f"Duplicate function declaration found: {twice}")
    config = fields.get("toolConfig")
    if config is None:
        return
    known = frozenset({"functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"})
    calling = _message(config, known, "tool_config").get("functionCallingConfig")
    if calling is None:
        return
    calling = _message(
        calling, frozenset({"mode", "allowedFunctionNames"}), "tool_config.function_calling_config"
    )
    mode = str(calling.get("mode", "AUTO")).upper()
    allowed = strings(calling.get("allowedFunctionNames"))
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise Refusal(
            "Function calling config is set with allowed_function_names but the mode is not ANY or VALIDATED."
        )
    if unknown := next((name for name in allowed if name not in names), None):
        raise Refusal(f"allowed_function_names contains a function that is not declared: {unknown}")
    ask.choice = {"NONE": "none", "ANY": "any"}.get(mode, "auto")
    if mode == "ANY" and allowed:
        ask.tools = [tool for tool in ask.tools if tool.name in allowed]
        ask.choice = allowed[0] if len(allowed) == 1 else "any"


def _declaration(value: object, path: str) -> Tool:
    fields = _message(value, _DECLARATION, path)
    name = fields.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.match(name):
        raise Refusal(
            f"* GenerateContentRequest.{path}.name: Invalid function name. Must start with a letter or an underscore. Must be alphanumeric "
            "(a-z, A-Z, 0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.\n"
        )
    schema, json_schema = fields.get("parameters"), fields.get("parametersJsonSchema")
    if schema is not None and json_schema is not None:
        raise Refusal(
            f"* GenerateContentRequest.{path}: only one of parameters and parameters_json_schema may be set.\n"
        )
    if schema is not None:
        if unknown := list(unknown_names(schema, f"{path}.parameters")):
            raise _unknown(unknown)
        if wrong := list(mistakes(schema, f"GenerateContentRequest.{path}.parameters")):
            raise Refusal("".join(f"* {one}\n" for one in wrong))
    return Tool(name, schema if schema is not None else json_schema)


class _Contents:
    """One walk over the contents, which remembers the calls that wait for their responses."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._calls: list[JSON] = []
        # Calls without a signature since the user last spoke, which is as far back as Gemini looks.
        self._unsigned: tuple[str, int] | None = None

    def read(self, contents: object) -> None:
        given = contents if isinstance(contents, list) else [contents]
        self._ask.turns = len(given)
        for index, content in enumerate(given):
            path = f"contents[{index}]"
            fields = _message(content, _CONTENT, path)
            role = fields.get("role", "user")
            if role not in ("user", "model", "function", "tool"):
                raise Refusal("Please use a valid role: user, model.")
            parts = [
                self._part(part, f"{path}.parts[{place}]", index, place)
                for place, part in enumerate(listed(fields.get("parts")))
            ]
            if not parts:
                raise Refusal(f"* GenerateContentRequest.{path}.parts: contents.parts must not be empty.\n")
            if role == "model":
                self._model(parts, index)
            else:
                self._user(parts)
        if self._calls:
            raise _unanswered()
        if self._unsigned and not _UNSIGNED.search(self._ask.model):
            name, position = self._unsigned
            raise Refusal(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, "
                "and missing thought_signature may lead to degraded model performance. Additional data, function call "
                f"`default_api:{name}` , position {position}. "
                "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
            )

    def _model(self, parts: list[JSON], index: int) -> None:
        # Google's own SDKs keep each chunk of a stream as a content, so that several make a turn.
        called = [part for part in parts if "functionCall" in part]
        if called and index == 0:
            raise Refusal(
                "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
            )
        first = not self._calls
        self._calls += [part["functionCall"] for part in called]
        if called and first and not called[0].get("thoughtSignature") and self._unsigned is None:
            self._unsigned = (str(called[0]["functionCall"].get("name")), index + 1)

    def _user(self, parts: list[JSON]) -> None:
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
        if len(responses) != len(self._calls):
            raise Refusal(
                "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
            )
        waiting = list(self._calls)
        results = []
        for response in responses:
            call = _answering(waiting, response)
            waiting.remove(call)
            results.append((str(call["name"]), _output(response)))
        self._calls = []
        if results:
            self._ask.returns(results)
        else:
            self._ask.says("\n".join(texts))
            self._unsigned = None

    def _part(self, value: object, path: str, index: int, place: int) -> JSON:
        fields = _message(value, _PART, path)
        held = [name for name in fields if name in _DATA]
        if len(held) > 1:
            raise Refusal(
                f"Invalid value at '{path}' (oneof), oneof field 'data' is already set. Cannot set '{held[1]}'"
            )
        if not held and not fields.get("thoughtSignature") and "videoMetadata" not in fields:
            raise Refusal(
                f"* GenerateContentRequest.{path}.data: required oneof field 'data' must have one initialized field\n"
            )
        signature = fields.get("thoughtSignature")
        if (
            signature is not None
            and str(signature) not in SKIPPED
            and not is_ours(KIND, str(signature), None)
        ):
            raise Refusal("Thought signature is not valid")
        match fields:
            case {"text": str(text)}:
                self._ask.characters += len(text)
            case {"inlineData": data}:
                self._media(
                    _message(data, _BLOB, f"{path}.inline_data"),
                    path,
                )
            case {"fileData": data}:
                self._media(
                    _message(data, _BLOB, f"{path}.file_data"),
                    path,
                )
            case {"functionCall": data}:
                fields["functionCall"] = _named(data, _CALL, f"{path}.function_call")
            case {"functionResponse": data}:
                fields["functionResponse"] = response = _named(data, _RESPONSE, f"{path}.function_response")
                if not is_object(response.get("response")):
                    raise Refusal(
                        f"* GenerateContentRequest.{path}.function_response.response: Value is not a struct.\n"
                    )
                for spot, inner in enumerate(listed(response.get("parts"))):
                    inside = _message(
                        inner,
                        frozenset({"inlineData", "fileData"}),
                        f"{path}.function_response.parts[{spot}]",
                    )
                    for blob in inside.values():
                        self._media(_message(blob, _BLOB, f"{path}.function_response.parts[{spot}]"), path)
            case _:
                pass
        return fields

    def _media(self, data: JSON, path: str) -> None:
        kind = str(data.get("mimeType") or "")
        if not kind and "data" in data:
            raise Refusal(f"* GenerateContentRequest.{path}.inline_data.mime_type: mime_type must be set\n")
        what = media(kind, data["data"]) if "data" in data else media_url(str(data.get("fileUri", "")))
        if kind.startswith("image/"):
            self._ask.images.append(what)
        elif kind.startswith(("audio/", "video/")):
            self._ask.audio += 1
        else:
            self._ask.documents.append(what)


def _unanswered() -> Refusal:
    return Refusal("Please ensure that function response turn comes immediately after a function call turn.")


def _named(value: object, known: frozenset[str], path: str) -> JSON:
    fields = _message(value, known, path)
    if not isinstance(fields.get("name"), str) or not fields["name"]:
        raise Refusal(f"* GenerateContentRequest.{path}.name: Name cannot be empty.\n")
    return fields


def _answering(waiting: list[JSON], response: JSON) -> JSON:
    """The call that a response answers: by id where both have one, else by name."""
    by_id = [call for call in waiting if response.get("id") and call.get("id") == response["id"]]
    by_name = [call for call in waiting if call["name"] == response["name"]]
    for call in _both(by_id, by_name):
        return call
    raise Refusal(
        f"Function response `{response['name']}` does not match any function call of the function call turn."
    )


def _both(by_id: list[JSON], by_name: list[JSON]) -> Iterator[JSON]:
    yield from (call for call in by_id if call in by_name)
    yield from (call for call in by_name if not by_id)


def _output(response: JSON) -> str:
    held = response["response"]
    for name in ("output", "result", "content", "error"):
        if isinstance(held.get(name), str):
            return f"error: {held[name]}" if name == "error" else str(held[name])
    return str(held)
