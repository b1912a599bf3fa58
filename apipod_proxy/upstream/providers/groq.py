"""Groq. https://console.groq.com/docs/api-reference"""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface

TYPE = ProviderType(
    name="groq",
    base_url="https://api.groq.com/openai/v1",
    surfaces={
        "openai_chat": Surface(
            "/v1/chat/completions",
            # These are a 400 there: "property … is unsupported".
            quirks=Quirks(
                reasoning_field="reasoning",
                drop=frozenset({"logit_bias", "logprobs", "top_logprobs", "store"}),
            ),
        ),
        "openai_responses": Surface(
            "/v1/responses", quirks=Quirks(keeps_responses=False, drop=frozenset({"store"}))
        ),
        "speech": Surface("/v1/audio/speech"),
        "transcriptions": Surface("/v1/audio/transcriptions"),
        "translations": Surface("/v1/audio/translations"),
        "models": Surface("/v1/models"),
    },
    forward=TRACE_HEADERS,
    key_variable="GROQ_API_KEY",
)
