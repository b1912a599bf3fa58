from __future__ import annotations

import pytest

from apipod_proxy.catalog.takeover.builder import Builder, limits, literal, text_of, unused, whole
from tests.catalog.takeover.conftest import TYPES


@pytest.mark.parametrize(
    ("vendor", "url", "kind"),
    [
        ("openai", "https://api.openai.com/v1", "openai"),
        ("openai", "https://openrouter.ai/api", "openrouter"),
        ("openai", "https://llm.example/v1", "openai_compatible"),
        ("gemini", "https://generativelanguage.googleapis.com", "google_ai_studio"),
        ("groq", "http://127.0.0.1:9/v1", "groq"),
        ("arliai", "https://api.arliai.com/v1", "openai_compatible"),
        ("cliproxy", "http://10.0.0.1:80", "antigravity"),
    ],
)
def test_providers_are_known_by_their_old_names(vendor: str, url: str, kind: str) -> None:
    assert Builder(TYPES, {}).kind_of(vendor, url) == kind


def test_addresses_without_a_version_are_kept_as_they_are() -> None:
    builder = Builder(TYPES, {})
    assert builder.reach("openai", "https://api.openai.com/v1") == {}
    assert builder.reach("openai_compatible", "https://llm.example/v1") == {
        "base_url": "https://llm.example/v1"
    }
    assert builder.reach("openai_compatible", "https://llm.example/inference") == {
        "base_url": "https://llm.example/inference",
        "options": {"openai_chat_path": "/chat/completions", "models_path": "/models"},
    }


def test_the_same_provider_with_the_same_key_is_one() -> None:
    builder = Builder(TYPES, {"RETRY_MAX_RETRIES": "0"})
    assert builder.provider("groq", {"type": "groq", "api_key": "a"}) == "groq"
    assert builder.provider("groq", {"type": "groq", "api_key": "b"}) == "groq-2"
    assert builder.provider("groq", {"api_key": "a", "type": "groq"}) == "groq"
    assert builder.providers["groq"]["retries"] == {"attempts": 1}


def test_the_shared_token_becomes_a_key_and_its_absence_is_said() -> None:
    with_token, without = Builder(TYPES, {"AUTH_TOKEN": "t"}), Builder(TYPES, {})
    with_token.client("x")
    without.client("x")
    assert with_token.users["x"]["keys"] == [{"key": "${AUTH_TOKEN}", "name": "AUTH_TOKEN"}]
    assert without.users["x"]["keys"] == []
    assert "keys create NAME --user x" in without.notes[0]


def test_values_are_read_whatever_they_were_written_as() -> None:
    written: tuple[object, ...] = ("5", 5, 5.0, "0", None, "x", -1, "inf")
    assert [whole(value) for value in written] == [5, 5, 5, *[None] * 5]
    assert [text_of(value) for value in (" a ", 5, None, True, "")] == ["a", "5", "", "", ""]
    assert limits(rpm="3", rpd=0) == {"limits": {"rpm": 3}}
    assert limits(rpm=None) == {}
    assert literal(" ${A} ") == "$${A}"
    assert unused("a", ["a", "a-2"]) == "a-3"
