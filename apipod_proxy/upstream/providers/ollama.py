"""Ollama on the own machine, which speaks Chat, Messages and Responses. https://docs.ollama.com/openai"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="ollama",
    base_url="http://127.0.0.1:11434",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            quirks=Quirks(
                max_tokens_field="max_tokens",
                developer_role=False,
                reasoning_field="reasoning",
                fetches_urls=False,
            ),
        ),
        "anthropic": Surface("/v1/messages", quirks=Quirks(fetches_urls=False)),
        "openai_responses": Surface("/v1/responses", quirks=Quirks(keeps_responses=False)),
        "embeddings": Surface("/v1/embeddings"),
        "completions": Surface("/v1/completions"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    needs_key=False,
)
