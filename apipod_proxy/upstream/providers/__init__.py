"""The provider types. A new one is a small file here and a row in ``PROVIDER_TYPES``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from apipod_proxy.upstream.provider import ProviderType
from apipod_proxy.upstream.providers import (
    anthropic,
    antigravity,
    azure_openai,
    cloudflare,
    cohere,
    deepseek,
    gigachat,
    google_ai_studio,
    groq,
    huggingface,
    mistral,
    nvidia_nim,
    ollama,
    openai,
    openai_compatible,
    openrouter,
    simulator,
    together,
    vllm,
    xai,
)

PROVIDER_TYPES: Mapping[str, ProviderType] = MappingProxyType(
    {
        module.TYPE.name: module.TYPE
        for module in (
            openai,
            anthropic,
            google_ai_studio,
            antigravity,
            nvidia_nim,
            openrouter,
            groq,
            deepseek,
            mistral,
            xai,
            together,
            huggingface,
            cohere,
            cloudflare,
            gigachat,
            ollama,
            vllm,
            azure_openai,
            openai_compatible,
            simulator,
        )
    }
)
