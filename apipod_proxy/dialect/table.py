"""The table of dialects: one row for each language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from apipod_proxy.dialect import (
    Dialect,
    Tongue,
    anthropic,
    cohere,
    gemini,
    gigachat,
    openai_chat,
    openai_responses,
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {row.name: row for row in (openai_chat.ROW, anthropic.ROW, gemini.ROW, openai_responses.ROW)}
)

SPOKEN: Mapping[str, Dialect | Tongue] = MappingProxyType(
    {**DIALECTS, **{row.name: row for row in (cohere.ROW, gigachat.ROW)}}
)
"""What providers speak: all of these, and what no client does."""
