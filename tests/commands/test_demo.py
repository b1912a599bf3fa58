from __future__ import annotations

from pathlib import Path

import pytest

from apipod_proxy.commands.demo import catalog, instructions, own_key, providers_in
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.upstream.providers import PROVIDER_TYPES


def test_the_key_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "demo.key"
    key = own_key(path)
    assert own_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_file_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(OperatorMistake, match="is empty"):
        own_key(tmp_path / "empty")
    with pytest.raises(OperatorMistake, match="cannot be read or made"):
        own_key(tmp_path)


def test_keys_of_the_environment_add_their_providers() -> None:
    found = providers_in({"OPENAI_API_KEY": "a", "GEMINI_API_KEY": "b", "GROQ_API_KEY": ""})
    assert set(found) == {"openai", "google_ai_studio"}
    routes = catalog("http://sim", "apk_x", found)["subscriptions"]["demo"]["routes"]
    stars = {name for name in routes if name.endswith("*")}
    assert stars == {"simulator/*", "openai/*", "google_ai_studio/*", "gemini/*", "*"}
    assert found["openai"] == {"type": "openai", "api_key": "${OPENAI_API_KEY}"}


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "GEMINI_API_KEY",
        "OPENROUTER_API_KEY",
        "NVIDIA_API_KEY",
        "GROQ_API_KEY",
    ],
)
def test_every_promised_name_is_known(name: str) -> None:
    assert name in {kind.key_variable for kind in PROVIDER_TYPES.values()}
    assert len(providers_in({name: "x"})) == 1


def test_antigravity_brings_the_20_80_route() -> None:
    found = providers_in({"ANTIGRAVITY_KEY": "k", "ANTIGRAVITY_URL": "http://127.0.0.1:8045"})
    assert found["antigravity"]["base_url"] == "${ANTIGRAVITY_URL}"
    routes = catalog("http://sim", "apk_x", found)["subscriptions"]["demo"]["routes"]
    weights = [target["weight"] for target in routes["cursor-pro-sonnet"]["targets"]]
    assert weights == [20, 80]
    assert "cursor-pro-sonnet" in instructions("http://x", "apk_x", found)
