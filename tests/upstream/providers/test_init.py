from __future__ import annotations

from apipod_proxy.upstream.providers import PROVIDER_TYPES
from tests.upstream.providers.table import FAKES

OWN_TESTS = {"cohere", "gigachat"}
"""Types whose dialect is theirs alone: their tests have fakes of their own."""


def test_every_type_is_tested_against_a_fake_of_it() -> None:
    assert set(FAKES) == set(PROVIDER_TYPES) - OWN_TESTS
