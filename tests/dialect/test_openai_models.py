from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.dialect.efforts import ORDER
from apipod_proxy.dialect.openai_models import (
    efforts_of,
    fixed_sampling,
    loses_thinking,
    refused,
    thinks_without_tools,
)
from apipod_proxy.dialect.vocabulary import Call, Reasoning, Tool


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-4o", ""),
        ("openai/gpt-4.1", ""),
        ("llama-3.3-70b", ""),
        ("omni-moderation", ""),
        ("o3", "low medium high"),
        ("openai/gpt-oss-120b", "low medium high"),
        ("gpt-5-nano", "minimal low medium high"),
        ("gpt-5-codex", "low medium high"),
        ("gpt-5-pro", "high"),
        ("gpt-5.1", "none low medium high"),
        ("gpt-5.1-chat-latest", "medium"),
        ("gpt-5.1-codex-max", "low medium high xhigh"),
        ("gpt-5.2", "none low medium high xhigh"),
        ("openai/gpt-5.4-mini", "none low medium high xhigh"),
        ("gpt-5.3-codex", "low medium high xhigh"),
        ("gpt-5.4-pro", "medium high xhigh"),
        ("gpt-5.6", "none low medium high xhigh max"),
        ("grok-3-mini", "low high"),
        ("grok-4", ""),
        ("grok-4.20-reasoning", ""),
        ("x-ai/grok-4.3", "none low medium high"),
        ("grok-4.5", "low medium high"),
        ("deepseek-chat", ""),
        ("deepseek-v4-flash", "low high max"),
        ("models/gemini-2.5-flash", "low medium high"),
        ("gemini-2.0-flash", ""),
    ],
)
def test_the_name_tells_which_efforts_a_model_knows(model: str, known: str) -> None:
    assert efforts_of(model) == tuple(known.split())
    assert set(efforts_of(model)) <= set(ORDER)


def test_who_knows_better_is_believed() -> None:
    assert efforts_of("qwen3", thinks=True) == ("low", "medium", "high")
    assert efforts_of("gpt-5", thinks=False) == ()


@pytest.mark.parametrize(
    ("model", "fixed", "divided"),
    [
        ("gpt-4.1", False, False),
        ("gpt-4o", False, False),
        ("gpt-oss-120b", False, False),
        ("o1", True, False),
        ("o4-mini", True, False),
        ("omni-moderation", False, False),
        ("gpt-5", True, False),
        ("gpt-5-chat-latest", False, False),
        ("gpt-5.1", True, False),
        ("gpt-5.2-chat-latest", True, False),
        ("gpt-5.2-2025-12-11", True, True),
        ("gpt-5.10", True, True),
        ("gpt-6-mini", True, True),
        ("openai/gpt-5.2", False, False),
    ],
)
def test_the_name_tells_what_a_model_refuses(model: str, fixed: bool, divided: bool) -> None:
    assert (fixed_sampling(model), thinks_without_tools(model)) == (fixed, divided)


@pytest.mark.parametrize(
    ("model", "effort", "names"),
    [
        ("gpt-4o", None, []),
        ("o3", "low", ["temperature", "logprobs", "stop"]),
        ("gpt-5", "none", ["temperature", "logprobs", "stop"]),
        ("gpt-5.4", "low", ["temperature", "logprobs", "stop"]),
        ("gpt-5.4", None, ["temperature", "logprobs", "stop"]),
        ("gpt-5.4", "none", ["stop"]),
    ],
)
def test_sampling_is_refused_by_models_that_think(model: str, effort: str | None, names: list[str]) -> None:
    body: dict[str, Any] = {"temperature": 0.5, "top_p": 1, "logprobs": True, "stop": ["x"]}
    assert refused(body, model, effort) == names


@pytest.mark.parametrize(
    ("reasoning", "tools", "lost"),
    [
        (Reasoning(enabled=True, budget=2048), [Tool("f")], True),
        (Reasoning(enabled=True, adaptive=True), [Tool("f")], True),
        (Reasoning(enabled=True, budget=2048), [], False),
        (Reasoning(enabled=False), [Tool("f")], False),
        (None, [Tool("f")], False),
    ],
)
def test_chat_loses_thinking_only_beside_tools(
    reasoning: Reasoning | None, tools: list[Tool], lost: bool
) -> None:
    call = Call("anthropic", "m", [], reasoning=reasoning, tools=tools)
    assert loses_thinking(call, "gpt-5.2") is lost
    assert not loses_thinking(call, "gpt-5.1")
