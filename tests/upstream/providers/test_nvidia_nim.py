from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks


class TestNvidiaNim(ProviderChecks):
    name = "nvidia_nim"
