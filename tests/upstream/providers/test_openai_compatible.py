from __future__ import annotations

from tests.upstream.providers.checks import ProviderChecks, ask
from tests.upstream.providers.fakes import MESSAGES
from tests.upstream.providers.rig import Rig


class TestOpenaiCompatible(ProviderChecks):
    name = "openai_compatible"

    async def test_a_model_that_nobody_has_heard_of_is_not_asked_to_think(self, rig: Rig) -> None:
        thinking = {"type": "enabled", "budget_tokens": 8192}
        answer = await ask(rig, MESSAGES, f"{self.name}-0/good", thinking=thinking)
        assert answer.status == 200, answer.body
        assert "reasoning_effort" not in rig.fakes.arrived[-1].body
        assert answer.headers["x-apipod-dropped"] == "reasoning"
