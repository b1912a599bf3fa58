"""Google AI Studio, the Gemini API. https://ai.google.dev/api"""

from __future__ import annotations

import re

from apipod_proxy.upstream.provider import TRACE_HEADERS, Auth, ProviderType, Surface

_REASON = re.compile(rb'"reason"\s*:\s*"API_KEY_')
"""A member, not words of a message: these may be the client's, whose quotes would be escaped."""


def is_auth_failure(status: int, body: bytes) -> bool:
    """A bad key is a 400 with the reason API_KEY_INVALID; one that is restricted is a 403 with another reason of that kind."""
    return status in (400, 403) and _REASON.search(body) is not None


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
