"""Mistral. https://docs.mistral.ai/api"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="mistral",
    base_url="https://api.mistral.ai/v1",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            quirks=Quirks(
                max_tokens_field="max_tokens",
                developer_role=False,
                # Usage comes unasked, on the last chunk, and unknown members are a 422.
                stream_usage=False,
                reasoning_field="",
                short_tool_ids=True,
                drop=frozenset(
                    {
                        "logit_bias",
                        "logprobs",
                        "top_logprobs",
                        "user",
                        "store",
                        "service_tier",
                        "seed",
                        "verbosity",
                        "reasoning",
                    }
                ),
            ),
        ),
        "embeddings": Surface("/v1/embeddings"),
        "moderations": Surface("/v1/moderations"),
        "transcriptions": Surface("/v1/audio/transcriptions"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    key_variable="MISTRAL_API_KEY",
)
