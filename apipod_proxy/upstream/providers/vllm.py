"""vLLM on machines of one's own: ``base_url`` is required. https://docs.vllm.ai/en/latest/serving/openai_compatible_server"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="vllm",
    base_url="",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions", quirks=Quirks(developer_role=False, reasoning_field="reasoning")
        ),
        "openai_responses": Surface("/v1/responses", quirks=Quirks(keeps_responses=False)),
        "embeddings": Surface("/v1/embeddings"),
        "transcriptions": Surface("/v1/audio/transcriptions"),
        "completions": Surface("/v1/completions"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    needs_key=False,
)
