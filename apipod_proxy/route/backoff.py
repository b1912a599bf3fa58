"""When the same candidate is asked once more: after a pause with full jitter, and within a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from apipod_proxy.catalog.model import Retries
from apipod_proxy.route.classify import Action, Verdict


class Budget(Protocol):
    """What bounds repeats and hedges: it never waits."""

    def try_take(self) -> bool:
        """Whether one more is allowed; if so it is spent."""


class Share:
    """At most ``share`` extra requests per request, and ``burst`` at once. What was not spent does not pile up beyond that."""

    __slots__ = ("_burst", "_level", "_share")

    def __init__(self, share: float, burst: float = 10.0) -> None:
        self._share = share
        self._burst = max(burst, 1.0)
        self._level = 0.0

    def earn(self) -> None:
        """One request of a client has come."""
        self._level = min(self._level + self._share, self._burst)

    def try_take(self) -> bool:
        """Whether one extra request is allowed; if so it is spent."""
        # Twenty times 0.05 is a little less than one in binary.
        if self._level < 1.0 - 1e-9:
            return False
        self._level -= 1.0
        return True


def pause(retries: Retries, attempt: int, random: Callable[[], float]) -> float:
    """Seconds before attempt ``attempt`` + 1 on the same candidate (the first is 1): uniform from 0 to base × 2^(attempt - 1), at most max.

    The whole range is drawn from unless ``jitter`` is smaller, because clients that failed together would else come back together.
    """
    ceiling = min(retries.max, retries.base * 2.0 ** min(attempt - 1, 32))
    return ceiling * (1.0 - retries.jitter * (1.0 - random()))


def repeat_after(
    verdict: Verdict,
    retries: Retries,
    attempt: int,
    *,
    alone: bool,
    budget: Budget,
    random: Callable[[], float],
) -> float | None:
    """Seconds after which the same candidate is asked again, None where it is not.

    ``attempt`` counts the attempts on this candidate so far. ``alone``: no other candidate is left, for moving on comes first.
    """
    if (
        not alone
        or verdict.action is Action.FINAL
        or not verdict.again
        or verdict.park > 0
        or attempt >= retries.attempts
    ):
        return None
    if not budget.try_take():
        return None
    return pause(retries, attempt, random)
