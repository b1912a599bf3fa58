"""NVIDIA NIM. https://docs.api.nvidia.com/nim/reference/llm-apis"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="nvidia_nim",
    base_url="https://integrate.api.nvidia.com/v1",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            quirks=Quirks(max_tokens_field="max_tokens", developer_role=False, fetches_urls=False),
        ),
        "embeddings": Surface("/v1/embeddings"),
        "completions": Surface("/v1/completions"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    open_models=True,
    key_variable="NVIDIA_API_KEY",
)
