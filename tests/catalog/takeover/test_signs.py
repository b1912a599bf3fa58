from __future__ import annotations

import pytest

from apipod_proxy.catalog.takeover.signs import may_be_foreign
from tests.catalog.takeover.conftest import AI_PROXY, API_ROUTER, CREDENTIALS


@pytest.mark.parametrize(
    "text", [AI_PROXY, API_ROUTER, CREDENTIALS, '{"models":[{}]}', "- vendor: openai\n", "models: [{}]"]
)
def test_lists_of_models_are_worth_a_closer_look(text: str) -> None:
    assert may_be_foreign(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models:\n  gpt-4o: {provider: openai}\n",
        '{"models": {"gpt-4o": {"provider": "openai"}}}',
        "users:\n  a: {subscription: s, keys: [{key: k, allowed_models: [gpt-4o]}]}\n",
        "# models: [none]\nproviders: {}\n"[16:],
    ],
)
def test_catalogs_cost_no_second_reading(text: str) -> None:
    assert not may_be_foreign(text)
