"""Together AI. https://docs.together.ai/reference"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="together",
    base_url="https://api.together.xyz/v1",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, reasoning_field="reasoning"),
        ),
        "embeddings": Surface("/v1/embeddings"),
        "images": Surface("/v1/images/generations"),
        "speech": Surface("/v1/audio/speech"),
        "transcriptions": Surface("/v1/audio/transcriptions"),
        "completions": Surface("/v1/completions"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    key_variable="TOGETHER_API_KEY",
)
