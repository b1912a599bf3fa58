from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect.tap import Tap
from tests.dialect.tap.cases import CASES, UP, named


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


@pytest.mark.parametrize("counts", [{"input_tokens": 3.0}, {"input_tokens": 3, "output_tokens": "many"}])
def test_odd_counts_do_not_hide_the_others(counts: dict[str, Any]) -> None:
    tap = Tap("anthropic", "mine")
    out = tap.feed(named({"type": "message_start", "message": {"model": UP, "usage": counts}}))
    assert json.loads(out.partition(b"data: ")[2])["message"]["model"] == "mine"
    assert (tap.usage.input, tap.usage.output, tap.found_model, tap.skipped) == (3, None, UP, 0)


@pytest.mark.parametrize("more", [{}, {"container": {"model": UP}}])
def test_only_the_name_at_its_place_is_replaced(more: dict[str, Any]) -> None:
    tap = Tap("anthropic", "mine")
    start = {"type": "message_start", "message": more | {"model": UP, "usage": None}}
    ours = {"type": "message_start", "message": more | {"model": "mine", "usage": None}}
    assert tap.feed(named(start)) == named(ours)
    spread = b'event: message_start\ndata: {"type":"message_start",\ndata: "message":{"model":"up"}}\n\n'
    assert b'"mine"' in tap.feed(spread)
