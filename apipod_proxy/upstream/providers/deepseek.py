"""DeepSeek, which speaks Chat, Responses and, under a path of its own, Messages. https://api-docs.deepseek.com"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="deepseek",
    base_url="https://api.deepseek.com",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            quirks=Quirks(
                max_tokens_field="max_tokens",
                developer_role=False,
                fetches_urls=False,
                reasoning_always=True,
            ),
        ),
        "anthropic": Surface("/anthropic/v1/messages"),
        "openai_responses": Surface("/responses", quirks=Quirks(keeps_responses=False)),
        "completions": Surface("/beta/completions"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS | {"anthropic-beta", "anthropic-version"},
    key_variable="DEEPSEEK_API_KEY",
)
