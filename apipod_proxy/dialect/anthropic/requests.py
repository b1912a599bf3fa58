"""The top level of a Messages request, both ways."""

from __future__ import annotations

from apipod_proxy.dialect import Aim, Encoded, custom_tools, lenient
from apipod_proxy.dialect.anthropic import thinking
from apipod_proxy.dialect.anthropic.messages import MessagesWriter, read_messages
from apipod_proxy.dialect.anthropic.names import DEFAULT_MAX_TOKENS, NAME, fixed_sampling
from apipod_proxy.dialect.anthropic.schema import strict
from apipod_proxy.dialect.dropped import Dropped, knobs
from apipod_proxy.dialect.fields import (
    Object,
    a_text,
    an_object,
    opt_bool,
    opt_int,
    opt_list,
    opt_number,
    opt_object,
    opt_text,
    opt_texts,
    parse,
    required,
)
from apipod_proxy.dialect.vocabulary import (
    Call,
    Json,
    Opaque,
    OutputFormat,
    Sampling,
    Tool,
    ToolChoice,
)
from apipod_proxy.errors import BadRequest

READ = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "stream",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "metadata",
        "service_tier",
    }
)
TOOL = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
TIERS = {"auto": "auto", "standard_only": "default"}
TIERS_OUT = {"auto": "auto", "default": "standard_only"}


# Messages → ours


def decode_request(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Call:
    """A call from a Messages request. Raises BadRequest with the path of the field. The arguments are other dialects'."""
    source = parse(body)
    name = a_text(required(source.get("model"), "$.model"), "$.model")
    call = Call(
        NAME, name, read_messages(source), stream=bool(opt_bool(source, "stream", "$")), include_usage=True
    )
    call.max_tokens = opt_int(source, "max_tokens", "$")
    call.stop = opt_texts(source, "stop_sequences", "$")
    call.sampling = Sampling(
        temperature=opt_number(source, "temperature", "$"),
        top_p=opt_number(source, "top_p", "$"),
        top_k=opt_int(source, "top_k", "$"),
    )
    call.tools = [
        _read_tool(an_object(item, f"$.tools[{index}]"), f"$.tools[{index}]")
        for index, item in enumerate(opt_list(source, "tools", "$"))
    ]
    call.tool_choice = _read_choice(opt_object(source, "tool_choice", "$"))
    config = opt_object(source, "output_config", "$") or {}
    call.reasoning = thinking.read(
        opt_object(source, "thinking", "$"), opt_text(config, "effort", "$.output_config")
    )
    call.output = _read_format(
        opt_object(config, "format", "$.output_config"), "$.output_config.format"
    ) or _read_format(opt_object(source, "output_format", "$"), "$.output_format")
    _read_metadata(call, opt_object(source, "metadata", "$"))
    tier = opt_text(source, "service_tier", "$")
    call.service_tier = TIERS.get(tier, tier) if tier else None
    call.extra += [
        Opaque(NAME, {key: value}, key)
        for key, value in source.items()
        if value is not None and key not in READ
    ]
    rest = {key: value for key, value in config.items() if key not in ("effort", "format")}
    if rest:
        call.extra.append(Opaque(NAME, {"output_config": rest}, "output_config"))
    return call


def _read_tool(source: Object, path: str) -> Tool:
    kind = opt_text(source, "type", path) or "custom"
    name = (
        a_text(required(source.get("name"), f"{path}.name"), f"{path}.name")
        if kind == "custom"
        else source.get("name")
    )
    if kind != "custom":
        return Tool(name if isinstance(name, str) else kind, hosted=Opaque(NAME, source, path))
    kept = {key: value for key, value in source.items() if key not in TOOL and value is not None}
    what = knobs(kept)
    if "type" in source:
        kept["type"] = "custom"
    return Tool(
        a_text(name, f"{path}.name"),
        opt_text(source, "description", path),
        an_object(required(source.get("input_schema"), f"{path}.input_schema"), f"{path}.input_schema"),
        opt_bool(source, "strict", path),
        cache=opt_object(source, "cache_control", path),
        extra=Opaque(NAME, kept, what) if kept else None,
    )


def _read_choice(source: Object | None) -> ToolChoice | None:
    if source is None:
        return None
    path = "$.tool_choice"
    kind = a_text(required(source.get("type"), f"{path}.type"), f"{path}.type")
    single = opt_bool(source, "disable_parallel_tool_use", path)
    parallel = None if single is None else not single
    if kind == "tool":
        name = a_text(required(source.get("name"), f"{path}.name"), f"{path}.name")
        return ToolChoice("tool", [name], parallel=parallel)
    if kind not in ("auto", "any", "none"):
        raise BadRequest(f"Expected 'auto', 'any', 'tool' or 'none', got {kind!r}", f"{path}.type")
    return ToolChoice("required" if kind == "any" else kind, parallel=parallel)


def _read_format(source: Object | None, path: str) -> OutputFormat | None:
    if source is None:
        return None
    if source.get("type") != "json_schema":
        raise BadRequest(f"Expected 'json_schema', got {source.get('type')!r}", f"{path}.type")
    schema = an_object(required(source.get("schema"), f"{path}.schema"), f"{path}.schema")
    return OutputFormat("json_schema", schema, opt_text(source, "name", path), strict=True)


def _read_metadata(call: Call, source: Object | None) -> None:
    if source is not None:
        call.user = opt_text(source, "user_id", "$.metadata")
        rest = {key: value for key, value in source.items() if key != "user_id"}
        if rest:
            call.extra.append(Opaque(NAME, {"metadata": rest}, "metadata"))


# Ours → Messages


def encode_request(call: Call, aim: Aim) -> Encoded:
    """The body of a Messages request. Raises BadRequest for content that Messages cannot carry."""
    _refuse(call)
    dropped = Dropped()
    writer = MessagesWriter(call, aim, dropped)
    writer.write()
    body: Object = {"model": aim.model, "max_tokens": _limit(call, aim, dropped), "messages": writer.messages}
    if writer.system:
        plain = len(writer.system) == 1 and writer.system[0].keys() == {"type", "text"}
        body["system"] = writer.system[0]["text"] if plain else writer.system
    if call.stream:
        body["stream"] = True
    _write_tools(call, body, dropped)
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    thinking.write(call, aim, body, dropped, allowed=not forced, thought_last=writer.thought_last)
    _write_sampling(call, aim, body, dropped)
    if call.stop:
        stops = [text for text in call.stop if text.strip()]
        if len(stops) < len(call.stop):
            dropped.add("stop")
        if stops:
            body["stop_sequences"] = stops
    _write_output(call, body, dropped)
    _write_rest(call, body, dropped)
    for knob in sorted(aim.quirks.drop & body.keys()):
        del body[knob]
        dropped.add(knob)
    return Encoded(lenient.dumps(body), tuple(dropped))


def _refuse(call: Call) -> None:
    """What is content, and cannot be had here."""
    if call.previous_response_id:
        raise BadRequest("This model keeps no earlier responses", "$.previous_response_id")
    if call.choices is not None and call.choices > 1:
        path = "$.generationConfig.candidateCount" if call.dialect == "gemini" else "$.n"
        raise BadRequest("This model gives one choice, not several", path)
    other = [kind for kind in call.modalities if kind != "text"]
    if other:
        path = "$.generationConfig.responseModalities" if call.dialect == "gemini" else "$.modalities"
        raise BadRequest(f"This model answers in text, not in {other[0]}", path)


def _limit(call: Call, aim: Aim, dropped: Dropped) -> int:
    """The most output tokens, which this API demands."""
    if call.max_tokens is None:
        return aim.max_output or DEFAULT_MAX_TOKENS
    return dropped.cut(call.max_tokens, aim.max_output)


def _write_tools(call: Call, body: Object, dropped: Dropped) -> None:
    choice = call.tool_choice
    tools = []
    for index, tool in enumerate(call.tools):
        if choice is not None and choice.mode == "allowed" and tool.name not in choice.names:
            continue
        if tool.hosted is None:
            tools.append(_tool_of(tool, call, dropped))
        elif tool.hosted.dialect == NAME:
            tools.append(tool.hosted.payload)
        else:
            _leave_out(call, tool, index, dropped)
    if tools:
        body["tools"] = tools
        if choice is not None:
            body["tool_choice"] = _choice_of(choice)


def _leave_out(call: Call, tool: Tool, index: int, dropped: Dropped) -> None:
    """A tool that another provider runs can be left out only where the model still has others and this one is not demanded."""
    demanded = call.tool_choice is not None and tool.name in call.tool_choice.names
    if demanded or all(other.hosted is not None for other in call.tools):
        path = (
            tool.hosted.what
            if tool.hosted is not None and tool.hosted.what.startswith("$")
            else f"$.tools[{index}]"
        )
        raise BadRequest(
            f"The tool '{tool.name}' is run by another provider and cannot be offered by this model", path
        )
    dropped.add(f"tools[{index}]")


def _tool_of(tool: Tool, call: Call, dropped: Dropped) -> Object:
    out: Object = {"name": tool.name}
    about = custom_tools.description(tool) if tool.custom else tool.description
    if about is not None:
        out["description"] = about
    schema = custom_tools.parameters() if tool.custom else tool.parameters
    schema = schema if isinstance(schema, dict) else {"type": "object", "properties": {}}
    out["input_schema"] = schema if "type" in schema else {"type": "object"} | schema
    if tool.strict is not None and call.dialect == NAME:
        out["strict"] = tool.strict
    elif tool.strict:
        dropped.add("strict")
    if tool.cache is not None:
        out["cache_control"] = tool.cache
    if tool.extra is not None and tool.extra.dialect == NAME:
        out |= tool.extra.payload
    elif tool.extra is not None:
        dropped.add(tool.extra.what)
    return out


def _choice_of(choice: ToolChoice) -> Object:
    if choice.mode == "tool" and choice.names:
        out: Object = {"type": "tool", "name": choice.names[0]}
    elif choice.mode == "allowed":
        out = {"type": "any" if choice.required else "auto"}
    else:
        out = {"type": "any" if choice.mode == "required" else choice.mode}
    if choice.parallel is not None and choice.mode != "none":
        out["disable_parallel_tool_use"] = not choice.parallel
    return out


def _write_sampling(call: Call, aim: Aim, body: Object, dropped: Dropped) -> None:
    sampling = call.sampling
    for name in ("seed", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"):
        value = getattr(sampling, name)
        if value is not None and value is not False:
            dropped.add(name)
    own = call.dialect == NAME
    given: Object = {
        name: value
        for name in ("temperature", "top_p", "top_k")
        if (value := getattr(sampling, name)) is not None
    }
    if not own:
        _fit_sampling(given, aim, body, dropped)
    body |= given


def _fit_sampling(given: Object, aim: Aim, body: Object, dropped: Dropped) -> None:
    """What this API does not take together is left out: ranges are narrower, and thinking fixes the rest."""
    if fixed_sampling(aim.model):
        refused = set(given)
    elif body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        refused = {name for name in given if name != "top_p" or not 0.95 <= given["top_p"] <= 1}
    else:
        refused = {"top_p"} if "temperature" in given and "top_p" in given else set()
        if given.get("temperature", 0) > 1:
            given["temperature"] = 1.0
            dropped.add("temperature")
    for name in sorted(refused):
        del given[name]
        dropped.add(name)


def _write_output(call: Call, body: Object, dropped: Dropped) -> None:
    if call.output is None or call.output.kind == "text":
        return
    if call.output.kind == "json_object" or not isinstance(call.output.schema, dict):
        dropped.add("response_format")
        return
    schema: Json = call.output.schema if call.dialect == NAME else strict(call.output.schema)
    body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}


def _write_rest(call: Call, body: Object, dropped: Dropped) -> None:
    if call.user is not None:
        body["metadata"] = {"user_id": call.user}
    if call.service_tier is not None:
        tier = TIERS_OUT.get(call.service_tier)
        if tier is not None:
            body["service_tier"] = tier
        else:
            dropped.add("service_tier")
    for name, value in (
        ("metadata", call.metadata),
        ("verbosity", call.verbosity),
        ("prompt_cache_key", call.cache_key),
        ("store", call.store),
        (call.safety.what or "safety" if call.safety else "", call.safety),
    ):
        if value is not None:
            dropped.add(name)
    for extra in call.extra:
        if extra.dialect != NAME:
            dropped.add(extra.what)
            continue
        for key, value in extra.payload.items():
            known = body.get(key)
            body[key] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
