from __future__ import annotations

import pytest

from apipod_proxy.route.capabilities import BITS
from apipod_proxy.route.families import FAMILIES, family_of


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("gpt-4", "gpt-4"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("gpt-4o-audio-preview", "gpt-4o-audio"),
        ("gpt-4.1-mini", "gpt-4.1"),
        ("gpt-4-turbo-2024-04-09", "gpt-4-turbo"),
        ("gpt-4-vision-preview", "gpt-4-vision"),
        ("openai/gpt-4o:extended", "gpt-4o"),
        ("o3-mini-2025-01-31", "o3-mini"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4"),
        ("anthropic/claude-opus-4-1", "claude-opus-4-1"),
        ("claude-something-new", "claude-"),
        ("models/gemini-2.5-pro", "gemini-2.5"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1"),
        ("Meta-Llama-3.1-70B-Instruct", "llama-3.1"),
        ("@cf/meta/llama-3.1-8b-instruct", "llama-3.1"),
        ("deepseek-chat", "deepseek-chat"),
    ],
)
def test_names_are_recognised_whatever_stands_around_them(name: str, family: str) -> None:
    assert family_of(name) is FAMILIES[family]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "brand-new-1",
        "gpt-4.9",
        "gpt-5.1",
        "gpt-40",
        "o10",
        "deepseek-v3.2",
        "gemini-3.1-pro",
        "o",
        "claude",
    ],
)
def test_what_may_be_another_model_is_not_taken_for_a_known_one(name: str) -> None:
    assert family_of(name) is None


def test_the_table_is_sound() -> None:
    for name, family in FAMILIES.items():
        assert name == name.lower()
        assert family.lacks <= set(BITS)
        assert family.context_window is None or family.context_window >= 8_192
        assert family.max_output is None or family.max_output >= 4_096
        if family.context_window and family.max_output:
            assert family.max_output <= family.context_window
        assert family_of(name) is family
