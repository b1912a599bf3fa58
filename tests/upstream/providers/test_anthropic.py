from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks


class TestAnthropic(ProviderChecks):
    name = "anthropic"
