"""OpenRouter, which speaks Chat, Messages and Responses. https://openrouter.ai/docs/api-reference"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="openrouter",
    base_url="https://openrouter.ai/api/v1",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            quirks=Quirks(
                max_tokens_field="max_tokens",
                reasoning_field="reasoning",
                reasoning_details=True,
                cache_control=True,
            ),
        ),
        "anthropic": Surface("/v1/messages"),
        "openai_responses": Surface(
            "/v1/responses",
            # It keeps nothing, and to be asked to is a 400.
            quirks=Quirks(keeps_responses=False, drop=frozenset({"store"})),
        ),
        "embeddings": Surface("/v1/embeddings"),
        "completions": Surface("/v1/completions"),
        "models": Surface("/v1/models"),
        # Its list of models is shown to anybody.
        "key": Surface("/v1/key"),
    },
    forward=TRACE_HEADERS | {"http-referer", "x-title", "anthropic-beta", "anthropic-version"},
    key_variable="OPENROUTER_API_KEY",
)
