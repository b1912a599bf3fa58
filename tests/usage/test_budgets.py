from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from apipod_proxy.catalog.model import User
from apipod_proxy.usage.budgets import SCOPES, Losers, Used, Window, losers_of, owners, reseed, windows
from apipod_proxy.usage.record import attempts_json
from tests.route.build import account, key, model, provider, snapshot
from tests.usage.build import ATTEMPTS

DAY = 86_400_000
NOON = 1_700_049_600_000  # 2023-11-15T12:00:00Z
TODAY = Window(1_700_006_400_000, "rpd", "tpd")


class Sum(NamedTuple):
    owner: str
    requests: int
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


CATALOG = replace(
    snapshot(
        [provider("pool", account("pool", "a"), account("pool", "b"))],
        [model("sonnet", "pool"), model("flash", "pool")],
    ),
    users={"alice": User("user-1", "alice", "pro")},
    keys={b"digest": key()},
)


def test_windows_start_at_midnight_utc() -> None:
    day, month = windows(NOON)
    assert day == TODAY
    assert month == Window(day.since - 14 * DAY, "requests_per_month", "tokens_per_month")
    assert windows(day.since) == windows(NOON)
    assert windows(day.since - 1)[0].since == day.since - DAY


def test_a_total_is_what_its_windows_have_used() -> None:
    total = Sum(
        "user-1",
        5,
        input_tokens=100,
        cache_read_tokens=1000,
        cache_write_tokens=20,
        output_tokens=3,
        reasoning_tokens=4,
    )
    assert list(reseed(TODAY, "user", [total], owners(CATALOG)["user"])) == [
        Used("user", "alice", "rpd", 5, TODAY.since),
        Used("user", "alice", "tpd", 127, TODAY.since),
    ]


def test_owners_that_are_gone_are_left_out() -> None:
    assert list(reseed(TODAY, "user", [Sum("user-9", 5)], owners(CATALOG)["user"])) == []


def test_owners_are_told_as_the_limits_know_them() -> None:
    assert owners(CATALOG) == {
        "proxy": {"": "proxy"},
        "subscription": {"sub": "pro"},
        "user": {"user-1": "alice"},
        "key": {"key": "key"},
        "provider": {"pool": "pool"},
        "account": {"pool/a": "pool:a", "pool/b": "pool:b"},
        "model": {"sonnet": "sonnet", "flash": "flash"},
    }
    assert tuple(owners(CATALOG)) == SCOPES


def test_losing_attempts_count_for_their_model_account_and_provider() -> None:
    losing = ATTEMPTS[1]._replace(outcome="broken answer")
    losers = losers_of(
        [attempts_json((*ATTEMPTS[:1], losing, ATTEMPTS[1])), attempts_json(ATTEMPTS)], CATALOG
    )
    assert losers.counts == {
        ("model", "sonnet"): (2, 0),
        ("account", "pool/a"): (2, 0),
        ("provider", "pool"): (3, 30),
        ("model", "flash"): (1, 30),
        ("account", "pool/b"): (1, 30),
    }
    names = owners(CATALOG)
    assert list(reseed(TODAY, "model", [Sum("flash", 10, output_tokens=50)], names["model"], losers)) == [
        Used("model", "flash", "rpd", 11, TODAY.since),
        Used("model", "flash", "tpd", 80, TODAY.since),
        Used("model", "sonnet", "rpd", 2, TODAY.since),
        Used("model", "sonnet", "tpd", 0, TODAY.since),
    ]
    assert list(reseed(TODAY, "user", [], names["user"], losers)) == []


def test_an_attempt_that_was_not_sent_counts_nothing() -> None:
    not_sent = ATTEMPTS[0]._replace(status=None, outcome="unreachable (connect)")
    assert losers_of([attempts_json((not_sent, ATTEMPTS[1]))], CATALOG) == Losers({})


def test_a_made_up_model_is_told_by_its_providers_name() -> None:
    behind_a_star = ATTEMPTS[0]._replace(model="pool/any/model")
    losers = losers_of([attempts_json((behind_a_star, ATTEMPTS[1]))], CATALOG)
    assert losers.counts["account", "pool/a"] == (1, 0)


def test_rows_of_others_count_nothing() -> None:
    assert losers_of(["not json", "[]"], CATALOG) == Losers({})
