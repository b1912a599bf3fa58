"""Google AI Studio, the Gemini API. https://ai.google.dev/api"""

from __future__ import annotations

from apipod_proxy.upstream.provider import TRACE_HEADERS, Auth, ProviderType, Surface


def is_auth_failure(status: int, body: bytes) -> bool:
    """A bad key is a 400 with the reason API_KEY_INVALID, or a 403 that names the key."""
    return (status == 400 and b"API_KEY_INVALID" in body) or (status == 403 and b"API_KEY" in body)


TYPE = ProviderType(
    name="google_ai_studio",
    base_url="https://generativelanguage.googleapis.com",
    surfaces={
        "gemini": Surface(
            "/v1beta/models/{model}:generateContent", "/v1beta/models/{model}:streamGenerateContent?alt=sse"
        ),
        "gemini_count_tokens": Surface("/v1beta/models/{model}:countTokens"),
        "gemini_embed": Surface("/v1beta/models/{model}:embedContent"),
        "gemini_batch_embed": Surface("/v1beta/models/{model}:batchEmbedContents"),
        "models": Surface("/v1beta/models"),
    },
    auth=Auth.X_GOOG_API_KEY,
    forward=TRACE_HEADERS,
    signs="gemini",
    auth_failure=is_auth_failure,
    key_variable="GEMINI_API_KEY",
)
