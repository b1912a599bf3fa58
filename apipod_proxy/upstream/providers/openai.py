"""OpenAI. https://platform.openai.com/docs/api-reference"""

from __future__ import annotations

from apipod_proxy.dialect.openai_models import loses_thinking
from apipod_proxy.dialect.vocabulary import Call
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

OPENAI_SURFACES = {
    "openai_chat": Surface("/v1/chat/completions"),
    "openai_responses": Surface("/v1/responses"),
    "embeddings": Surface("/v1/embeddings"),
    "images": Surface("/v1/images/generations"),
    "speech": Surface("/v1/audio/speech"),
    "transcriptions": Surface("/v1/audio/transcriptions"),
    "translations": Surface("/v1/audio/translations"),
    "moderations": Surface("/v1/moderations"),
    "completions": Surface("/v1/completions"),
    "models": Surface("/v1/models"),
}


def instead_of_chat(call: Call, model: str) -> str | None:
    """The newest models think beside tools only in Responses."""
    return "openai_responses" if loses_thinking(call, model) else None


TYPE = ProviderType(
    name="openai",
    base_url="https://api.openai.com/v1",
    surfaces={**OPENAI_SURFACES, "input_tokens": Surface("/v1/responses/input_tokens")},
    forward=TRACE_HEADERS | {"openai-beta", "openai-organization", "openai-project", "idempotency-key"},
    signs="openai_responses",
    instead=instead_of_chat,
    key_variable="OPENAI_API_KEY",
)
