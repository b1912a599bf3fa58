from __future__ import annotations

from tests.upstream.providers.checks import NewestModelsChecks


class TestAzureOpenai(NewestModelsChecks):
    name = "azure_openai"
