"""A conversation that one provider begins and another goes on with, as it happens on routes with several targets."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tests.sdk.conftest import RESULTS, TOOLS, UPSTREAMS
from tests.sdk.test_matrix import CLIENTS, close
from tests.serve.conftest import Gateway


@pytest.mark.parametrize("sdk", CLIENTS)
async def test_another_provider_takes_over_in_the_middle_of_a_tool_call(gateway: Gateway, sdk: str) -> None:
    for first, second in permutations(UPSTREAMS, 2):
        client: Any = CLIENTS[sdk](gateway.base)
        try:
            begun = await client.ask(f"{first}/some-model+thinking=1", True)
            assert set(begun.calls) == set(TOOLS)
            taken_over = await client.answer(f"{second}/some-model+thinking=1", True)
            for result in RESULTS.values():
                assert result in taken_over.text, (first, second, taken_over)
        finally:
            await close(client)
