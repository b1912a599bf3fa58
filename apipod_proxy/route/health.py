"""What became of the candidates: breakers, parking, disabled accounts, and how fast they were.

Kept by the ids of account and model, so it outlives the snapshots. Every ``now`` is seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import exp2
from typing import NamedTuple

from apipod_proxy.catalog.model import Account, Breaker, Candidate, Model, Provider
from apipod_proxy.route.classify import Scope, Verdict
from apipod_proxy.route.index import OPERATION_MARK, Pair, PairKey, label_of, live_accounts

# A breaker opens at this share of failures among at least so many results of the window, whatever their order.
RATE = 0.6
RATE_RESULTS = 10
WINDOW = 30.0
SLICES = 10
_SLICE = WINDOW / SLICES

# A probe that nobody reports on (its request was dropped before it was sent) frees its place after this time.
PROBE_LEASE = 30.0

# A refused credential is tried by one request in this time when nobody else can serve it.
DISABLED_PROBE = 30.0

# Past this many pairs the oldest are forgotten; names behind a star are the clients' choice and must not pile up.
MAX_PAIRS = 20_000

# Half of what is known of a pair's speed is forgotten in this time, so that a slow one is asked again one day.
HALF_LIFE = 60.0

MOMENT = HALF_LIFE / 1000

_NEVER = float("-inf")


class Speed(NamedTuple):
    """``ttft`` seconds to the first content and share of ``errors``, decayed means; ``weight`` is how many results they stand on."""

    ttft: float | None
    errors: float
    weight: float


class _Parked(NamedTuple):
    until: float
    account: Account
    reason: str


class _State:
    """One pair. ``blocked``: some check beyond looking it up is needed before it is drawn."""

    __slots__ = (
        "bad",
        "blocked",
        "candidate",
        "consecutive",
        "errors",
        "good",
        "open_for",
        "opened_at",
        "parked_until",
        "probe_until",
        "reason",
        "results",
        "slice",
        "stamp",
        "ttft",
        "ttft_weight",
    )

    def __init__(self, candidate: Candidate, now: float) -> None:
        self.candidate = candidate
        self.blocked = False
        self.consecutive = 0
        self.opened_at: float | None = None
        self.open_for = 0.0
        self.probe_until = _NEVER
        self.parked_until = _NEVER
        self.reason = ""
        self.good = [0] * SLICES
        self.bad = [0] * SLICES
        self.slice = int(now / _SLICE)
        self.stamp = now
        self.ttft = 0.0
        self.ttft_weight = 0.0
        self.errors = 0.0
        self.results = 0.0

    def advance(self, now: float) -> int:
        """Empties the slices that left the window; the index of the current one."""
        current = int(now / _SLICE)
        behind = current - self.slice
        if behind:
            for step in range(1, min(behind, SLICES) + 1):
                place = (self.slice + step) % SLICES
                self.good[place] = self.bad[place] = 0
            self.slice = current
        return current % SLICES

    def decay(self, now: float) -> None:
        passed = now - self.stamp
        # What comes within a moment is of the same age: a thousandth of HALF_LIFE changes nothing that is asked of this.
        if passed > MOMENT:
            factor = exp2(-passed / HALF_LIFE)
            self.ttft *= factor
            self.ttft_weight *= factor
            self.errors *= factor
            self.results *= factor
            self.stamp = now

    def clear_window(self) -> None:
        self.good = [0] * SLICES
        self.bad = [0] * SLICES


class _Disabled:
    """An account whose credential was refused. ``terms`` are what it was refused on: others end the state."""

    __slots__ = ("candidate", "probe_at", "reason", "since", "terms")

    def __init__(self, candidate: Candidate, reason: str, now: float) -> None:
        self.candidate = candidate
        self.terms = _terms(candidate.account)
        self.reason = reason
        self.since = now
        self.probe_at = now + DISABLED_PROBE


class Health:
    """The memory of one process. ``on_change(what, candidate, detail)`` is told of every change of state, for the log."""

    def __init__(self, on_change: Callable[[str, Candidate, str], None] | None = None) -> None:
        self._pairs: dict[PairKey, _State] = {}
        self._parked: dict[str, _Parked] = {}
        self._disabled: dict[str, _Disabled] = {}
        self._live: Mapping[str, object] | None = None
        """The accounts of the catalog, by id; None while none is known."""
        self._changed = on_change or _quiet

    # What a draw asks

    def admits(self, pair: Pair, now: float) -> bool:
        """Whether this pair may be asked now. A half-open breaker admits one probe at a time, and this call takes its place."""
        if self._parked and self._parked_for(pair.key[0], now) > 0:
            return False
        if self._disabled and not self._enabled(pair.candidate.account):
            return False
        state = self._pairs.get(pair.key)
        return state is None or not state.blocked or self._passes(state, now)

    def usable(self, pair: Pair, now: float) -> bool:
        """As ``admits``, without taking a probe's place."""
        return self.obstacle(pair, now) is None

    def obstacle(self, pair: Pair, now: float) -> str | None:
        """Why this pair is not drawn now, in words for people; None where it is."""
        state = self._pairs.get(pair.key)
        if self._disabled and not self._enabled(pair.candidate.account):
            return f"account disabled ({self._disabled[pair.key[0]].reason})"
        parked = self._parked_for(pair.key[0], now)
        if parked > 0:
            return f"account parked for {parked:.0f} s"
        if state is None or not state.blocked:
            return None
        if state.parked_until > now:
            return f"parked for {state.parked_until - now:.0f} s ({state.reason})"
        if state.opened_at is not None:
            left = state.opened_at + state.open_for - now
            if left > 0:
                return f"breaker open for {left:.0f} s ({state.reason})"
            if state.probe_until > now:
                return "breaker half-open, being probed"
        return None

    def open_longest(self, pairs: Iterable[Pair], now: float) -> Pair | None:
        """Of pairs that only a breaker keeps from being asked, the one whose breaker opened first; None where there is none."""
        best: tuple[float, Pair] | None = None
        for pair in pairs:
            state = self._pairs.get(pair.key)
            if state is None or state.opened_at is None or self.wait_of(pair, now, breakers=False) > 0:
                continue
            if best is None or state.opened_at < best[0]:
                best = (state.opened_at, pair)
        return None if best is None else best[1]

    def credential_probe(self, pairs: Iterable[Pair], now: float) -> Pair | None:
        """A pair whose account is disabled and due for a trial; this call takes the trial."""
        for pair in pairs:
            disabled = self._disabled.get(pair.key[0])
            if disabled is not None and disabled.probe_at <= now:
                disabled.probe_at = now + DISABLED_PROBE
                return pair
        return None

    def wait_of(self, pair: Pair, now: float, *, breakers: bool = True) -> float:
        """Seconds until this pair may be asked, as far as is known now; 0 where it may."""
        wait = self._parked_for(pair.key[0], now)
        if self._disabled and not self._enabled(pair.candidate.account):
            wait = max(wait, self._disabled[pair.key[0]].probe_at - now, 1.0)
        state = self._pairs.get(pair.key)
        if state is not None and state.blocked:
            wait = max(wait, state.parked_until - now)
            if breakers and state.opened_at is not None:
                wait = max(wait, state.opened_at + state.open_for - now, state.probe_until - now)
        return wait

    def speed(self, pair: Pair, now: float) -> Speed:
        """What is known of the pair's speed and errors."""
        state = self._pairs.get(pair.key)
        if state is None:
            return Speed(None, 0.0, 0.0)
        factor = exp2(-max(0.0, now - state.stamp) / HALF_LIFE)
        ttft = state.ttft / state.ttft_weight if state.ttft_weight else None
        errors = state.errors / state.results if state.results else 0.0
        return Speed(ttft, errors, state.results * factor)

    # What the gateway reports

    def succeeded(self, candidate: Candidate, ttft: float | None, now: float) -> None:
        """The attempt gave a whole answer (or its first content); ``ttft`` is seconds to the first content, None if not measured."""
        state = self._state(candidate, now)
        state.good[state.advance(now)] += 1
        state.decay(now)
        state.results += 1.0
        if ttft is not None:
            state.ttft += ttft
            state.ttft_weight += 1.0
        state.consecutive = 0
        if state.blocked:
            self._recover(state, now)
        if self._disabled:
            self.enable(candidate.account.id)

    def failed(self, candidate: Candidate, verdict: Verdict, now: float) -> None:
        """The attempt failed, and ``verdict`` says what that means."""
        if self._is_gone(candidate.account.id):
            return
        state = self._state(candidate, now)
        state.probe_until = _NEVER
        if verdict.answered:
            state.consecutive = 0
            state.good[state.advance(now)] += 1
            self._close(state)
        if verdict.disables:
            self._disable(candidate, verdict.reason, now)
        if verdict.park > 0:
            self.park(candidate, verdict.park, verdict.scope, now, verdict.reason)
        if not verdict.counts:
            return
        state.bad[state.advance(now)] += 1
        state.consecutive += 1
        state.decay(now)
        state.results += 1.0
        state.errors += 1.0
        if (
            state.opened_at is not None
            or state.consecutive >= candidate.provider.breaker.failures
            or _rate_exceeded(state)
        ):
            self._open(state, now, verdict.reason)

    def outrun(self, candidate: Candidate, seconds: float, now: float) -> None:
        """The attempt was given up after ``seconds``, for another one had answered: it is at least so slow."""
        state = self._state(candidate, now)
        state.probe_until = _NEVER
        state.decay(now)
        state.ttft += seconds
        state.ttft_weight += 1.0

    def skipped(self, candidate: Candidate) -> None:
        """A drawn candidate was not asked after all (no room, or its request was cancelled): a probe's place is free again."""
        state = self._pairs.get((candidate.account.id, candidate.model.id))
        if state is not None:
            state.probe_until = _NEVER

    def park(self, candidate: Candidate, seconds: float, scope: Scope, now: float, reason: str = "") -> None:
        """Leaves the pair, or its whole account, alone for ``seconds``. A shorter time never ends a longer one."""
        until = now + seconds
        if scope is Scope.ACCOUNT:
            self._sweep_parked(now)
            until = max(until, now + self._parked_for(candidate.account.id, now))
            self._parked[candidate.account.id] = _Parked(until, candidate.account, reason)
        else:
            state = self._state(candidate, now)
            state.parked_until = max(until, state.parked_until)
            state.reason = reason
            state.blocked = True
        self._changed("parked", candidate, f"{scope.value} for {seconds:.0f} s ({reason})")

    def enable(self, account_id: str) -> bool:
        """Ends the disabled state of an account; whether it was in it."""
        entry = self._disabled.pop(account_id, None)
        if entry is not None:
            self._changed("enabled", entry.candidate, "")
        return entry is not None

    def follow(self, providers: Iterable[Provider], models: Iterable[Model] | None = None) -> None:
        """A new catalog: what was refused is forgotten of accounts that are not active in it, have a new key, or were enabled by an admin.

        So an admin's word ends the disabled state in every process. What is no longer served has no breaker and is not parked either;
        without ``models`` every model is.
        """
        live = self._live = {
            account.id: _terms(account)
            for provider in providers
            if provider.active
            for account in live_accounts(provider)
        }
        for key in [key for key, entry in self._disabled.items() if live.get(key) != entry.terms]:
            if key in live:
                self.enable(key)
            else:
                del self._disabled[key]
        for account in [account for account in self._parked if account not in live]:
            del self._parked[account]
        served = None if models is None else {model.id for model in models if model.active}
        for pair in [pair for pair, state in self._pairs.items() if not _is_served(state, live, served)]:
            del self._pairs[pair]

    # What people look at

    def status(self, now: float) -> list[dict[str, object]]:
        """Every pair and account that is not simply healthy, and the speed of the others, for an admin. Holds no credential."""
        rows: list[dict[str, object]] = []
        for entry in self._disabled.values():
            rows.append(
                {
                    "provider": entry.candidate.provider.name,
                    "account": entry.candidate.account.name,
                    "state": "disabled",
                    "reason": entry.reason,
                    "seconds": round(now - entry.since, 1),
                }
            )
        for parked in self._parked.values():
            if parked.until > now:
                rows.append(
                    {
                        "provider": parked.account.provider,
                        "account": parked.account.name,
                        "state": "parked",
                        "reason": parked.reason,
                        "seconds": round(parked.until - now, 1),
                    }
                )
        rows.extend(self._row(state, now) for state in self._pairs.values())
        return rows

    def degraded(self, now: float) -> list[str]:
        """One line for each thing that is out of service; empty when all is well."""
        lines = [
            f"{_name(entry.candidate.account)} is disabled: {entry.reason}"
            for entry in self._disabled.values()
        ]
        for state in self._pairs.values():
            if not state.blocked:
                continue
            label = f"{label_of(state.candidate)} at {_name(state.candidate.account)}"
            if state.parked_until > now:
                lines.append(f"{label} is parked: {state.reason}")
            elif state.opened_at is not None:
                lines.append(f"{label} is failing: {state.reason}")
        lines.extend(
            f"{_name(parked.account)} is parked: {parked.reason}"
            for parked in self._parked.values()
            if parked.until > now
        )
        return lines

    def breakers(self, now: float) -> dict[str, int]:
        """How many pairs are closed, open and half_open."""
        counts = {"closed": 0, "open": 0, "half_open": 0}
        for state in self._pairs.values():
            counts[_breaker_word(state, now)] += 1
        return counts

    def probes_due(self, now: float) -> list[Candidate]:
        """What an active prober should ask: pairs whose breaker may be half-open, and accounts that are disabled."""
        due = [
            state.candidate
            for state in self._pairs.values()
            if state.opened_at is not None
            and state.opened_at + state.open_for <= now
            and state.probe_until <= now
        ]
        disabled = {key for key, entry in self._disabled.items() if entry.probe_at <= now}
        seen: set[str] = set()
        for state in self._pairs.values():
            account = state.candidate.account.id
            if account in disabled and account not in seen:
                seen.add(account)
                due.append(state.candidate)
        return due

    # Inside

    def _state(self, candidate: Candidate, now: float) -> _State:
        key = (candidate.account.id, candidate.model.id)
        state = self._pairs.get(key)
        if state is None:
            if self._is_gone(key[0]):
                return _State(candidate, now)
            if len(self._pairs) >= MAX_PAIRS:
                self._forget()
            state = self._pairs[key] = _State(candidate, now)
        return state

    def _is_gone(self, account_id: str) -> bool:
        """Whether only a request that began with an older catalog can still ask this account: nothing of it is remembered."""
        return self._live is not None and account_id not in self._live

    def _forget(self) -> None:
        # Insertion order is age. Pairs in trouble are kept where possible, because forgetting them would be noticed.
        keys = [key for key, state in self._pairs.items() if not state.blocked] or list(self._pairs)
        for key in keys[: MAX_PAIRS // 10]:
            del self._pairs[key]

    def _enabled(self, account: Account) -> bool:
        entry = self._disabled.get(account.id)
        if entry is None:
            return True
        if entry.terms != _terms(account):
            self.enable(account.id)
            return True
        return False

    def _passes(self, state: _State, now: float) -> bool:
        if state.parked_until > now:
            return False
        if state.opened_at is None:
            state.blocked = False
            return True
        if state.opened_at + state.open_for > now or state.probe_until > now:
            return False
        state.probe_until = now + PROBE_LEASE
        return True

    def _recover(self, state: _State, now: float) -> None:
        if state.opened_at is not None:
            self._close(state)
        state.blocked = state.parked_until > now

    def _open(self, state: _State, now: float, reason: str) -> None:
        breaker: Breaker = state.candidate.provider.breaker
        if state.opened_at is None:
            self._changed("opened", state.candidate, reason)
        state.opened_at = now
        state.open_for = breaker.open
        state.reason = reason
        state.blocked = True

    def _close(self, state: _State) -> None:
        if state.opened_at is not None:
            state.opened_at = None
            state.probe_until = _NEVER
            state.clear_window()
            self._changed("closed", state.candidate, "")

    def _disable(self, candidate: Candidate, reason: str, now: float) -> None:
        known = candidate.account.id in self._disabled
        self._disabled[candidate.account.id] = _Disabled(candidate, reason, now)
        if not known:
            self._changed("disabled", candidate, reason)

    def _sweep_parked(self, now: float) -> None:
        self._parked = {
            account_id: parked for account_id, parked in self._parked.items() if parked.until > now
        }

    def _parked_for(self, account_id: str, now: float) -> float:
        parked = self._parked.get(account_id)
        return 0.0 if parked is None else max(0.0, parked.until - now)

    def _row(self, state: _State, now: float) -> dict[str, object]:
        row: dict[str, object] = {
            "provider": state.candidate.provider.name,
            "account": state.candidate.account.name,
            "model": label_of(state.candidate),
            "state": "parked" if state.parked_until > now else _breaker_word(state, now),
            "consecutive_failures": state.consecutive,
        }
        if state.blocked:
            row["reason"] = state.reason
        if state.parked_until > now:
            row["seconds"] = round(state.parked_until - now, 1)
        if state.ttft_weight:
            row["ttft_ms"] = round(1000 * state.ttft / state.ttft_weight)
        if state.results:
            row["error_rate"] = round(state.errors / state.results, 3)
        return row


def _rate_exceeded(state: _State) -> bool:
    bad = sum(state.bad)
    total = bad + sum(state.good)
    return total >= RATE_RESULTS and bad >= RATE * total


def _breaker_word(state: _State, now: float) -> str:
    if state.opened_at is None:
        return "closed"
    return "open" if state.opened_at + state.open_for > now else "half_open"


def _name(account: Account) -> str:
    return f"{account.provider}/{account.name}"


def _terms(account: Account) -> tuple[int, int]:
    """A hash of the key, which is kept nowhere, and when an admin enabled the account last."""
    return hash(account.api_key), account.enabled


def _is_served(state: _State, accounts: Mapping[str, object], models: set[str] | None) -> bool:
    candidate = state.candidate
    model = candidate.model.id.partition(OPERATION_MARK)[0]
    # A model behind a star is in no catalog, and its name is its id.
    return candidate.account.id in accounts and (
        models is None or model in models or model == candidate.model.name
    )


def _quiet(what: str, candidate: Candidate, detail: str) -> None:
    """Nobody wants to be told."""
