"""Cohere. https://docs.cohere.com/reference/chat"""

from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="cohere",
    base_url="https://api.cohere.com",
    surfaces={
        "cohere": Surface("/v2/chat"),
        "embeddings": Surface("/compatibility/v1/embeddings"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    key_variable="COHERE_API_KEY",
)
