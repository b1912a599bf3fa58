from __future__ import annotations

from apipod_proxy.dialect.tap import Tap
from tests.dialect.tap.cases import UP, data, part


def test_a_blocked_prompt_ends_a_gemini_stream() -> None:
    tap = Tap("gemini", "mine")
    tap.feed(data({"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": UP}))
    assert tap.complete
    assert tap.content


def test_a_name_deeper_down_stays_even_at_the_end_of_an_event() -> None:
    tap = Tap("gemini", "mine")
    tap.feed(data(part("a")))
    tap.feed(data(part("b")))
    nested = {"candidates": [], "x": {"a": 1, "modelVersion": UP, "responseId": "r"}}
    assert tap.feed(data(nested)) == data(nested)
    assert tap.feed(data(part("c"))) == data(part("c")).replace(b"up-model", b"mine")
