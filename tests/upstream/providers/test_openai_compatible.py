from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks


class TestOpenaiCompatible(ProviderChecks):
    name = "openai_compatible"
