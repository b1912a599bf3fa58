from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks


class TestOpenrouter(ProviderChecks):
    name = "openrouter"
