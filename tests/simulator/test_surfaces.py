from __future__ import annotations

import json

import pytest

from apipod_proxy.simulator.answers.scene import Failure
from apipod_proxy.simulator.surfaces import (
    ANTHROPIC,
    CHAT,
    COMPLETIONS,
    GEMINI,
    GEMINI_ARRAY,
    RESPONSES,
    Surface,
    items_of,
)


@pytest.mark.parametrize("surface", [ANTHROPIC, CHAT, COMPLETIONS, GEMINI, GEMINI_ARRAY, RESPONSES])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 502, 503, 504, 529])
def test_every_surface_has_words_for_every_status(surface: Surface, status: int) -> None:
    body = json.loads(surface.error(Failure(status), "req_1"))
    error = (body[0] if isinstance(body, list) else body)["error"]
    assert error["message"]


def test_the_input_of_a_response_becomes_items() -> None:
    assert items_of("hi") == [{"role": "user", "content": "hi"}]
    assert items_of([{"type": "x"}]) == [{"type": "x"}]
    assert items_of(None) == []
