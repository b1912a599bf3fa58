from __future__ import annotations

from apipod_proxy.dialect.tap import Tap
from tests.dialect.tap.cases import RESPONSES, named


def test_a_failed_response_without_content_is_a_failure() -> None:
    failed = named(
        {
            "type": "response.failed",
            "response": {"id": "r", "error": {"code": "server_error", "message": "m"}},
        }
    )
    tap = Tap("openai_responses", "mine")
    assert tap.feed(failed) == b""
    assert tap.failure is not None
    tap = Tap("openai_responses", "mine")
    tap.feed(RESPONSES[1])
    assert tap.feed(failed) == failed
    assert tap.finished
