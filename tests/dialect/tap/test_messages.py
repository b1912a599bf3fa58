from __future__ import annotations

from apipod_proxy.dialect.tap import Tap
from tests.dialect.tap.cases import CASES, named


def test_deltas_pass_as_they_are_and_count_as_output() -> None:
    tap = Tap("anthropic", "mine")
    for event in CASES["anthropic"][0][:2]:
        tap.feed(event)
    delta = named(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 40}}
    )
    assert tap.feed(delta * 3) is not None
    assert tap.output_bytes > 60
    nameless = delta.partition(b"\n")[2]
    assert tap.feed(nameless.replace(b"x" * 40, b"error")) == nameless.replace(b"x" * 40, b"error")


def test_later_usage_overrides_only_what_it_reports() -> None:
    tap = Tap("anthropic", "mine")
    for event in CASES["anthropic"][0]:
        tap.feed(event)
    assert (tap.usage.input, tap.usage.output) == (3, 9)
