"""Whatever JSON comes, a request is read or refused: nothing else is ever raised."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest

from apipod_proxy.simulator.ask import Ask, Refusal
from apipod_proxy.simulator.reply import compose
from apipod_proxy.simulator.requests import anthropic, gemini, openai_chat, openai_responses
from apipod_proxy.simulator.script import Script

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["a"]},
        "tags": {"type": "array", "items": {"anyOf": [{"type": "integer"}]}},
    },
}
CHAT = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 9,
    "stop": ["x"],
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "messages": [
        {"role": "system", "content": "S"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "use f"},
                {"type": "image_url", "image_url": {"url": "https://x/"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]},
    ],
}
ANTHROPIC = {
    "model": "m",
    "max_tokens": 2000,
    "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "adaptive"},
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "stop_sequences": ["x"],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "f"},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}]}
            ],
        },
    ],
}
GEMINI = {
    "systemInstruction": {"parts": [{"text": "S"}]},
    "generationConfig": {
        "maxOutputTokens": 9,
        "stopSequences": ["x"],
        "thinkingConfig": {"includeThoughts": True},
        "responseMimeType": "application/json",
        "responseSchema": SCHEMA,
    },
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "contents": [
        {"role": "user", "parts": [{"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {
            "role": "model",
            "parts": [
                {
                    "functionCall": {"name": "f", "args": {}, "id": "a"},
                    "thoughtSignature": "skip_thought_signature_validator",
                }
            ],
        },
        {
            "role": "user",
            "parts": [
                {
                    "functionResponse": {
                        "name": "f",
                        "id": "a",
                        "response": {"output": "r"},
                        "parts": [{"inlineData": {"mimeType": "a/b", "data": ""}}],
                    }
                }
            ],
        },
    ],
}
RESPONSES = {
    "model": "m",
    "instructions": "S",
    "reasoning": {"effort": "low"},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
    "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}, {"type": "namespace", "tools": []}],
    "tool_choice": {"type": "function", "name": "f"},
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "x"},
                {"type": "input_image", "image_url": "https://x/"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]},
    ],
}
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x",
    [],
    [None],
    [[]],
    {},
    {"": None},
    {"type": "text"},
    [{"type": "x"}],
]


def _mutated(value: Any, source: random.Random) -> Any:
    """The same with one place changed, lost or doubled."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        held = stack.pop()
        keys: list[Any] = (
            list(held) if isinstance(held, dict) else list(range(len(held))) if isinstance(held, list) else []
        )
        places += [(held, key) for key in keys]
        stack += [held[key] for key in keys]
    held, key = source.choice(places)
    match source.randrange(4):
        case 0:
            del held[key]
        case 1 if isinstance(held, list):
            held.append(copy.deepcopy(held[key]))
        case _:
            held[key] = copy.deepcopy(source.choice(ODD))
    return value


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (openai_chat.read, CHAT),
        (anthropic.read, ANTHROPIC),
        (lambda body: gemini.read("m", body), GEMINI),
        (openai_responses.read, RESPONSES),
    ],
    ids=["openai_chat", "anthropic", "gemini", "openai_responses"],
)
def test_whatever_comes_is_read_or_refused(read: Callable[[Any], Ask], body: dict[str, Any]) -> None:
    assert compose(read(body), Script()).usage.prompt > 0
    source = random.Random(11)
    refused = 0
    for _ in range(500):
        changed = _mutated(_mutated(body, source) if source.random() < 0.3 else body, source)
        try:
            compose(read(changed), Script())
        except Refusal as refusal:
            assert str(refusal)
            refused += 1
        except Exception as exc:
            raise AssertionError(f"{exc!r} for {changed}") from exc
    assert 100 < refused < 500
