"""OpenAI. https://platform.openai.com/docs/api-reference"""

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

TYPE = ProviderType(
    name="openai",
    base_url="https://api.openai.com/v1",
    surfaces={**OPENAI_SURFACES, "input_tokens": Surface("/v1/responses/input_tokens")},
    forward=TRACE_HEADERS | {"openai-beta", "openai-organization", "openai-project", "idempotency-key"},
    signs="openai_responses",
    key_variable="OPENAI_API_KEY",
)
