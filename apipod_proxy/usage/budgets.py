"""What is left of days and months after a restart: totals of the usage log, turned into what the limits take over. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import orjson

from apipod_proxy.catalog.model import Snapshot

SCOPES = ("proxy", "subscription", "user", "key", "provider", "account", "model")


class Total(Protocol):
    """What the usage log says of one owner: requests, and tokens in classes that do not overlap."""

    @property
    def owner(self) -> str: ...
    @property
    def requests(self) -> int: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def reasoning_tokens(self) -> int: ...


class Used(NamedTuple):
    """What one window counter has used already; ``at`` is a moment of its window, in epoch milliseconds."""

    scope: str
    owner: str
    kind: str
    value: int
    at: int


class Window(NamedTuple):
    """``since`` is its start, 00:00 UTC, in epoch milliseconds; ``requests`` and ``tokens`` are the kinds of limits that it serves."""

    since: int
    requests: str
    tokens: str


class Losers(NamedTuple):
    """Requests and tokens of attempts that did not give the answer, by scope and owner."""

    counts: dict[tuple[str, str], tuple[int, int]]


def windows(now: int) -> tuple[Window, Window]:
    """The day and the month that hold ``now`` (epoch milliseconds)."""
    midnight = datetime.fromtimestamp(now / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (
        Window(_ms(midnight), "rpd", "tpd"),
        Window(_ms(midnight.replace(day=1)), "requests_per_month", "tokens_per_month"),
    )


def owners(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """Of each scope the owners as the usage log tells them (ids; an account as provider/account) → as limits tell them."""
    accounts = [account for provider in snapshot.providers.values() for account in provider.accounts]
    return {
        "proxy": {"": "proxy"},
        "subscription": {entry.id: entry.name for entry in snapshot.subscriptions.values()},
        "user": {entry.id: entry.name for entry in snapshot.users.values()},
        "key": {entry.id: entry.id for entry in snapshot.keys.values()},
        "provider": {name: name for name in snapshot.providers},
        "account": {f"{account.provider}/{account.name}": account.id for account in accounts},
        "model": {name: name for name in snapshot.models},
    }


def reseed(
    window: Window,
    scope: str,
    totals: Iterable[Total],
    names: Mapping[str, str],
    losers: Losers | None = None,
) -> Iterator[Used]:
    """What the counters of ``scope`` have used in ``window``; ``names`` as ``owners`` has them, and who is not in it has no counter.

    ``losers`` are added to the totals, which know only the attempt that gave the answer.
    """
    extra = (
        {}
        if losers is None
        else {owner: counts for (of, owner), counts in losers.counts.items() if of == scope}
    )
    for entry in totals:
        requests, tokens = extra.pop(entry.owner, (0, 0))
        requests += entry.requests
        tokens += entry.input_tokens + entry.cache_write_tokens + entry.output_tokens + entry.reasoning_tokens
        yield from _used(window, scope, names.get(entry.owner), requests, tokens)
    for owner, (requests, tokens) in extra.items():
        yield from _used(window, scope, names.get(owner), requests, tokens)


def losers_of(attempts: Iterable[str], snapshot: Snapshot) -> Losers:
    """The losing attempts of requests that took several; ``attempts`` are their columns (JSON). What is no such JSON counts nothing."""
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for text in attempts:
        try:
            entries = orjson.loads(text)
        except ValueError:
            # A row that somebody else wrote; a total without it is better than none.
            continue
        for entry in entries[:-1]:
            if entry.get("status") is None and "usage" not in entry:
                # Nothing was sent: the limits got it back whole.
                continue
            model = snapshot.models.get(entry.get("model", ""))
            # Behind a star a made-up model is named after its provider.
            provider = model.provider if model else str(entry.get("model", "")).partition("/")[0]
            tokens = sum(
                entry.get("usage", {}).get(name, 0)
                for name in ("input", "cache_write", "output", "reasoning")
            )
            for key in (
                ("model", str(entry.get("model", ""))),
                ("provider", provider),
                ("account", f"{provider}/{entry.get('account', '')}"),
            ):
                requests, before = counts.get(key, (0, 0))
                counts[key] = (requests + 1, before + tokens)
    return Losers(counts)


def _used(window: Window, scope: str, owner: str | None, requests: int, tokens: int) -> Iterator[Used]:
    if owner is not None:
        yield Used(scope, owner, window.requests, requests, window.since)
        yield Used(scope, owner, window.tokens, tokens, window.since)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000
