"""xAI. https://docs.x.ai/docs/api-reference"""

from __future__ import annotations

import re

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

_REFUSED = re.compile(
    rb'"error"\s*:\s*"(?:(?:incorrect|invalid) api key|api key (?:is|has been) [^"]{0,40}'
    rb"(?:blocked|disabled|revoked|expired))",
    re.IGNORECASE,
)
"""How the text of a refused key begins. A 403 for what a client said names the key too: "Content violates usage guidelines. …, API key ID: …"."""


def is_auth_failure(status: int, body: bytes) -> bool:
    """A bad key is a 400 there, a blocked one a 403."""
    return status in (400, 403) and _REFUSED.search(body) is not None


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
