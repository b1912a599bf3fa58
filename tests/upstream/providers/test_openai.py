from __future__ import annotations

from tests.upstream.providers.checks import NewestModelsChecks


class TestOpenai(NewestModelsChecks):
    name = "openai"
