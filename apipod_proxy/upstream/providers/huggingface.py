"""Hugging Face's router over many inference providers. https://huggingface.co/docs/inference-providers"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="huggingface",
    base_url="https://router.huggingface.co/v1",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions", quirks=Quirks(max_tokens_field="max_tokens", developer_role=False)
        ),
        "openai_responses": Surface("/v1/responses", quirks=Quirks(keeps_responses=False)),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    open_models=True,
    key_variable="HF_TOKEN",
)
