"""Keys of providers at rest."""

from __future__ import annotations

import os

import pytest

from apipod_proxy.catalog.vault import NotOurs, Vault


def test_what_is_encrypted_can_be_decrypted_and_looks_different_each_time() -> None:
    vault = Vault(b"k" * 32, {}, os.urandom)
    sealed = vault.encrypt("sk-тест")
    assert sealed.startswith("encrypted:")
    assert "sk-" not in sealed
    assert vault.encrypt("sk-тест") != sealed
    assert vault.decrypt(sealed) == vault.decrypt(sealed.removeprefix("encrypted:")) == "sk-тест"
    assert vault.encrypt("") == vault.decrypt("") == ""
    assert vault.encrypt(sealed) == sealed


@pytest.mark.parametrize("sealed", ["encrypted:AAAA", "encrypted:not base64!", "encrypted:", "sk-plain"])
def test_what_this_key_did_not_encrypt_is_refused(sealed: str) -> None:
    vault = Vault(b"k" * 32, {}, os.urandom)
    if sealed == "encrypted:":
        sealed = Vault(b"o" * 32, {}, os.urandom).encrypt("x")
    with pytest.raises(NotOurs, match="not encrypted with this ENCRYPTION_KEY"):
        vault.decrypt(sealed)


def test_a_key_comes_from_where_it_came_from_or_from_what_was_stored() -> None:
    vault = Vault(b"k" * 32, {"A": "now"}, os.urandom)
    sealed = vault.encrypt("then")
    assert vault.account_key("${A}", sealed) == "now"
    assert vault.account_key("${B}", sealed) == "then"
    assert Vault(b"k" * 32, {"A": " now\n"}, os.urandom).account_key("${A}", sealed) == "now"
    assert vault.account_key("", sealed) == "then"


@pytest.mark.parametrize("now", ["a\nx-smuggled: b", "ключ"])
def test_what_no_header_takes_is_no_key(now: str) -> None:
    vault = Vault(b"k" * 32, {"A": now}, os.urandom)
    assert vault.account_key("${A}", vault.encrypt("then")) == "then"


def test_a_vault_tells_whether_it_holds_a_key() -> None:
    vault = Vault(b"k" * 32, {}, os.urandom)
    other = Vault(b"o" * 32, {}, os.urandom).encrypt("sk")
    assert vault.holds(vault.encrypt("sk"), "sk")
    assert not vault.holds(vault.encrypt("sk"), "sk-2")
    assert not vault.holds(other, "sk")
    assert vault.holds(other, other)


def test_a_vault_shows_nothing_of_what_it_holds() -> None:
    vault = Vault(b"k" * 32, {"A": "secret"}, os.urandom)
    assert repr(vault) == "<Vault names=1>"
    assert (
        vault.fingerprint
        == Vault(b"k" * 32, {}, os.urandom).fingerprint
        != Vault(b"o" * 32, {}, os.urandom).fingerprint
    )
