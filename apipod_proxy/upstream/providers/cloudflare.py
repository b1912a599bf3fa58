"""Cloudflare Workers AI. https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility

Options: ``account_id`` (required). To go through an AI Gateway, set ``base_url`` to
``https://gateway.ai.cloudflare.com/v1/{account_id}/{gateway_id}/workers-ai`` with the option ``gateway_id``, and the gateway's own token
as the header ``cf-aig-authorization``.
"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="cloudflare",
    base_url="https://api.cloudflare.com/client/v4/accounts/{account_id}/ai",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, fetches_urls=False),
        ),
        "embeddings": Surface("/v1/embeddings"),
        "models": Surface("/models/search"),
    },
    forward=TRACE_HEADERS,
    quota_shared=True,
    key_variable="CLOUDFLARE_API_TOKEN",
)
