from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from apipod_proxy.catalog.document import read_document
from apipod_proxy.catalog.vault import Vault
from apipod_proxy.commands.demo import catalog, instructions, own_key, providers_in
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.preparation import base_urls
from apipod_proxy.upstream.providers import PROVIDER_TYPES
from tests.commands.conftest import Run


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


@pytest.mark.parametrize("account", ["", "a1b2"])
def test_the_demo_starts_with_whatever_keys_the_environment_holds(account: str) -> None:
    environment = {kind.key_variable: "k" for kind in PROVIDER_TYPES.values() if kind.key_variable}
    environment["CLOUDFLARE_ACCOUNT_ID"] = account
    found = providers_in(environment)
    assert ("cloudflare" in found) is bool(account)
    text = orjson.dumps(catalog("http://127.0.0.1:1", "apk_x", found)).decode()
    document = read_document(text, "demo", Vault(bytes(32), environment, os.urandom), base_urls())
    assert set(document.providers) == {"simulator", *found}
    if account:
        assert document.providers["cloudflare"].options == {"account_id": account}


def test_the_demo_leaves_a_catalog_alone_that_is_not_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(
        "providers: {mine: {type: ollama}}\nmodels: {m: {provider: mine}}\n"
    )
    assert run("apply", "catalog.yaml").code == 0
    ran = run("demo", "--addr", "127.0.0.1:0")
    assert ran.code == 1
    said = "apipod-proxy: data/proxy.db holds a catalog that is not the demo's; give the demo a folder of its own: "
    assert said in ran.err
    assert "mine" in run("export").out
