"""xAI. https://docs.x.ai/docs/api-reference"""

from __future__ import annotations

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface


def is_auth_failure(status: int, body: bytes) -> bool:
    """A bad key is a 400 there."""
    return status in (400, 403) and b"API key" in body


TYPE = ProviderType(
    name="xai",
    base_url="https://api.x.ai/v1",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            # A 400 there for every model that reasons, even where they are 0.
            quirks=Quirks(drop=frozenset({"presence_penalty", "frequency_penalty"})),
        ),
        "openai_responses": Surface("/v1/responses"),
        "images": Surface("/v1/images/generations"),
        "completions": Surface("/v1/completions"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    auth_failure=is_auth_failure,
    key_variable="XAI_API_KEY",
)
