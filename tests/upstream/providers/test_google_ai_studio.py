from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks


class TestGoogleAiStudio(ProviderChecks):
    name = "google_ai_studio"
