from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks


class TestAzureOpenai(ProviderChecks):
    name = "azure_openai"
