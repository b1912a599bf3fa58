"""Counting the tokens of a request: ``count_tokens`` of Messages, ``countTokens`` of Gemini, ``input_tokens`` of Responses, and an estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from apipod_proxy.dialect.fields import Json, Object, an_object, parse, required
from apipod_proxy.dialect.identity import read_request, rewrite
from apipod_proxy.dialect.usage import count

MESSAGES = "anthropic"
GEMINI = "gemini"
RESPONSES = "openai_responses"

SURFACES: Mapping[str, str] = {
    MESSAGES: "count_tokens",
    GEMINI: "gemini_count_tokens",
    RESPONSES: "input_tokens",
}
"""The surface of a provider's type that counts, by the dialect that it speaks."""

# What a count takes; the rest of a request is refused there.
_COUNTED: Mapping[str, frozenset[str]] = {
    MESSAGES: frozenset(
        {
            *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"),
            *("output_format", "context_management", "mcp_servers", "cache_control", "speed"),
        }
    ),
    RESPONSES: frozenset(
        {
            *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning"),
            *("text", "truncation", "conversation", "previous_response_id"),
        }
    ),
}
_WRAPPED = ("generateContentRequest", "generate_content_request")

TENTHS_OF_BYTES_PER_TOKEN = 32
"""Providers make one token of 3.5 to 4.5 bytes of text. Who is told too little fills a context that then overflows."""

TOOLS_TOKENS = 500
"""Anthropic's own instructions for the use of tools, which come on top of what the request holds."""

MEDIA_TOKENS = 1600
"""Of a picture of common size."""
MEDIA_BYTES_PER_TOKEN = 60
"""Of a document in base64, whose pages are about 100 KB and 1,600 tokens each."""


class Counting(NamedTuple):
    """A request to count: the model it names, and the whole request that is to be counted, in the client's dialect."""

    model: str
    whole: bytes


def read(dialect: str, body: bytes, model: str | None = None) -> Counting:
    """``model`` is the URL's where the dialect has it there. Raises BadRequest with the path of the field."""
    if dialect != GEMINI:
        return Counting(read_request(dialect, body, counting=True).model, body)
    source = parse(body)
    for name in _WRAPPED:
        if name in source:
            whole = an_object(source[name], f"$.{name}")
            required(whole.get("contents"), f"$.{name}.contents")
            return Counting(model or "", orjson.dumps(whole))
    required(source.get("contents"), "$.contents")
    return Counting(model or "", body)


def same(dialect: str, body: bytes, model: str) -> bytes:
    """The client's own request under the provider's name of the model."""
    if dialect != GEMINI:
        return rewrite(body, read_request(dialect, body, counting=True), {"model": model})
    source = parse(body)
    for name in _WRAPPED:
        if isinstance(source.get(name), dict):
            source[name]["model"] = f"models/{model}"
    source.pop("model", None)
    return orjson.dumps(source)


def around(spoken: str, whole: bytes, model: str) -> bytes:
    """A request to count ``whole``, an encoded request for a completion in ``spoken``."""
    source: Object = orjson.loads(whole)
    if spoken == GEMINI:
        return orjson.dumps({"generateContentRequest": {"model": f"models/{model}", **source}})
    return orjson.dumps({name: value for name, value in source.items() if name in _COUNTED[spoken]})


def tokens_in(spoken: str, answer: bytes) -> int | None:
    """What a provider counted; None where its answer does not say."""
    try:
        told = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    return count(told, *("totalTokens", "total_tokens") if spoken == GEMINI else ("input_tokens",))


def told(dialect: str, tokens: int) -> bytes:
    """The answer to a client."""
    return orjson.dumps(_TOLD[dialect](tokens))


def estimate(body: bytes, media: int, media_bytes: int) -> int:
    """Rather too much than too little, for a request in which ``media`` attachments make up ``media_bytes``."""
    text = -(-(len(body) - media_bytes) * 10 // TENTHS_OF_BYTES_PER_TOKEN)
    tools = TOOLS_TOKENS if b'"tools"' in body else 0
    return max(1, text) + tools + max(media * MEDIA_TOKENS, media_bytes // MEDIA_BYTES_PER_TOKEN)


def _gemini_count(tokens: int) -> Json:
    return {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}


_TOLD: Mapping[str, Callable[[int], Json]] = {
    MESSAGES: lambda tokens: {"input_tokens": tokens},
    GEMINI: _gemini_count,
    RESPONSES: lambda tokens: {"object": "response.input_tokens", "input_tokens": tokens},
}
