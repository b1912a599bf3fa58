"""Well-known model families: what they lack and how much they hold, from their makers' model pages.

Only what is certain stands here, because a wrong entry refuses requests that would have been served: a family is listed
for its sizes, and lacks only what its maker says it does not take. The longest prefix of a name decides.
"""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """Names of capabilities that are missing, and sizes in tokens (None: not known)."""

    lacks: frozenset[str]
    context_window: int | None
    max_output: int | None


def _family(lacks: str, context_window: int | None, max_output: int | None) -> Family:
    return Family(frozenset(lacks.split()), context_window, max_output)


_TEXT = "vision audio documents"
_OPEN_TEXT = "vision audio documents thinking"

FAMILIES: dict[str, Family] = {
    # OpenAI
    "gpt-3.5-turbo": _family(f"{_OPEN_TEXT} structured_output", 16_385, 4_096),
    "gpt-4": _family(f"{_OPEN_TEXT} structured_output", 8_192, 8_192),
    "gpt-4-32k": _family(f"{_OPEN_TEXT} structured_output", 32_768, 8_192),
    "gpt-4-turbo": _family("audio thinking structured_output", 128_000, 4_096),
    "gpt-4-vision": _family("audio thinking structured_output", 128_000, 4_096),
    "gpt-4-1106": _family(f"{_OPEN_TEXT} structured_output", 128_000, 4_096),
    "gpt-4-0125": _family(f"{_OPEN_TEXT} structured_output", 128_000, 4_096),
    "gpt-4o": _family("audio thinking", 128_000, 16_384),
    "gpt-4o-audio": _family("vision thinking structured_output", 128_000, 16_384),
    "gpt-4o-mini-audio": _family("vision thinking structured_output", 128_000, 16_384),
    "gpt-audio": _family("vision thinking structured_output", 128_000, 16_384),
    "gpt-4.1": _family("audio thinking", 1_047_576, 32_768),
    "gpt-4.5": _family("audio thinking", 128_000, 16_384),
    "gpt-5": _family("audio", 400_000, 128_000),
    "gpt-5-chat": _family("audio", 128_000, 16_384),
    "gpt-oss": _family(_TEXT, 131_072, 131_072),
    "o1": _family("audio", 200_000, 100_000),
    "o1-mini": _family(f"{_TEXT} tools structured_output", 128_000, 65_536),
    "o1-preview": _family(f"{_TEXT} tools structured_output", 128_000, 32_768),
    "o3": _family("audio", 200_000, 100_000),
    "o3-mini": _family(_TEXT, 200_000, 100_000),
    "o4-mini": _family("audio", 200_000, 100_000),
    # Anthropic. Contexts of 1M are a beta that a request asks for, so the window of a family that has it is not stated.
    "claude-": _family("audio", None, None),
    "claude-2": _family(f"{_OPEN_TEXT} tools structured_output", 200_000, 4_096),
    "claude-instant": _family(f"{_OPEN_TEXT} tools structured_output", 100_000, 4_096),
    "claude-3-haiku": _family("audio thinking", 200_000, 4_096),
    "claude-3-sonnet": _family("audio thinking", 200_000, 4_096),
    "claude-3-opus": _family("audio thinking", 200_000, 4_096),
    "claude-3-5-haiku": _family("audio thinking", 200_000, 8_192),
    "claude-3-5-sonnet": _family("audio thinking", 200_000, 8_192),
    "claude-3-7-sonnet": _family("audio", 200_000, 64_000),
    "claude-haiku-4-5": _family("audio", 200_000, 64_000),
    "claude-sonnet-4": _family("audio", None, 64_000),
    "claude-opus-4": _family("audio", None, None),
    "claude-opus-4-0": _family("audio", 200_000, 32_000),
    "claude-opus-4-1": _family("audio", 200_000, 32_000),
    # Google
    "gemini-1.5-flash": _family("thinking", 1_048_576, 8_192),
    "gemini-1.5-pro": _family("thinking", 2_097_152, 8_192),
    "gemini-2.0-flash": _family("thinking", 1_048_576, 8_192),
    "gemini-2.5": _family("", 1_048_576, 65_536),
    "gemini-3": _family("", 1_048_576, 65_536),
    "gemma-2": _family(_OPEN_TEXT, 8_192, None),
    "gemma-3": _family("audio documents thinking", 131_072, None),
    # DeepSeek
    "deepseek-chat": _family(_TEXT, 131_072, None),
    "deepseek-reasoner": _family(_TEXT, 131_072, None),
    "deepseek-v3": _family(_TEXT, None, None),
    "deepseek-r1": _family(_TEXT, None, None),
    # Mistral
    "mistral-7b": _family(_OPEN_TEXT, 32_768, None),
    "open-mistral-7b": _family(_OPEN_TEXT, 32_768, None),
    "mixtral-8x7b": _family(_OPEN_TEXT, 32_768, None),
    "open-mixtral-8x7b": _family(_OPEN_TEXT, 32_768, None),
    "mixtral-8x22b": _family(_OPEN_TEXT, 65_536, None),
    "open-mixtral-8x22b": _family(_OPEN_TEXT, 65_536, None),
    "codestral": _family(_OPEN_TEXT, None, None),
    "devstral": _family(_OPEN_TEXT, 131_072, None),
    "ministral": _family("audio documents thinking", 131_072, None),
    "pixtral": _family("audio thinking", 131_072, None),
    # xAI
    "grok-2": _family(_OPEN_TEXT, 131_072, None),
    "grok-2-vision": _family("audio documents thinking", 32_768, None),
    "grok-3": _family(_TEXT, 131_072, None),
    "grok-code-fast": _family(_TEXT, 256_000, None),
    # Meta; hosts differ in how much output and tool use they allow, so only what the weights cannot do is stated.
    "llama-3-8b": _family(_OPEN_TEXT, 8_192, None),
    "llama-3-70b": _family(_OPEN_TEXT, 8_192, None),
    "llama3-8b": _family(_OPEN_TEXT, 8_192, None),
    "llama3-70b": _family(_OPEN_TEXT, 8_192, None),
    "llama-3.1": _family(_OPEN_TEXT, 131_072, None),
    "llama-3.2-1b": _family(_OPEN_TEXT, 131_072, None),
    "llama-3.2-3b": _family(_OPEN_TEXT, 131_072, None),
    "llama-3.2-11b": _family("audio documents thinking", 131_072, None),
    "llama-3.2-90b": _family("audio documents thinking", 131_072, None),
    "llama-3.3": _family(_OPEN_TEXT, 131_072, None),
    "llama-4": _family("audio documents thinking", None, None),
    # Qwen
    "qwen-2.5-72b": _family(_OPEN_TEXT, 131_072, None),
    "qwen2.5-72b": _family(_OPEN_TEXT, 131_072, None),
    "qwen2.5-7b": _family(_OPEN_TEXT, 131_072, None),
    "qwen2.5-coder": _family(_OPEN_TEXT, 131_072, None),
    "qwen-2.5-coder": _family(_OPEN_TEXT, 131_072, None),
    "qwen3-coder": _family(_OPEN_TEXT, None, None),
    "qwq-32b": _family(_TEXT, 131_072, None),
    # Others
    "kimi-k2": _family(_TEXT, None, None),
    "kimi-k2.5": _family("audio documents", 262_144, None),
    "glm-4.5": _family(_TEXT, 131_072, 98_304),
    "glm-4.5v": _family("audio", 65_536, None),
    "glm-4.6": _family(_TEXT, 200_000, 131_072),
    "glm-4.6v": _family("audio", 131_072, None),
    "command-r": _family(_OPEN_TEXT, 128_000, 4_096),
    "command-a": _family("audio documents", 256_000, None),
    "phi-3-mini": _family(_OPEN_TEXT, None, None),
    "phi-3-medium": _family(_OPEN_TEXT, None, None),
}

_START = 2
_LONGEST_FIRST = sorted(FAMILIES, key=len, reverse=True)
# By the first letters, because a look-up is made for requests and not only for snapshots.
_BY_START = {
    start: tuple(prefix for prefix in _LONGEST_FIRST if prefix.startswith(start))
    for start in {prefix[:_START] for prefix in FAMILIES}
}

# Ollama and the weights' own names put sizes and makers around the family ("meta-llama/Llama-3.1-8B-Instruct", "models/gemini-2.5-pro").
_MAKERS = ("meta-", "mistralai-", "google-")


def family_of(upstream_model: str) -> Family | None:
    """The family of a provider's model name, whatever path, maker or variant (``:free``) stands around it; None when unknown."""
    name = upstream_model.rpartition("/")[2].lower()
    name, _, _ = name.partition(":")
    for maker in _MAKERS:
        name = name.removeprefix(maker)
    for prefix in _BY_START.get(name[:_START], ()):
        if name.startswith(prefix) and _ends_a_word(prefix, name):
            return FAMILIES[prefix]
    return None


def _ends_a_word(prefix: str, name: str) -> bool:
    """Whether ``prefix`` is not cut out of a longer version number or word: gpt-4 is neither gpt-4o nor gpt-4.1."""
    if prefix.endswith("-") or len(name) == len(prefix):
        return True
    following = name[len(prefix)]
    return following in "-@_" or (following == "." and not prefix[-1].isdigit())
