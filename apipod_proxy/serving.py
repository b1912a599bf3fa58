"""What is worked out once for each snapshot of the catalog: who may call, where names lead, which counters bind whom."""

from __future__ import annotations

from collections.abc import Sequence

from apipod_proxy.auth import KeyIndex, Principal
from apipod_proxy.catalog.model import Candidate, Snapshot
from apipod_proxy.limit.backend import Half, Limits
from apipod_proxy.limit.model import Counter, counters
from apipod_proxy.route.index import RouteIndex

PROXY = "proxy"

MAX_HALVES = 50_000
"""Names behind a star are the clients' choice, so what is kept for them is bounded."""


class Serving:
    """Replaced whole when the catalog changes; a request keeps the one it began with."""

    __slots__ = ("_callers", "_candidates", "_limits", "keys", "routes", "snapshot")

    def __init__(self, snapshot: Snapshot, limits: Limits) -> None:
        self.snapshot = snapshot
        self.keys = KeyIndex(snapshot)
        self.routes = RouteIndex(snapshot)
        self._limits = limits
        self._callers: dict[str, Half] = {}
        self._candidates: dict[tuple[str, str], Half] = {}

    def caller_half(self, principal: Principal) -> Half:
        """Proxy, subscription, user and key. A user's own limit takes the place of the subscription's for each of its users."""
        found = self._callers.get(principal.key.id)
        if found is None:
            subscription, user, key = principal.subscription, principal.user, principal.key
            found = self._callers[key.id] = self._half(
                (
                    *counters(PROXY, PROXY, self.snapshot.limits),
                    *counters("subscription", subscription.name, subscription.limits),
                    *counters("user", user.name, {**subscription.user_limits, **user.limits}),
                    *counters("key", key.id, key.limits),
                )
            )
        return found

    def candidate_half(self, candidate: Candidate) -> Half:
        """Provider, account and model."""
        provider, account, model = candidate.provider, candidate.account, candidate.model
        found = self._candidates.get((account.id, model.name))
        if found is None:
            if len(self._candidates) >= MAX_HALVES:
                self._candidates.clear()
            found = self._candidates[account.id, model.name] = self._half(
                (
                    *counters("provider", provider.name, provider.limits),
                    *counters("account", account.id, account.limits),
                    *counters("model", model.name, model.limits),
                )
            )
        return found

    def _half(self, found: Sequence[Counter]) -> Half:
        return self._limits.half(found)
