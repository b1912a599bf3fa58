"""Antigravity, a gateway on the own machine that speaks Messages and Chat Completions."""

from apipod_proxy.upstream.provider import TRACE_HEADERS, Auth, ProviderType, Surface
from apipod_proxy.upstream.providers.openai_compatible import QUIRKS

TYPE = ProviderType(
    name="antigravity",
    base_url="http://127.0.0.1:8045",
    surfaces={
        "anthropic": Surface("/v1/messages"),
        "openai_chat": Surface("/v1/chat/completions", quirks=QUIRKS),
        "count_tokens": Surface("/v1/messages/count_tokens"),
        "models": Surface("/v1/models"),
    },
    auth=Auth.X_API_KEY,
    headers={"anthropic-version": "2023-06-01"},
    forward=TRACE_HEADERS | {"anthropic-beta", "anthropic-version"},
    signs="anthropic",
    key_variable="ANTIGRAVITY_KEY",
)
