"""Who a key stands for, and why it may do nothing."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from typing import Any

import pytest

from apipod_proxy.auth import KeyIndex, identify
from apipod_proxy.auth.principal import (
    KEY_EXPIRED,
    KEY_REVOKED,
    SUBSCRIPTION_INACTIVE,
    USER_EXPIRED,
    USER_INACTIVE,
)
from apipod_proxy.catalog.model import ApiKey, Role, Snapshot, Subscription, User
from apipod_proxy.errors import Forbidden, Unauthenticated

SECRET = "apk_secret"
DIGEST = hashlib.sha256(SECRET.encode()).digest()
NOW = 1_000_000


def index(
    key: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    subscription: dict[str, Any] | None = None,
) -> KeyIndex:
    a_key = replace(ApiKey("k1", "alice", "laptop", DIGEST, "apk_secr"), **(key or {}))
    a_user = replace(User("u1", "alice", "pro"), **(user or {}))
    a_subscription = replace(Subscription("s1", "pro", {}), **(subscription or {}))
    return KeyIndex(Snapshot(1, {}, {}, {"pro": a_subscription}, {"alice": a_user}, {DIGEST: a_key}))


def test_a_known_key_gives_its_user_and_subscription_once_per_snapshot() -> None:
    keys = index()
    principal = identify(keys, SECRET, NOW)
    assert (principal.key.id, principal.user.id, principal.subscription.id) == ("k1", "u1", "s1")
    assert identify(keys, SECRET, NOW) is principal
    assert repr(keys) == "<KeyIndex v1 keys=1 seen=1>"


@pytest.mark.parametrize(("key", "reason"), [(None, "missing"), ("", "missing"), ("other", "unknown")])
def test_no_key_and_an_unknown_key_are_unauthenticated(key: str | None, reason: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        identify(index(), key, NOW)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "key", ["\udcff\udc80", "\ud800", "a\x00b", "ключ", "'; DROP TABLE api_keys; --", "k" * 100_000]
)
def test_odd_bytes_in_a_key_are_just_unknown(key: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        identify(index(), key, NOW)
    assert caught.value.reason == "unknown"


def test_a_key_of_any_bytes_is_known_if_its_digest_is() -> None:
    digest = hashlib.sha256(b"\xff\x80").digest()
    snapshot = index().snapshot
    keys = KeyIndex(replace(snapshot, keys={digest: replace(snapshot.keys[DIGEST], digest=digest)}))
    assert identify(keys, "\udcff\udc80", NOW).user.name == "alice"


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({"key": {"active": False}}, KEY_REVOKED),
        ({"key": {"expires_at": NOW}}, KEY_EXPIRED),
        ({"key": {"expires_at": NOW - 1}, "user": {"expires_at": NOW - 5}}, KEY_EXPIRED),
        ({"key": {"expires_at": NOW + 1}, "user": {"expires_at": NOW - 5}}, USER_EXPIRED),
        ({"user": {"active": False}}, USER_INACTIVE),
        ({"user": {"expires_at": NOW}}, USER_EXPIRED),
        ({"user": {"subscription": "gone"}}, SUBSCRIPTION_INACTIVE),
        ({"subscription": {"active": False}}, SUBSCRIPTION_INACTIVE),
        ({"key": {"user": "gone"}}, USER_INACTIVE),
    ],
)
def test_an_inactive_or_expired_key_is_forbidden_and_told_why(made: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Forbidden) as caught:
        identify(index(**made), SECRET, NOW)
    assert str(caught.value) == sentence


def test_a_key_works_until_the_moment_of_its_expiry() -> None:
    assert identify(index(key={"expires_at": NOW + 1}), SECRET, NOW).key.expires_at == NOW + 1


def test_a_role_makes_an_admin() -> None:
    assert identify(index(user={"role": Role.ADMIN}), SECRET, NOW).is_admin
    assert not identify(index(), SECRET, NOW).is_admin


def test_lists_of_allowed_names_may_end_in_a_star() -> None:
    free = identify(index(), SECRET, NOW)
    assert free.may_use_model("x")
    assert free.may_use_provider("y")
    key = {
        "allowed_models": frozenset({"gpt-4o", "openrouter/*"}),
        "allowed_providers": frozenset({"openai"}),
    }
    bound = identify(index(key=key), SECRET, NOW)
    assert [bound.may_use_model(name) for name in ("gpt-4o", "gpt-4o-mini", "openrouter/a/b")] == [
        True,
        False,
        True,
    ]
    assert [bound.may_use_provider(name) for name in ("openai", "pool")] == [True, False]


def test_identifying_a_known_key_costs_a_digest_and_a_look_up() -> None:
    keys = index()
    identify(keys, SECRET, NOW)
    called: list[str] = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        identify(keys, SECRET, NOW)
    finally:
        sys.setprofile(None)
    assert called == ["identify", "key_digest", "find"]
