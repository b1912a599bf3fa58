"""Tools that take free text, towards dialects whose tools take JSON: a function with one string parameter, ``input``."""

from __future__ import annotations

import orjson

from apipod_proxy.dialect import lenient
from apipod_proxy.dialect.vocabulary import Json, Tool

INPUT = "input"


def parameters() -> Json:
    """The JSON Schema of the function that stands for a custom tool."""
    return {
        "type": "object",
        "properties": {
            INPUT: {"type": "string", "description": "The whole input of the tool, as plain text."}
        },
        "required": [INPUT],
        "additionalProperties": False,
    }


def description(tool: Tool) -> str | None:
    """The description of that function: the tool's own, and the grammar that its text has to follow."""
    form: dict[str, Json] = tool.format if isinstance(tool.format, dict) else {}
    nested = form.get("grammar")
    grammar: dict[str, Json] = nested if isinstance(nested, dict) else form
    text = grammar.get("definition")
    if not isinstance(text, str):
        return tool.description
    syntax = grammar.get("syntax") or "formal"
    rule = f"`{INPUT}` must follow this {syntax} grammar:\n{text}"
    return f"{tool.description}\n\n{rule}" if tool.description else rule


def to_arguments(text: str) -> str:
    """Free text as the JSON arguments of that function."""
    return orjson.dumps({INPUT: text}).decode()


def from_arguments(arguments: str) -> str:
    """The free text in such arguments; what is no such object is the text itself."""
    try:
        value = lenient.loads(arguments.encode("utf-8", "surrogatepass"))
    except orjson.JSONDecodeError:
        return arguments
    if isinstance(value, dict) and isinstance(value.get(INPUT), str):
        return str(value[INPUT])
    return arguments
