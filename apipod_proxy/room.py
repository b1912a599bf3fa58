"""The room that one exchange takes under the limits: the caller's half once, the candidate's half for each attempt."""

from __future__ import annotations

from collections.abc import Sequence

from apipod_proxy.errors import LimitExceeded
from apipod_proxy.limit.backend import Half, Limits
from apipod_proxy.limit.model import Admission, Lease, Refusal

MONTHLY = ("requests_per_month", "tokens_per_month")
"""Budgets, whose refusal a client must not simply wait out."""


class Room:
    """Every lease taken here is settled exactly once, whatever way the exchange ends."""

    __slots__ = ("_admit_now", "_caller", "_half", "_limits", "_refused", "_sent", "_tokens", "charged")

    def __init__(self, limits: Limits, caller: Half, tokens: int) -> None:
        self._limits = limits
        self._admit_now = limits.admit_now
        self._half: Half | None = caller
        self._tokens = tokens
        self._caller: Lease | None = None
        self._refused: Refusal | None = None
        self._sent = False
        self.charged = 0
        """Tokens of the attempt that answered; what losers used is not the caller's charge."""

    @property
    def instant(self) -> bool:
        """Whether ``admit_now`` may take the place of ``admit``."""
        return self._admit_now is not None

    async def admit(self, candidate: Half) -> Lease | None:
        """A lease for one attempt, None where this candidate has no room. LimitExceeded where the caller has none."""
        return self._taken(await self._limits.admit(self._half, candidate, self._tokens))

    def admit_now(self, candidate: Half) -> Lease | None:
        """``admit`` where the limits need not be waited for."""
        assert self._admit_now is not None
        return self._taken(self._admit_now(self._half, candidate, self._tokens))

    def _taken(self, admission: Admission) -> Lease | None:
        if admission.refused == "caller":
            assert admission.refusal is not None
            raise limit_exceeded(admission.refusal)
        if self._half is not None:
            self._caller, self._half = admission.caller, None
        if admission.refusal is not None:
            self._note(admission.refusal)
            return None
        return admission.candidate

    async def wait(
        self, candidates: Sequence[Half], *, line: str, key: str, max_wait: float
    ) -> tuple[int, Lease] | None:
        """The first of ``candidates`` that has room within ``max_wait`` seconds, by its index; None where none has.

        LimitExceeded at once where the caller has no room.
        """
        if self._half is not None:
            admission = await self._limits.admit(self._half, None, self._tokens)
            if admission.refusal is not None:
                raise limit_exceeded(admission.refusal)
            self._caller, self._half = admission.caller, None
        waited = await self._limits.wait(candidates, self._tokens, line=line, key=key, max_wait=max_wait)
        if waited.admission.candidate is None:
            self._note(waited.admission.refusal)
            return None
        return waited.chosen, waited.admission.candidate

    def _note(self, refusal: Refusal | None) -> None:
        if refusal is not None and (self._refused is None or refusal.retry_after < self._refused.retry_after):
            self._refused = refusal

    @property
    def refusal(self) -> LimitExceeded | None:
        """The refusal with the smallest wait among the candidates that had no room."""
        return None if self._refused is None else limit_exceeded(self._refused)

    def settle(self, lease: Lease, tokens: int | None, *, sent: bool) -> None:
        """End one attempt: as ``Lease.settle``."""
        self._sent = self._sent or sent
        lease.settle(tokens, sent=sent)

    def close(self) -> None:
        """Give the caller's half back, or settle it to what was charged."""
        if self._caller is not None:
            self._caller.settle(self.charged, sent=self._sent)


def limit_exceeded(refusal: Refusal) -> LimitExceeded:
    """The refusal of a counter, as the error that says so."""
    counter = refusal.counter
    return LimitExceeded(
        counter.kind, counter.scope, refusal.retry_after, counter.limit, budget=counter.kind in MONTHLY
    )
