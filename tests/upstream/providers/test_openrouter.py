from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks, post
from tests.upstream.providers.rig import Rig


class TestOpenrouter(ProviderChecks):
    name = "openrouter"

    async def test_it_is_not_asked_to_keep_a_response(self, rig: Rig) -> None:
        body = {"model": "openrouter-0/good", "input": "Hi", "store": True}
        answer = await post(rig, "/v1/responses", body)
        assert answer.status == 200, answer.body
        assert "store" not in rig.fakes.arrived[-1].body
