"""What is worked out once for each snapshot of the catalog: who may call, where names lead, which counters bind whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from apipod_proxy.auth import KeyIndex, Principal
from apipod_proxy.catalog.model import Candidate, Snapshot, Subscription, User
from apipod_proxy.edge.answer import header_lines
from apipod_proxy.limit.backend import Half, Limits
from apipod_proxy.limit.model import Counter, counters
from apipod_proxy.route.capabilities import EVERYTHING
from apipod_proxy.route.index import Pair, Plan, RouteIndex

PROXY = "proxy"

MAX_SEATS = 50_000
"""Names behind a star are the clients' choice, so what is kept for them is bounded."""


class Seat(NamedTuple):
    """What is known of a candidate before it is asked: its counters, and the header lines that name it to the client."""

    half: Half
    lines: bytes


class Way(NamedTuple):
    """What is known of a caller and the name it asks for: the plan, the caller's counters, and the one pair where there is only one.

    ``lone`` is None where there is a choice, or where what the request needs has to be looked at.
    """

    plan: Plan
    half: Half
    lone: Pair | None


class Serving:
    """Replaced whole when the catalog changes. A request keeps the candidates that it began with; the numbers of limits are the newest."""

    __slots__ = ("_callers", "_limits", "_seats", "_ways", "keys", "routes", "snapshot")

    def __init__(self, snapshot: Snapshot, limits: Limits) -> None:
        self.snapshot = snapshot
        self.keys = KeyIndex(snapshot)
        self.routes = RouteIndex(snapshot)
        self._limits = limits
        self._callers: dict[str, Half] = {}
        self._seats: dict[tuple[str, str], Seat] = {}
        self._ways: dict[tuple[str, str, str | None], Way] = {}

    def caller_half(self, principal: Principal) -> Half:
        """Proxy, subscription, user and key. A user's own limit takes the place of the subscription's for each of its users."""
        found = self._callers.get(principal.key.id)
        if found is None:
            subscription, user = self._owners(principal)
            key = self.snapshot.keys.get(principal.key.digest)
            found = self._half(
                (
                    *counters(PROXY, PROXY, self.snapshot.limits),
                    *counters("subscription", subscription.name, subscription.limits),
                    *counters("user", user.name, {**subscription.user_limits, **user.limits}),
                    *(counters("key", key.id, key.limits) if key is not None else ()),
                )
            )
            if key is not None:
                self._callers[key.id] = found
        return found

    def _owners(self, principal: Principal) -> tuple[Subscription, User]:
        """As this snapshot has them: a request that began with another one must not leave that one's numbers behind."""
        snapshot = self.snapshot
        user = snapshot.users.get(principal.user.name, principal.user)
        return snapshot.subscriptions.get(user.subscription, principal.subscription), user

    def way(self, principal: Principal, requested: str, vendor: str | None) -> Way:
        """Where ``requested`` leads for this caller. Raises UnknownModel and Forbidden as ``RouteIndex.resolve`` does."""
        found = self._ways.get((principal.key.id, requested, vendor))
        if found is None:
            if len(self._ways) >= MAX_SEATS:
                self._ways.clear()
            subscription, _ = self._owners(principal)
            key = self.snapshot.keys.get(principal.key.digest, principal.key)
            plan = self.routes.resolve(subscription.name, requested, key, vendor)
            lone = len(plan.pairs) == 1 and plan.mask == EVERYTHING and plan.context_window is None
            found = Way(plan, self.caller_half(principal), plan.pairs[0] if lone else None)
            self._ways[principal.key.id, requested, vendor] = found
        return found

    def seat(self, candidate: Candidate) -> Seat:
        """The counters of provider, account and model, as this snapshot has them: ``candidate`` may be of an older one."""
        account, model = candidate.account, candidate.model
        found = self._seats.get((account.id, model.name))
        if found is None:
            if len(self._seats) >= MAX_SEATS:
                self._seats.clear()
            provider = self.snapshot.providers.get(candidate.provider.name, candidate.provider)
            account = next((known for known in provider.accounts if known.id == account.id), account)
            model = self.snapshot.models.get(model.name, model)
            half = self._half(
                (
                    *counters("provider", provider.name, provider.limits),
                    *counters("account", account.id, account.limits),
                    *counters("model", model.name, model.limits),
                )
            )
            lines = header_lines((("x-apipod-model", model.name), ("x-apipod-provider", provider.name)))
            found = self._seats[account.id, model.name] = Seat(half, lines)
        return found

    def _half(self, found: Sequence[Counter]) -> Half:
        return self._limits.half(found)
