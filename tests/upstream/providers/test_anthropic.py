from __future__ import annotations

import pytest

from tests.upstream.providers.checks import ProviderChecks, ask
from tests.upstream.providers.fakes import CHAT
from tests.upstream.providers.rig import Rig


class TestAnthropic(ProviderChecks):
    name = "anthropic"

    @pytest.mark.parametrize(
        ("model", "kind"),
        [
            ("claude-3-5-haiku-latest", None),
            ("claude-haiku-4-5", "enabled"),
            ("claude-opus-4-6", "adaptive"),
        ],
    )
    async def test_thinking_is_asked_for_where_there_is_any(
        self, rig: Rig, model: str, kind: str | None
    ) -> None:
        answer = await ask(
            rig, CHAT, f"{self.name}-0/{model}", reasoning_effort="low", max_completion_tokens=9000
        )
        assert answer.status == 200, answer.body
        assert rig.fakes.arrived[-1].body.get("thinking", {}).get("type") == kind
