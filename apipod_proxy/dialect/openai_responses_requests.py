"""Requests of the Responses API: the top level of ``/v1/responses``, both ways."""

from __future__ import annotations

from collections.abc import Mapping

from apipod_proxy.dialect import Aim, Encoded, efforts, lenient
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.fields import (
    Object,
    a_list,
    a_text,
    an_object,
    opt_bool,
    opt_int,
    opt_list,
    opt_number,
    opt_object,
    opt_text,
    parse,
    required,
)
from apipod_proxy.dialect.openai_models import efforts_of, refused
from apipod_proxy.dialect.openai_responses_items import NAME, ItemsReader, ItemsWriter, choice_of, flat_name
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
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning",
        "text",
        "store",
        "stream",
        "previous_response_id",
        "max_output_tokens",
        "metadata",
        "service_tier",
        "prompt_cache_key",
        "user",
        "safety_identifier",
        "top_logprobs",
        "temperature",
        "top_p",
    }
)
PINNED = ("background", "conversation", "prompt")
"""Fields without which the request means something else: no other dialect may leave them out."""
SEALED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
MIN_OUTPUT = 16
"""The API refuses smaller limits."""
MAX_USER = 64


# Responses → ours


def decode_request(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Call:
    """A call from the body of ``/v1/responses``. Raises BadRequest with the path of the field."""
    source = parse(body)
    name = a_text(required(source.get("model"), "$.model"), "$.model") if model is None else model
    reader = ItemsReader()
    pinned = {key: source[key] for key in PINNED if source.get(key) not in (None, False)}
    if (instructions := opt_text(source, "instructions", "$")) is not None:
        reader.messages.append(
            Message(Role.SYSTEM, [Text(instructions)], extra=Opaque(NAME, {"instructions": True}))
        )
    for key, value in pinned.items():
        reader.messages.append(Message(Role.USER, [Opaque(NAME, {"field": {key: value}}, f"$.{key}")]))
    if source.get("input") is not None:
        reader.read(source["input"], "$.input")
    elif "previous_response_id" not in source and not pinned:
        raise BadRequest("This field is required", "$.input")
    call = Call(NAME, name, reader.messages, include_usage=True)
    call.stream = bool(opt_bool(source, "stream", "$")) if stream is None else stream
    for index, tool in enumerate(opt_list(source, "tools", "$")):
        call.tools += read_tool(tool, f"$.tools[{index}]")
    for tool, path in reader.tools:
        call.tools += [
            found for found in read_tool(tool, path) if all(found.name != known.name for known in call.tools)
        ]
    call.tool_choice = _read_choice(source)
    _read_settings(call, source)
    call.extra = _rest(source)
    return call


def _rest(source: Object) -> list[Opaque]:
    """The fields that only this dialect knows."""
    rest = [
        # What only asks for more to be told, and is told to clients of this dialect anyway, is no loss elsewhere.
        Opaque(NAME, {key: value}, "" if key == "include" and value in ([SEALED], [LOGPROBS], []) else key)
        for key, value in source.items()
        if key not in READ and key not in PINNED and value is not None
    ]
    for key, known in (
        ("reasoning", ("effort", "summary", "generate_summary")),
        ("text", ("format", "verbosity")),
    ):
        if inner := {name: value for name, value in (source.get(key) or {}).items() if name not in known}:
            rest.append(Opaque(NAME, {key: inner}, f"{key}.{next(iter(inner))}"))
    return rest


def _read_settings(call: Call, source: Object) -> None:
    include = source.get("include") or []
    call.max_tokens = opt_int(source, "max_output_tokens", "$")
    top = opt_int(source, "top_logprobs", "$")
    call.sampling = Sampling(
        temperature=opt_number(source, "temperature", "$"),
        top_p=opt_number(source, "top_p", "$"),
        top_logprobs=top,
        logprobs=True if top or (isinstance(include, list) and LOGPROBS in include) else None,
    )
    call.reasoning = _read_reasoning(opt_object(source, "reasoning", "$"))
    text = opt_object(source, "text", "$") or {}
    call.verbosity = opt_text(text, "verbosity", "$.text")
    call.output = _read_format(opt_object(text, "format", "$.text"), "$.text.format")
    call.user = opt_text(source, "safety_identifier", "$") or opt_text(source, "user", "$")
    call.metadata = opt_object(source, "metadata", "$")
    call.service_tier = opt_text(source, "service_tier", "$")
    call.cache_key = opt_text(source, "prompt_cache_key", "$")
    call.store = opt_bool(source, "store", "$")
    call.previous_response_id = opt_text(source, "previous_response_id", "$")


def read_tool(value: Json, path: str) -> list[Tool]:
    """A tool; of a namespace, all that are in it."""
    tool = an_object(value, path)
    kind = a_text(required(tool.get("type"), f"{path}.type"), f"{path}.type")
    if kind == "namespace":
        namespace = a_text(required(tool.get("name"), f"{path}.name"), f"{path}.name")
        found: list[Tool] = []
        for index, inner in enumerate(a_list(tool.get("tools") or [], f"{path}.tools")):
            for each in read_tool(inner, f"{path}.tools[{index}]"):
                kept = each.extra.payload if each.extra else {}
                about = {"namespace": namespace, "name": each.name, "about": tool.get("description")}
                each.extra = Opaque(NAME, {**kept, **about})
                each.name = flat_name(namespace, each.name)
                found.append(each)
        return found
    if kind not in ("function", "custom"):
        return [Tool(opt_text(tool, "name", path) or kind, hosted=Opaque(NAME, value, path))]
    inner = tool.get("function")
    if isinstance(inner, dict):
        # The form of Chat, which some clients send here.
        tool = {**inner, "type": kind}
    known = (
        ("type", "name", "description", "parameters", "strict")
        if kind == "function"
        else ("type", "name", "description", "format")
    )
    kept = {key: item for key, item in tool.items() if key not in known}
    return [
        Tool(
            a_text(required(tool.get("name"), f"{path}.name"), f"{path}.name"),
            opt_text(tool, "description", path),
            opt_object(tool, "parameters", path) if kind == "function" else None,
            opt_bool(tool, "strict", path),
            custom=kind == "custom",
            format=tool.get("format") if kind == "custom" else None,
            extra=Opaque(NAME, kept) if kept else None,
        )
    ]


def _read_choice(source: Object) -> ToolChoice | None:
    value = source.get("tool_choice")
    parallel = opt_bool(source, "parallel_tool_calls", "$")
    path = "$.tool_choice"
    if value is None:
        return None if parallel is None else ToolChoice("auto", parallel=parallel)
    if isinstance(value, str):
        if value not in ("auto", "none", "required"):
            raise BadRequest(f"Expected 'auto', 'none' or 'required', got '{value}'", path)
        return ToolChoice(value, parallel=parallel)
    choice = an_object(value, path)
    kind = a_text(required(choice.get("type"), f"{path}.type"), f"{path}.type")
    if kind == "allowed_tools":
        names = []
        for index, tool in enumerate(a_list(required(choice.get("tools"), f"{path}.tools"), f"{path}.tools")):
            entry = an_object(tool, f"{path}.tools[{index}]")
            names.append(_chosen(entry, f"{path}.tools[{index}]"))
        return ToolChoice("allowed", names, required=choice.get("mode") == "required", parallel=parallel)
    return ToolChoice("tool", [_chosen(choice, path)], parallel=parallel)


def _chosen(entry: Object, path: str) -> str:
    """The name of a tool in a choice; one that is run by the provider is known by its type."""
    function = entry.get("function")
    if isinstance(function, dict):
        entry = function
    name = opt_text(entry, "name", path)
    if name is None:
        return a_text(required(entry.get("type"), f"{path}.type"), f"{path}.type")
    return flat_name(opt_text(entry, "namespace", path), name)


def _read_reasoning(source: Object | None) -> Reasoning | None:
    if not source:
        return None
    effort = opt_text(source, "effort", "$.reasoning")
    summary = opt_text(source, "summary", "$.reasoning") or opt_text(
        source, "generate_summary", "$.reasoning"
    )
    enabled = None if effort is None else effort != "none"
    if summary in (None, "none"):
        return Reasoning(enabled, effort)
    return Reasoning(enabled, effort, show=True, summary=summary)


def _read_format(source: Object | None, path: str) -> OutputFormat | None:
    if source is None:
        return None
    kind = a_text(required(source.get("type"), f"{path}.type"), f"{path}.type")
    if kind not in ("text", "json_object", "json_schema"):
        raise BadRequest(f"Expected 'text', 'json_object' or 'json_schema', got '{kind}'", f"{path}.type")
    return OutputFormat(
        kind,
        required(source.get("schema"), f"{path}.schema") if kind == "json_schema" else None,
        opt_text(source, "name", path),
        opt_text(source, "description", path),
        opt_bool(source, "strict", path),
    )


# Ours → Responses


def encode_request(call: Call, aim: Aim) -> Encoded:
    """The body for ``/v1/responses``. Raises BadRequest for content that it cannot take."""
    tools = {tool.name: tool for tool in call.tools}
    writer = ItemsWriter(call, aim.quirks.fetches_urls, aim.signs or NAME)
    writer.write()
    body: Object = {"model": aim.model, **writer.fields, "input": writer.items}
    if call.stream:
        body["stream"] = True
    written = _write_tools(call, writer)
    if written:
        body["tools"] = written
    _write_choice(call, body, writer, tools)
    _write_settings(call, aim, body, writer)
    foreign = call.dialect != NAME
    if foreign and call.store is None:
        # What goes through another dialect brings its whole history each time; nothing needs to be kept.
        body["store"] = False
    include = []
    if foreign and efforts_of(aim.model, aim.thinks):
        include.append(SEALED)
    logprobs = call.sampling.logprobs or None
    effort = body.get("reasoning", {}).get("effort")
    left_out = refused(body | {"logprobs": logprobs}, aim.model, effort) if foreign else []
    for name in left_out:
        body.pop(name, None)
        writer.dropped.add(name)
    if logprobs and "logprobs" not in left_out:
        include.append(LOGPROBS)
    for extra in call.extra:
        if extra.dialect == NAME:
            for key, value in extra.payload.items():
                body[key] = {**body.get(key, {}), **value} if key in ("reasoning", "text") else value
        else:
            writer.dropped.add(extra.what)
    if include and "include" not in body:
        body["include"] = include
    for knob in aim.quirks.drop & body.keys():
        del body[knob]
        writer.dropped.add(knob)
    return Encoded(lenient.dumps(body), tuple(writer.dropped))


def _write_tools(call: Call, writer: ItemsWriter) -> list[Object]:
    written: list[Object] = []
    spaces: dict[str, Object] = {}
    for tool in call.tools:
        if tool.cache is not None:
            writer.dropped.add("cache_control")
        if tool.hosted is not None:
            if tool.hosted.dialect == NAME:
                written.append(tool.hosted.payload)
            else:
                writer.dropped.add(tool.hosted.what.removeprefix("$.") or tool.name)
            continue
        out = tool_object(tool, call.dialect != NAME)
        kept = tool.extra.payload if tool.extra and tool.extra.dialect == NAME else {}
        if "namespace" not in kept:
            written.append(out)
            continue
        space = spaces.get(kept["namespace"])
        if space is None:
            space = {"type": "namespace", "name": kept["namespace"], "tools": []}
            if kept.get("about"):
                space["description"] = kept["about"]
            spaces[kept["namespace"]] = space
            written.append(space)
        space["tools"].append(out)
    return written


def tool_object(tool: Tool, foreign: bool) -> Object:
    """A function or custom tool in the flat form."""
    kept: Mapping[str, Json] = tool.extra.payload if tool.extra and tool.extra.dialect == NAME else {}
    out: Object = {"type": "custom" if tool.custom else "function", "name": kept.get("name", tool.name)}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.custom:
        if tool.format is not None:
            out["format"] = tool.format
    else:
        out["parameters"] = (
            tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
        )
        if foreign or tool.strict is not None:
            # Unsaid, it would mean strict here, which few schemas of other dialects are written for.
            out["strict"] = bool(tool.strict)
    out.update({key: value for key, value in kept.items() if key not in ("namespace", "name", "about")})
    return out


def _write_choice(call: Call, body: Object, writer: ItemsWriter, tools: Mapping[str, Tool]) -> None:
    choice = call.tool_choice
    if choice is None or not call.tools:
        return
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel
    if choice.mode == "tool":
        tool = tools.get(choice.names[0]) if choice.names else None
        if tool is None or (tool.hosted and tool.hosted.dialect != NAME):
            raise BadRequest(
                f"The tool '{''.join(choice.names[:1])}' cannot be offered to this model", "$.tool_choice"
            )
        body["tool_choice"] = choice_of(tool)
    elif choice.mode == "allowed":
        allowed = [choice_of(tools[name]) for name in choice.names if name in tools]
        body["tool_choice"] = {
            "type": "allowed_tools",
            "mode": "required" if choice.required else "auto",
            "tools": allowed,
        }
    else:
        body["tool_choice"] = choice.mode


def _write_settings(call: Call, aim: Aim, body: Object, writer: ItemsWriter) -> None:
    if call.max_tokens is not None:
        limit = body["max_output_tokens"] = max(
            writer.dropped.cut(call.max_tokens, aim.max_output), MIN_OUTPUT
        )
        if limit > call.max_tokens:
            writer.dropped.add("max_tokens")
    sampling = call.sampling
    for key in ("temperature", "top_p", "top_logprobs"):
        if (value := getattr(sampling, key)) is not None:
            body[key] = value
    text: Object = {}
    if call.output is not None:
        text["format"] = _format(call.output, own=call.dialect == NAME)
    if call.verbosity is not None:
        text["verbosity"] = call.verbosity
    if text:
        body["text"] = text
    _write_reasoning(call, aim, body, writer.dropped)
    for key, value in (
        ("service_tier", call.service_tier),
        ("prompt_cache_key", call.cache_key),
        ("store", call.store),
        ("previous_response_id", call.previous_response_id),
    ):
        if value is not None:
            body[key] = value
    if call.user is not None:
        if len(call.user) <= MAX_USER:
            body["user"] = call.user
        else:
            writer.dropped.add("user")
    if call.metadata is not None:
        if isinstance(call.metadata, dict) and all(
            isinstance(value, str) for value in call.metadata.values()
        ):
            body["metadata"] = call.metadata
        else:
            writer.dropped.add("metadata")
    _drop_unknown(call, writer)


def _drop_unknown(call: Call, writer: ItemsWriter) -> None:
    sampling = call.sampling
    for what, value in (
        ("stop", call.stop or None),
        ("n", call.choices if call.choices != 1 else None),
        ("top_k", sampling.top_k),
        ("seed", sampling.seed),
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
        ("logit_bias", sampling.logit_bias),
        ("modalities", [name for name in call.modalities if name != "text"] or None),
    ):
        if value is not None:
            writer.dropped.add(what)
    if call.safety is not None:
        writer.dropped.add(call.safety.what or "safety")


def _format(output: OutputFormat, *, own: bool) -> Object:
    if output.kind != "json_schema":
        return {"type": output.kind}
    out: Object = {"type": "json_schema", "name": output.name or "response", "schema": output.schema}
    if output.description is not None:
        out["description"] = output.description
    if output.strict is not None or not own:
        out["strict"] = bool(output.strict)
    return out


def _write_reasoning(call: Call, aim: Aim, body: Object, dropped: Dropped) -> None:
    reasoning = call.reasoning
    if reasoning is None:
        return
    own = call.dialect == NAME
    known = efforts_of(aim.model, aim.thinks)
    if not own and not known:
        if not reasoning.off:
            dropped.add("reasoning")
        return
    asked = efforts.asked(reasoning)
    effort = asked if own or asked is None else efforts.nearest(asked, known)
    out: Object = {} if effort is None else {"effort": effort}
    if asked is not None and effort is None:
        dropped.add("reasoning")
    wanted = reasoning.show if reasoning.show is not None else reasoning.enabled
    if reasoning.summary is not None:
        out["summary"] = reasoning.summary
    elif wanted and not own:
        out["summary"] = "auto"
    if out:
        body["reasoning"] = out
