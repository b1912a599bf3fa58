"""The provider types. A new one is a small file here and a row in ``PROVIDER_TYPES``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from apipod_proxy.upstream.provider import ProviderType
from apipod_proxy.upstream.providers import (
    anthropic,
    antigravity,
    google_ai_studio,
    openai,
    openai_compatible,
)

PROVIDER_TYPES: Mapping[str, ProviderType] = MappingProxyType(
    {
        module.TYPE.name: module.TYPE
        for module in (openai, anthropic, google_ai_studio, antigravity, openai_compatible)
    }
)
