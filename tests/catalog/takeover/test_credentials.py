from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apipod_proxy.catalog.takeover.builder import NothingToTake
from apipod_proxy.catalog.takeover.credentials import is_sealed, keys_by_platform, unseal
from tests.catalog.takeover.conftest import CREDENTIALS

KEY = "0123456789abcdef0123456789abcdef"


def seal(text: str, key: str = KEY) -> str:
    """As that router seals its file."""
    nonce = bytes(range(12))
    return base64.b64encode(nonce + AESGCM(key.encode()).encrypt(nonce, text.encode(), None)).decode() + "\n"


def test_plain_and_sealed_files_hold_the_same_keys() -> None:
    for text in (CREDENTIALS, seal(CREDENTIALS)):
        notes: list[str] = []
        assert keys_by_platform(text, KEY, notes) == {
            "openai": ["sk-router-one", "sk-router-two"],
            "gemini": ["goog-router"],
        }
        assert notes == []


def test_only_whole_base64_is_sealed() -> None:
    assert is_sealed(seal("[]"))
    assert not any(is_sealed(text) for text in ("", "[]", "{}", "abc", "a=b=", "no base64!!!"))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "CONFIG_ENCRYPTION_KEY is not in the environment"),
        ("short", "CONFIG_ENCRYPTION_KEY has 5 bytes"),
        ("x" * 32, "was not encrypted with this CONFIG_ENCRYPTION_KEY"),
    ],
)
def test_a_sealed_file_says_what_it_needs(key: str, problem: str) -> None:
    with pytest.raises(NothingToTake, match=problem):
        unseal(seal("[]"), key)


@pytest.mark.parametrize(("text", "problem"), [("[\n{", "line 2: this is no JSON"), ("{}", "holds no list")])
def test_what_is_no_list_of_keys_is_a_mistake(text: str, problem: str) -> None:
    with pytest.raises(NothingToTake, match=problem):
        keys_by_platform(text, "", [])


def test_entries_that_are_no_keys_are_named() -> None:
    notes: list[str] = []
    good = '{"platform": "a", "value": "v"}'
    text = f'[1, {{"platform": "a"}}, {{"platform": "a", "type": "oauth", "value": "v"}}, {good}, {good}]'
    assert keys_by_platform(text, "", notes) == {"a": ["v"]}
    assert notes == [
        "credentials.json[0]: no platform or no value, left out",
        "credentials.json[1]: no platform or no value, left out",
        "credentials.json[2]: the type 'oauth' is not known, left out",
    ]
