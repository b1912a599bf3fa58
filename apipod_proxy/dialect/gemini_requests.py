"""Gemini's requests: the top level of ``generateContent``, both ways. Fields are read in camelCase and snake_case at every level."""

from __future__ import annotations

from apipod_proxy.dialect import Aim, Encoded, custom_tools, json_schema, lenient
from apipod_proxy.dialect.dropped import knobs
from apipod_proxy.dialect.fields import (
    Object,
    a_list,
    a_text,
    an_object,
    opt_bool,
    opt_int,
    opt_number,
    opt_object,
    opt_text,
    opt_texts,
    parse,
    required,
)
from apipod_proxy.dialect.gemini_names import NAME, camel_deep, camel_keys, generation
from apipod_proxy.dialect.gemini_parts import ContentsReader, ContentsWriter
from apipod_proxy.dialect.shapes import objects
from apipod_proxy.dialect.vocabulary import (
    Call,
    Json,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Role,
    Sampling,
    Text,
    Tool,
    ToolChoice,
)
from apipod_proxy.errors import BadRequest

READ = frozenset(
    {
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "generationConfig",
        "safetySettings",
        "cachedContent",
        "model",
        "serviceTier",
    }
)
KNOBS = frozenset(
    {
        "temperature",
        "topP",
        "topK",
        "seed",
        "presencePenalty",
        "frequencyPenalty",
        "maxOutputTokens",
        "stopSequences",
        "candidateCount",
        "responseLogprobs",
        "logprobs",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "thinkingConfig",
    }
)
TIERS = ("standard", "flex", "priority")
DECLARED = frozenset({"name", "description", "parameters", "parametersJsonSchema"})


# Gemini → ours


def decode_request(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Call:
    """A call from the body of ``generateContent``; model and mode stand in the URL. Raises BadRequest with the path of the field."""
    source = camel_keys(parse(body), "$")
    name = model or a_text(required(source.get("model"), "$.model"), "$.model").removeprefix("models/")
    messages = _read_system(source.get("systemInstruction"))
    if (cached := opt_text(source, "cachedContent", "$")) is not None:
        messages.append(Message(Role.USER, [Opaque(NAME, {"cachedContent": cached}, "$.cachedContent")]))
    contents = required(source.get("contents"), "$.contents")
    turns = ContentsReader().read(contents, "$.contents")
    if not turns:
        if not any(turn.get("parts") for turn in objects(contents)):
            raise BadRequest("At least one turn with a part is needed", "$.contents")
        # The API answers to an empty text.
        turns = [Message(Role.USER, [Text("")])]
    call = Call(NAME, name, messages + turns, stream=bool(stream), include_usage=True)
    for index, tool in enumerate(_tools(source)):
        _read_tool(call, tool, f"$.tools[{index}]")
    _read_choice(call, opt_object(source, "toolConfig", "$"))
    _read_config(call, camel_keys(opt_object(source, "generationConfig", "$") or {}, "$.generationConfig"))
    if source.get("safetySettings") is not None:
        call.safety = Opaque(
            NAME, camel_deep(a_list(source["safetySettings"], "$.safetySettings")), "safetySettings"
        )
    call.service_tier = opt_text(source, "serviceTier", "$")
    call.extra += [
        # The keys of labels are the user's own.
        Opaque(NAME, {key: value if key == "labels" else camel_deep(value)}, key)
        for key, value in source.items()
        if key not in READ and value is not None
    ]
    return call


def _read_system(value: Json) -> list[Message]:
    if value is None:
        return []
    if isinstance(value, str):
        return [Message(Role.SYSTEM, [Text(value)])] if value else []
    path = "$.systemInstruction"
    content = {"parts": value} if isinstance(value, list) else camel_keys(an_object(value, path), path)
    parts = content.get("parts", [content] if "text" in content else [])
    texts = []
    for index, part in enumerate(parts if isinstance(parts, list) else [parts]):
        at = f"{path}.parts[{index}]"
        text = (
            part
            if isinstance(part, str)
            else a_text(required(an_object(part, at).get("text"), f"{at}.text"), f"{at}.text")
        )
        if text:
            texts.append(Text(text))
    return [Message(Role.SYSTEM, [*texts])] if texts else []


def _tools(source: Object) -> list[Object]:
    value = source.get("tools")
    if isinstance(value, dict):
        value = [value]
    return [an_object(tool, f"$.tools[{index}]") for index, tool in enumerate(a_list(value or [], "$.tools"))]


def _read_tool(call: Call, source: Object, path: str) -> None:
    tool = camel_keys(source, path)
    for key, value in tool.items():
        if value is None:
            # Some clients write all the kinds of tools that they know.
            continue
        if key != "functionDeclarations":
            call.tools.append(Tool(key, hosted=Opaque(NAME, {key: camel_deep(value)}, f"{path}.{key}")))
            continue
        for index, item in enumerate(a_list(value, f"{path}.{key}")):
            at = f"{path}.{key}[{index}]"
            declared = camel_keys(an_object(item, at), at)
            raw = declared.get("parametersJsonSchema")
            kept = {
                name: value for name, value in declared.items() if name not in DECLARED and value is not None
            }
            what = knobs(kept)
            if raw is not None:
                kept["parametersJsonSchema"] = raw
            call.tools.append(
                Tool(
                    a_text(required(declared.get("name"), f"{at}.name"), f"{at}.name"),
                    opt_text(declared, "description", at) or None,
                    raw if raw is not None else json_schema.from_gemini(declared.get("parameters")),
                    extra=Opaque(NAME, kept, what) if kept else None,
                )
            )


def _read_choice(call: Call, source: Object | None) -> None:
    if source is None:
        return
    config = camel_keys(source, "$.toolConfig")
    path = "$.toolConfig.functionCallingConfig"
    calling = camel_keys(an_object(config.get("functionCallingConfig") or {}, path), path)
    mode = (opt_text(calling, "mode", path) or "AUTO").upper()
    names = opt_texts(calling, "allowedFunctionNames", path)
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise BadRequest(f"Expected AUTO, ANY, NONE or VALIDATED, got {mode!r}", f"{path}.mode")
    if mode == "NONE":
        call.tool_choice = ToolChoice("none")
    elif mode == "ANY":
        one = ToolChoice("tool", names) if len(names) == 1 else ToolChoice("allowed", names, required=True)
        call.tool_choice = one if names else ToolChoice("required")
    elif calling:
        call.tool_choice = ToolChoice("allowed", names) if names else ToolChoice("auto")
    kept = {
        key: camel_deep(value)
        for key, value in config.items()
        if key != "functionCallingConfig" and value is not None
    }
    if mode == "VALIDATED":
        kept["functionCallingConfig"] = {"mode": mode}
    if kept:
        call.extra.append(Opaque(NAME, {"toolConfig": kept}, "toolConfig"))


def _read_config(call: Call, config: Object) -> None:
    path = "$.generationConfig"
    call.max_tokens = opt_int(config, "maxOutputTokens", path)
    call.stop = opt_texts(config, "stopSequences", path)
    call.choices = opt_int(config, "candidateCount", path)
    call.sampling = Sampling(
        temperature=opt_number(config, "temperature", path),
        top_p=opt_number(config, "topP", path),
        top_k=opt_int(config, "topK", path),
        seed=opt_int(config, "seed", path),
        presence_penalty=opt_number(config, "presencePenalty", path),
        frequency_penalty=opt_number(config, "frequencyPenalty", path),
        logprobs=opt_bool(config, "responseLogprobs", path),
        top_logprobs=opt_int(config, "logprobs", path),
    )
    call.modalities = [name.lower() for name in opt_texts(config, "responseModalities", path)]
    call.output = _read_output(config, path)
    call.reasoning = _read_thinking(opt_object(config, "thinkingConfig", path), f"{path}.thinkingConfig")
    kept = {key: camel_deep(value) for key, value in config.items() if key not in KNOBS and value is not None}
    if call.output is None and config.get("responseMimeType") not in (None, "text/plain"):
        kept |= {
            key: config[key]
            for key in ("responseMimeType", "responseSchema", "responseJsonSchema")
            if key in config
        }
    elif call.output and (schema := config.get("responseJsonSchema")) is not None:
        # It crosses as the form of the answer; only which of the two members it stood in does not.
        call.extra.append(Opaque(NAME, {"generationConfig": {"responseJsonSchema": schema}}))
    call.extra += [
        Opaque(NAME, {"generationConfig": {key: value}}, f"generationConfig.{key}")
        for key, value in kept.items()
    ]


def _read_output(config: Object, path: str) -> OutputFormat | None:
    if opt_text(config, "responseMimeType", path) != "application/json":
        return None
    raw = config.get("responseJsonSchema")
    schema = raw if raw is not None else json_schema.from_gemini(config.get("responseSchema"))
    return OutputFormat("json_schema", schema) if schema is not None else OutputFormat("json_object")


def _read_thinking(source: Object | None, path: str) -> Reasoning | None:
    if source is None:
        return None
    config = camel_keys(source, path)
    budget = opt_int(config, "thinkingBudget", path)
    level = opt_text(config, "thinkingLevel", path)
    effort = level.lower() if level and level.upper() != "THINKING_LEVEL_UNSPECIFIED" else None
    enabled = None if budget is None and effort is None else budget != 0
    # Thoughts are not told unless they are asked for.
    show = opt_bool(config, "includeThoughts", path) or False
    return Reasoning(enabled, effort, budget, adaptive=budget == -1, show=show)


# Ours → Gemini


def encode_request(call: Call, aim: Aim) -> Encoded:
    """The body for ``generateContent``. Raises BadRequest for content that Gemini cannot take."""
    if call.previous_response_id:
        raise BadRequest("This model keeps no earlier responses", "$.previous_response_id")
    quirks = aim.quirks
    inside = quirks.extra.get("function_response_parts")
    writer = ContentsWriter(
        call,
        aim.model,
        quirks.fetches_urls,
        inside if isinstance(inside, bool) else None,
        aim.signs or NAME,
    )
    writer.write()
    if not writer.contents:
        raise BadRequest("At least one message with content is needed", "$.messages")
    first = writer.contents[0]
    begins = first["role"] == "model" and any("functionCall" in part for part in first["parts"])
    if begins and writer.cached_content is None:
        # The API refuses a call that no turn of the user's stands before; an empty one will do.
        writer.contents.insert(0, {"role": "user", "parts": [{"text": ""}]})
    body: Object = {"contents": writer.contents}
    if writer.system:
        body["systemInstruction"] = {"parts": writer.system}
    if writer.cached_content:
        body["cachedContent"] = writer.cached_content
    raw_schemas = quirks.extra.get("json_schema") is True
    _write_tools(call, body, writer, raw_schemas)
    config = _write_config(call, aim, writer, raw_schemas)
    if call.safety and call.safety.dialect == NAME:
        body["safetySettings"] = call.safety.payload
    elif call.safety:
        writer.dropped.add(call.safety.what or "safety")
    if call.service_tier is not None and (call.dialect == NAME or call.service_tier in TIERS):
        body["serviceTier"] = call.service_tier
    elif call.service_tier not in (None, "auto", "default"):
        writer.dropped.add("service_tier")
    for extra in call.extra:
        if extra.dialect == NAME:
            _merge_extra(body, config, extra.payload)
        else:
            writer.dropped.add(extra.what)
    if config:
        body["generationConfig"] = config
    for knob in quirks.drop & body.keys():
        del body[knob]
        writer.dropped.add(knob)
    return Encoded(lenient.dumps(body), tuple(writer.dropped))


def _merge_extra(body: Object, config: Object, payload: Object) -> None:
    """Put back a field that only Gemini knows."""
    for key, value in payload.items():
        if key == "generationConfig":
            config.update(value)
            if "responseJsonSchema" in value:
                config.pop("responseSchema", None)
        elif key == "toolConfig":
            target = body.setdefault(key, {})
            for name, item in value.items():
                if name == "functionCallingConfig":
                    target[name] = {**target.get(name, {}), **item}
                else:
                    target[name] = item
        else:
            body[key] = value


def _write_tools(call: Call, body: Object, writer: ContentsWriter, raw_schemas: bool) -> None:
    declared: list[Object] = []
    tools: list[Object] = []
    for index, tool in enumerate(call.tools):
        if tool.cache is not None:
            writer.dropped.add("cache_control")
        if tool.hosted is None:
            if not declared:
                tools.append({"functionDeclarations": declared})
            declared.append(_declaration(tool, index, writer, raw_schemas))
        elif tool.hosted.dialect == NAME:
            tools.append(tool.hosted.payload)
        else:
            writer.dropped.add(tool.hosted.what.removeprefix("$.") or tool.name)
    if tools:
        body["tools"] = tools
    _write_choice(call, body, writer, {tool["name"] for tool in declared})


def _declaration(tool: Tool, index: int, writer: ContentsWriter, raw_schemas: bool) -> Object:
    declaration: Object = {"name": tool.name}
    about = custom_tools.description(tool) if tool.custom else tool.description
    if about:
        declaration["description"] = about
    schema = custom_tools.parameters() if tool.custom else tool.parameters
    own = tool.extra.payload if tool.extra and tool.extra.dialect == NAME else {}
    declaration.update(own)
    if tool.extra and tool.extra.dialect != NAME:
        writer.dropped.add(tool.extra.what)
    if tool.strict:
        writer.dropped.add("strict")
    if "parametersJsonSchema" in own or not isinstance(schema, dict):
        return declaration
    if raw_schemas:
        declaration["parametersJsonSchema"] = schema
    else:
        declaration["parameters"] = rewritten(schema, f"$.tools[{index}].parameters")
        if not schema.get("properties") and declaration["parameters"].get("type") == "OBJECT":
            declaration["parameters"].setdefault("properties", {})
    return declaration


def rewritten(schema: Json, path: str) -> Object:
    """The schema in Gemini's words; BadRequest where its references never end."""
    try:
        return json_schema.to_gemini(schema)
    except json_schema.SchemaTooLarge as exc:
        raise BadRequest(f"This schema cannot be sent to this model: {exc}", path) from exc


def _write_choice(call: Call, body: Object, writer: ContentsWriter, known: set[str]) -> None:
    choice = call.tool_choice
    if choice is None:
        return
    if choice.parallel is False:
        writer.dropped.add("parallel_tool_calls")
    if not call.tools:
        return
    missing = [name for name in choice.names if name not in known]
    if choice.mode == "tool" and missing:
        raise BadRequest(f"The tool '{missing[0]}' cannot be offered to this model", "$.tool_choice")
    if choice.mode == "allowed" and missing and len(missing) == len(choice.names):
        # No names would mean that all are allowed.
        raise BadRequest("None of these tools can be offered to this model", "$.tool_choice")
    config: Object = {
        "mode": {"none": "NONE", "auto": "AUTO", "required": "ANY", "tool": "ANY"}.get(
            choice.mode, "VALIDATED"
        )
    }
    if choice.mode == "allowed" and choice.required:
        config["mode"] = "ANY"
    if names := [name for name in choice.names if name in known]:
        config["allowedFunctionNames"] = names
    if known or (config["mode"] == "AUTO" and "tools" in body):
        body["toolConfig"] = {"functionCallingConfig": config}


_SAMPLING = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("logprobs", "responseLogprobs"),
    ("top_logprobs", "logprobs"),
)


def _write_config(call: Call, aim: Aim, writer: ContentsWriter, raw_schemas: bool) -> Object:
    config: Object = {}
    for ours, theirs in _SAMPLING:
        if (value := getattr(call.sampling, ours)) is not None:
            config[theirs] = value
    if call.max_tokens is not None:
        config["maxOutputTokens"] = writer.dropped.cut(call.max_tokens, aim.max_output)
    if call.stop:
        config["stopSequences"] = call.stop
    if call.choices is not None:
        config["candidateCount"] = call.choices
    if call.modalities:
        config["responseModalities"] = [name.upper() for name in call.modalities]
    if call.output and call.output.kind != "text":
        _write_output(call.output, config, raw_schemas)
    if call.reasoning:
        thinking = thinking_config(call.reasoning, aim.model, aim.thinks)
        if thinking is None:
            writer.dropped.add("reasoning")
        elif thinking:
            config["thinkingConfig"] = thinking
    for what, value in (
        ("logit_bias", call.sampling.logit_bias),
        ("verbosity", call.verbosity),
        ("user", call.user),
        ("metadata", call.metadata),
        ("store", call.store),
        ("prompt_cache_key", call.cache_key),
    ):
        if value:
            writer.dropped.add(what)
    return config


def _write_output(output: OutputFormat, config: Object, raw_schemas: bool) -> None:
    config["responseMimeType"] = "application/json"
    if output.kind != "json_schema" or output.schema is None:
        return
    schema = output.schema
    if output.description and isinstance(schema, dict) and "description" not in schema:
        schema = {**schema, "description": output.description}
    if raw_schemas:
        config["responseJsonSchema"] = schema
    else:
        config["responseSchema"] = rewritten(schema, "$.response_format.json_schema.schema")


BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""Tokens of thinking for an effort: what Google's own OpenAI surface uses for the three middle ones."""
LEVELS = {
    "none": "minimal",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def thinking_config(reasoning: Reasoning, model: str, thinks: bool | None = None) -> Object | None:
    """``thinkingConfig`` for a model; {} where nothing needs to be said, None where the model does not think (``thinks``, if known)."""
    age = generation(model)
    off = reasoning.off
    if not (age is None or age >= 2.5 if thinks is None else thinks):
        return {} if off else None
    # Models called pro cannot be told not to think.
    pro = "pro" in model
    config: Object = {}
    if off:
        if age is not None and age >= 3:
            config["thinkingLevel"] = "low" if pro else "minimal"
        else:
            config["thinkingBudget"] = 128 if pro else 0
        return config
    if reasoning.budget is not None:
        config["thinkingBudget"] = reasoning.budget
    elif reasoning.effort is not None:
        if age is not None and age >= 3:
            level = LEVELS.get(reasoning.effort, "high")
            config["thinkingLevel"] = "low" if pro and level == "minimal" else level
        else:
            config["thinkingBudget"] = BUDGETS.get(reasoning.effort, -1)
    elif (reasoning.enabled or reasoning.adaptive) and (age is None or age < 3):
        config["thinkingBudget"] = -1
    if reasoning.show is not None:
        config["includeThoughts"] = reasoning.show
    elif config or reasoning.enabled or reasoning.adaptive:
        config["includeThoughts"] = True
    return config
