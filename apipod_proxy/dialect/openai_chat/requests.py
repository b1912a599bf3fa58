"""The top level of a Chat request, both ways."""

from __future__ import annotations

from apipod_proxy.dialect import Aim, Encoded, custom_tools, efforts, lenient
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
from apipod_proxy.dialect.openai_chat.messages import MessagesReader, MessagesWriter
from apipod_proxy.dialect.openai_chat.names import NAME
from apipod_proxy.dialect.openai_models import efforts_of, refused, thinks_without_tools
from apipod_proxy.dialect.vocabulary import (
    Call,
    Json,
    Opaque,
    OutputFormat,
    Reasoning,
    Sampling,
    Tool,
    ToolChoice,
)
from apipod_proxy.errors import BadRequest

READ = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "n",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "random_seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "reasoning",
        "thinking",
        "modalities",
        "verbosity",
        "user",
        "safety_identifier",
        "metadata",
        "service_tier",
        "prompt_cache_key",
        "store",
        "usage",
    }
)
MAX_STOPS = 4
MAX_USER = 64


# Chat → ours


def decode_request(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Call:
    """A call from a Chat request. Raises BadRequest with the path of the field. The arguments are other dialects'."""
    source = parse(body)
    name = a_text(required(source.get("model"), "$.model"), "$.model")
    options = opt_object(source, "stream_options", "$") or {}
    call = Call(NAME, name, MessagesReader().read(source.get("messages")))
    call.stream = bool(opt_bool(source, "stream", "$"))
    wish = source.get("usage")
    # OpenRouter's clients ask for it in their own way.
    wished = isinstance(wish, dict) and wish.get("include") is True
    call.include_usage = opt_bool(options, "include_usage", "$.stream_options") is True or wished
    limit = opt_int(source, "max_completion_tokens", "$")
    call.max_tokens = opt_int(source, "max_tokens", "$") if limit is None else limit
    if call.max_tokens is not None and call.max_tokens < 1:
        call.max_tokens = None
    call.stop = _stops(source)
    call.choices = opt_int(source, "n", "$")
    call.sampling = _sampling(source)
    call.tools = _tools(source)
    call.tool_choice = _choice(source)
    call.reasoning = _reasoning(source)
    call.detailed = isinstance(source.get("reasoning"), dict)
    call.output = _output(opt_object(source, "response_format", "$"))
    call.modalities = opt_texts(source, "modalities", "$")
    call.verbosity = opt_text(source, "verbosity", "$")
    call.user = opt_text(source, "safety_identifier", "$") or opt_text(source, "user", "$")
    call.metadata = opt_object(source, "metadata", "$")
    call.service_tier = opt_text(source, "service_tier", "$")
    call.cache_key = opt_text(source, "prompt_cache_key", "$")
    call.store = opt_bool(source, "store", "$")
    call.extra = [
        Opaque(NAME, {key: value}, key)
        for key, value in source.items()
        if value is not None and key not in READ
    ]
    if options.keys() - {"include_usage"}:
        rest = {key: value for key, value in options.items() if key != "include_usage"}
        call.extra.append(Opaque(NAME, {"stream_options": rest}, "stream_options"))
    return call


def _stops(source: Object) -> list[str]:
    value = source.get("stop")
    return [value] if isinstance(value, str) else opt_texts(source, "stop", "$")


def _sampling(source: Object) -> Sampling:
    seed = opt_int(source, "seed", "$")
    return Sampling(
        temperature=opt_number(source, "temperature", "$"),
        top_p=opt_number(source, "top_p", "$"),
        top_k=opt_int(source, "top_k", "$"),
        seed=opt_int(source, "random_seed", "$") if seed is None else seed,
        presence_penalty=opt_number(source, "presence_penalty", "$"),
        frequency_penalty=opt_number(source, "frequency_penalty", "$"),
        logit_bias=opt_object(source, "logit_bias", "$"),
        logprobs=opt_bool(source, "logprobs", "$"),
        top_logprobs=opt_int(source, "top_logprobs", "$"),
    )


def _tools(source: Object) -> list[Tool]:
    tools = []
    for index, item in enumerate(opt_list(source, "tools", "$")):
        path = f"$.tools[{index}]"
        tool = an_object(item, path)
        kind = a_text(tool.get("type", "function"), f"{path}.type")
        if kind not in ("function", "custom"):
            tools.append(Tool(kind, hosted=Opaque(NAME, tool, path)))
            continue
        if "name" in tool and kind not in tool:
            tools.append(_flat(tool, kind, path))
            continue
        at = f"{path}.{kind}"
        inner = an_object(required(tool.get(kind), at), at)
        tools.append(_custom(inner, at) if kind == "custom" else _function(inner, at))
        kept = {
            key: value
            for key, value in tool.items()
            if key not in ("type", "function", "custom", "cache_control")
        }
        if kept:
            tools[-1].extra = Opaque(NAME, {"beside": kept}, knobs(kept))
        mark = tool.get("cache_control") or inner.get("cache_control")
        if mark is not None:
            tools[-1].cache = an_object(mark, f"{path}.cache_control")
    for index, item in enumerate(opt_list(source, "functions", "$")):
        path = f"$.functions[{index}]"
        tools.append(_function(an_object(item, path), path))
        tools[-1].extra = Opaque(NAME, {"functions": True})
    return tools


def _flat(tool: Object, kind: str, path: str) -> Tool:
    """A tool that is its own definition: Cursor sends such, and with them ``input_schema``, calls and results as parts of content."""
    if kind == "custom" and "input_schema" not in tool:
        return _custom(tool, path)
    read = _function(tool, path)
    read.parameters = read.parameters or opt_object(tool, "input_schema", path)
    read.cache = opt_object(tool, "cache_control", path)
    return read


def _function(inner: Object, path: str) -> Tool:
    return Tool(
        a_text(required(inner.get("name"), f"{path}.name"), f"{path}.name"),
        opt_text(inner, "description", path),
        opt_object(inner, "parameters", path),
        opt_bool(inner, "strict", path),
    )


def _custom(inner: Object, path: str) -> Tool:
    return Tool(
        a_text(required(inner.get("name"), f"{path}.name"), f"{path}.name"),
        opt_text(inner, "description", path),
        custom=True,
        format=opt_object(inner, "format", path),
    )


def _choice(source: Object) -> ToolChoice | None:
    value = source.get("tool_choice")
    path = "$.tool_choice"
    if value is None and source.get("function_call") is not None:
        value, path = source["function_call"], "$.function_call"
    parallel = opt_bool(source, "parallel_tool_calls", "$")
    if value is None:
        return None if parallel is None else ToolChoice("auto", parallel=parallel)
    if isinstance(value, str):
        mode = "required" if value == "any" else value
        if mode not in ("auto", "none", "required"):
            raise BadRequest(f"Expected 'auto', 'none', 'required' or an object, got {value!r}", path)
        return ToolChoice(mode, parallel=parallel)
    choice = an_object(value, path)
    if choice.get("type") in ("auto", "none", "required", "any"):
        return ToolChoice("required" if choice["type"] == "any" else choice["type"], parallel=parallel)
    if choice.get("type") == "allowed_tools":
        at = f"{path}.allowed_tools"
        allowed = an_object(required(choice.get("allowed_tools"), at), at)
        names = [
            _chosen(an_object(item, f"{at}.tools[{index}]"), f"{at}.tools[{index}]")
            for index, item in enumerate(opt_list(allowed, "tools", at))
        ]
        return ToolChoice("allowed", names, opt_text(allowed, "mode", at) == "required", parallel)
    if "type" in choice or "function" in choice:
        return ToolChoice("tool", [_chosen(choice, path)], parallel=parallel)
    return ToolChoice(
        "tool", [a_text(required(choice.get("name"), f"{path}.name"), f"{path}.name")], parallel=parallel
    )


def _chosen(choice: Object, path: str) -> str:
    kind = opt_text(choice, "type", path) or "function"
    inner = choice.get(kind)
    if inner is None:
        # A tool that the provider runs is chosen by its type.
        return (
            a_text(choice.get("name", kind), f"{path}.name")
            if kind != "function"
            else a_text(required(choice.get("name"), f"{path}.function"), f"{path}.name")
        )
    at = f"{path}.{kind}"
    return a_text(required(an_object(inner, at).get("name"), f"{at}.name"), f"{at}.name")


def _reasoning(source: Object) -> Reasoning | None:
    """``reasoning_effort``, OpenRouter's ``reasoning`` or the ``thinking`` of DeepSeek and Z.ai."""
    effort = opt_text(source, "reasoning_effort", "$")
    wide = source.get("reasoning")
    result = Reasoning()
    if isinstance(wide, dict):
        effort = opt_text(wide, "effort", "$.reasoning") or effort
        result.enabled = opt_bool(wide, "enabled", "$.reasoning")
        result.budget = opt_int(wide, "max_tokens", "$.reasoning")
        hidden = opt_bool(wide, "exclude", "$.reasoning")
        result.show = None if hidden is None else not hidden
    if effort == "default":
        # Groq's word for a model that is to think as it likes.
        result.enabled = True
    elif effort is not None:
        if effort not in efforts.ORDER:
            raise BadRequest(
                f"Expected one of {', '.join(efforts.ORDER)}, got {effort!r}", "$.reasoning_effort"
            )
        result.effort = effort
        result.enabled = effort != "none"
    if isinstance(wide, dict) and result.budget is not None and result.enabled is None:
        result.enabled = True
    switch = source.get("thinking")
    if isinstance(switch, dict) and switch.get("type") in ("enabled", "disabled", "adaptive", "auto"):
        result.enabled = switch["type"] != "disabled"
        result.adaptive = switch["type"] in ("adaptive", "auto")
        result.budget = opt_int(switch, "budget_tokens", "$.thinking") or result.budget
    return None if result == Reasoning() else result


def _output(source: Object | None) -> OutputFormat | None:
    if source is None:
        return None
    path = "$.response_format"
    kind = a_text(required(source.get("type"), f"{path}.type"), f"{path}.type")
    if kind in ("text", "json_object"):
        # Together and others put a schema beside the type.
        schema = source.get("schema")
        return OutputFormat("json_schema", schema) if isinstance(schema, dict) else OutputFormat(kind)
    if kind != "json_schema":
        raise BadRequest(f"Expected 'text', 'json_object' or 'json_schema', got {kind!r}", f"{path}.type")
    at = f"{path}.json_schema"
    inner = an_object(required(source.get("json_schema", source.get("schema")), at), at)
    return OutputFormat(
        kind,
        inner.get("schema"),
        opt_text(inner, "name", at),
        opt_text(inner, "description", at),
        opt_bool(inner, "strict", at),
    )


# Ours → Chat


def encode_request(call: Call, aim: Aim) -> Encoded:
    """The body of a Chat request. Raises BadRequest for content that Chat cannot carry."""
    if call.previous_response_id:
        raise BadRequest("This model keeps no earlier responses", "$.previous_response_id")
    dropped = Dropped()
    body: Object = {"model": aim.model, "messages": MessagesWriter(call, aim, dropped).write()}
    if call.stream:
        body["stream"] = True
        if aim.quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    _write_limits(call, aim, body, dropped)
    _write_sampling(call, aim, body, dropped)
    _write_tools(call, aim, body, dropped)
    _write_reasoning(call, aim, body, dropped)
    if call.dialect != NAME:
        for name in refused(body, aim.model, body.get("reasoning_effort")):
            if body.pop(name) is not False:
                dropped.add(name)
    if call.output is not None:
        body["response_format"] = _format(call.output)
    _write_rest(call, body, dropped)
    for knob in sorted(aim.quirks.drop & body.keys()):
        del body[knob]
        dropped.add(knob)
    return Encoded(lenient.dumps(body), tuple(dropped))


def _write_limits(call: Call, aim: Aim, body: Object, dropped: Dropped) -> None:
    if call.max_tokens is not None:
        name = aim.quirks.max_tokens_field or "max_completion_tokens"
        body[name] = dropped.cut(call.max_tokens, aim.max_output)
    if call.stop:
        if len(call.stop) > MAX_STOPS:
            dropped.add("stop")
        body["stop"] = call.stop[:MAX_STOPS]
    if call.choices is not None:
        body["n"] = call.choices


def _write_sampling(call: Call, aim: Aim, body: Object, dropped: Dropped) -> None:
    for name in (
        "temperature",
        "top_p",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
    ):
        value = getattr(call.sampling, name)
        if value is not None:
            body[name] = value
    if call.sampling.top_k is not None:
        if aim.quirks.extra.get("top_k") or call.dialect == NAME:
            body["top_k"] = call.sampling.top_k
        else:
            dropped.add("top_k")


def _write_tools(call: Call, aim: Aim, body: Object, dropped: Dropped) -> None:
    choice = call.tool_choice
    tools: list[Object] = []
    functions: list[Object] = []
    filtered = choice is not None and choice.mode == "allowed" and call.dialect != NAME
    for index, tool in enumerate(call.tools):
        if filtered and choice is not None and tool.name not in choice.names:
            continue
        if tool.hosted is not None:
            _write_hosted(call, tool, index, tools, dropped)
        elif _is_legacy(tool):
            functions.append(_function_of(tool))
        else:
            tools.append(_tool_of(tool, call, aim, dropped))
    if functions:
        body["functions"] = functions
    if tools:
        body["tools"] = tools
    if choice is None or not (tools or functions):
        return
    value = _choice_of(choice, call, filtered)
    if value is not None:
        body["function_call" if functions and not tools else "tool_choice"] = value
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _write_hosted(call: Call, tool: Tool, index: int, tools: list[Object], dropped: Dropped) -> None:
    """A tool that another provider runs can be left out only where the model still has others and this one is not demanded."""
    hosted = tool.hosted
    assert hosted is not None
    if hosted.dialect == NAME:
        tools.append(hosted.payload)
        return
    demanded = call.tool_choice is not None and tool.name in call.tool_choice.names
    if demanded or all(other.hosted is not None for other in call.tools):
        path = hosted.what if hosted.what.startswith("$") else f"$.tools[{index}]"
        raise BadRequest(
            f"The tool '{tool.name}' is run by another provider and cannot be offered by this model", path
        )
    dropped.add(f"tools[{index}]")


def _is_legacy(tool: Tool) -> bool:
    """Whether it came through the older ``functions``."""
    return tool.extra is not None and tool.extra.dialect == NAME and "functions" in tool.extra.payload


def _function_of(tool: Tool) -> Object:
    out: Object = {"name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.parameters is not None:
        out["parameters"] = tool.parameters
    if tool.strict is not None:
        out["strict"] = tool.strict
    return out


def _tool_of(tool: Tool, call: Call, aim: Aim, dropped: Dropped) -> Object:
    if tool.custom and (aim.quirks.custom_tools or call.dialect == NAME):
        inner: Object = {"name": tool.name}
        if tool.description is not None:
            inner["description"] = tool.description
        if tool.format is not None:
            inner["format"] = tool.format
        return {"type": "custom", "custom": inner}
    if tool.custom:
        inner = {
            "name": tool.name,
            "description": custom_tools.description(tool),
            "parameters": custom_tools.parameters(),
        }
    else:
        inner = _function_of(tool)
    beside: Object = {}
    if tool.extra is not None and tool.extra.dialect == NAME:
        beside = tool.extra.payload.get("beside", {})
    elif tool.extra is not None:
        dropped.add(tool.extra.what)
    out = beside | {
        "type": "function",
        "function": {key: value for key, value in inner.items() if value is not None},
    }
    if tool.cache is not None:
        if aim.quirks.cache_control:
            out["cache_control"] = tool.cache
        else:
            dropped.add("cache_control")
    return out


def _choice_of(choice: ToolChoice, call: Call, filtered: bool) -> Json:
    custom = {tool.name for tool in call.tools if tool.custom and call.dialect == NAME}
    if choice.mode == "tool":
        legacy = any(_is_legacy(tool) for tool in call.tools if tool.name in choice.names)
        name = choice.names[0] if choice.names else ""
        if legacy:
            return {"name": name}
        hosted = next((tool for tool in call.tools if tool.name == name and tool.hosted is not None), None)
        if hosted is not None:
            return {"type": name}
        kind = "custom" if name in custom else "function"
        return {"type": kind, kind: {"name": name}}
    if choice.mode == "allowed":
        if filtered:
            return "required" if choice.required else "auto"
        tools = [
            {"type": kind, kind: {"name": name}}
            for name in choice.names
            for kind in ("custom" if name in custom else "function",)
        ]
        return {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required" if choice.required else "auto", "tools": tools},
        }
    return choice.mode


def _write_reasoning(call: Call, aim: Aim, body: Object, dropped: Dropped) -> None:
    reasoning = call.reasoning
    own = call.dialect == NAME
    if not own and "tools" in body and thinks_without_tools(aim.model):
        # The newest ones have to be told.
        body["reasoning_effort"] = "none"
        if reasoning is not None and not reasoning.off:
            dropped.add("reasoning")
        return
    if reasoning is None:
        return
    effort = efforts.asked(reasoning)
    if aim.quirks.reasoning_details:
        body["reasoning"] = _wide(reasoning, effort)
    elif effort is None:
        if not reasoning.adaptive:
            dropped.add("reasoning")
    elif own:
        body["reasoning_effort"] = effort
    else:
        known = efforts_of(aim.model, aim.thinks)
        word = efforts.nearest(effort, known)
        if word is not None:
            body["reasoning_effort"] = word
        elif known or effort != "none":
            # Thinking switched off is what a model does anyway that cannot think.
            dropped.add("reasoning")


def _wide(reasoning: Reasoning, effort: str | None) -> Object:
    """As OpenRouter takes it, which fits it to each model."""
    wide: Object = {}
    if reasoning.enabled is False:
        wide["enabled"] = False
    elif reasoning.budget is not None and reasoning.budget > 0 and reasoning.effort is None:
        wide["max_tokens"] = reasoning.budget
    elif effort is not None:
        wide["effort"] = effort
    else:
        wide["enabled"] = True
    if reasoning.show is False:
        wide["exclude"] = True
    return wide


def _format(output: OutputFormat) -> Object:
    if output.kind != "json_schema":
        return {"type": output.kind}
    inner: Object = {"name": output.name or "response", "schema": output.schema}
    if output.description is not None:
        inner["description"] = output.description
    if output.strict is not None:
        inner["strict"] = output.strict
    return {
        "type": "json_schema",
        "json_schema": {key: value for key, value in inner.items() if value is not None},
    }


def _write_rest(call: Call, body: Object, dropped: Dropped) -> None:
    own = call.dialect == NAME
    if call.modalities and (own or call.modalities != ["text"]):
        body["modalities"] = call.modalities
    if call.user is not None:
        if own or len(call.user) <= MAX_USER:
            body["user"] = call.user
        else:
            dropped.add("user")
    for name, value in (
        ("verbosity", call.verbosity),
        ("service_tier", call.service_tier),
        ("prompt_cache_key", call.cache_key),
        ("store", call.store),
    ):
        if value is not None and (own or name != "store"):
            body[name] = value
    if call.metadata is not None:
        if own:
            body["metadata"] = call.metadata
        else:
            dropped.add("metadata")
    if call.safety is not None:
        dropped.add(call.safety.what or "safety")
    for extra in call.extra:
        if extra.dialect != NAME:
            dropped.add(extra.what)
        elif "stream_options" in extra.payload and "stream_options" in body:
            body["stream_options"] |= extra.payload["stream_options"]
        else:
            body |= extra.payload
