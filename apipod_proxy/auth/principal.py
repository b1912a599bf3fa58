"""The principal behind a key. Everything that can be known before a request is worked out once per key and snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field

from apipod_proxy.catalog.model import ApiKey, Role, Snapshot, Subscription, User, key_digest
from apipod_proxy.errors import Forbidden, Unauthenticated

KEY_REVOKED = "This API key is not active."
KEY_EXPIRED = "This API key has expired."
USER_INACTIVE = "The user of this API key is not active."
USER_EXPIRED = "The user of this API key has expired."
SUBSCRIPTION_INACTIVE = "The subscription of this API key is not active."


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the key, its user and the subscription that the user has."""

    key: ApiKey
    user: User
    subscription: Subscription
    refusal: str | None = field(default=None)
    """Why this key may do nothing, whatever the time; None if it may."""

    @property
    def is_admin(self) -> bool:
        return self.user.role is Role.ADMIN

    def may_use_model(self, name: str) -> bool:
        """Whether the key's list of models, if it has one, holds ``name``; an entry may end in a star."""
        return _listed(self.key.allowed_models, name)

    def may_use_provider(self, name: str) -> bool:
        return _listed(self.key.allowed_providers, name)


def _listed(allowed: frozenset[str] | None, name: str) -> bool:
    if allowed is None or name in allowed:
        return True
    return any(entry.endswith("*") and name.startswith(entry[:-1]) for entry in allowed)


class KeyIndex:
    """The principals of one snapshot by key digest; each is worked out when its key is first seen."""

    __slots__ = ("_principals", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._principals: dict[bytes, tuple[Principal, int | None]] = {}

    def __repr__(self) -> str:
        return (
            f"<KeyIndex v{self.snapshot.version} keys={len(self.snapshot.keys)} seen={len(self._principals)}>"
        )

    def find(self, digest: bytes) -> tuple[Principal, int | None] | None:
        """The principal and the time (ms) at which it may no more; None if no key has this digest."""
        found = self._principals.get(digest)
        if found is None:
            key = self.snapshot.keys.get(digest)
            if key is None:
                return None
            found = self._principals[digest] = self._work_out(key)
        return found

    def _work_out(self, key: ApiKey) -> tuple[Principal, int | None]:
        user = self.snapshot.users.get(key.user)
        refusal = None
        if user is None:
            user = User("", key.user, "", active=False)
        subscription = self.snapshot.subscriptions.get(user.subscription)
        if subscription is None:
            subscription = Subscription("", user.subscription, {}, active=False)
        if not key.active:
            refusal = KEY_REVOKED
        elif not user.active:
            refusal = USER_INACTIVE
        elif not subscription.active:
            refusal = SUBSCRIPTION_INACTIVE
        ends = [time for time in (key.expires_at, user.expires_at) if time is not None]
        return Principal(key, user, subscription, refusal), min(ends, default=None)


def identify(index: KeyIndex, key: str | None, now_ms: int) -> Principal:
    """The principal of ``key``; raises Unauthenticated (no key, unknown key) or Forbidden (inactive, expired)."""
    if not key:
        raise Unauthenticated(Unauthenticated.MISSING)
    digest = key_digest(key)
    found = None if digest is None else index.find(digest)
    if found is None:
        raise Unauthenticated(Unauthenticated.UNKNOWN)
    principal, end = found
    if principal.refusal is not None:
        raise Forbidden(principal.refusal)
    if end is not None and now_ms >= end:
        own = principal.key.expires_at
        raise Forbidden(KEY_EXPIRED if own is not None and now_ms >= own else USER_EXPIRED)
    return principal
