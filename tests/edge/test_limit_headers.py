from __future__ import annotations

from apipod_proxy.edge.limit_headers import LimitLines, limit_headers
from apipod_proxy.limit.model import Counter, Level

NOW = 1_700_000_000.7


def level(kind: str, limit: int, remaining: int, reset: int = 30) -> Level:
    return Level(Counter("key", "k", kind, limit, limit), remaining, reset)


def test_the_tightest_limit_stands_for_all_of_its_kind() -> None:
    levels = [
        level("rpm", 60, 59),
        level("rpd", 500, 3, 3600),
        level("tpm", 1000, 900),
        level("concurrency", 8, 0),
    ]
    assert dict(limit_headers("openai_chat", levels, NOW)) == {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "3600s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "900",
        "x-ratelimit-reset-tokens": "30s",
    }


def test_anthropic_clients_read_their_own_names_and_a_moment() -> None:
    assert dict(limit_headers("anthropic", [level("rpm", 60, -2)], NOW)) == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:50Z",
    }


def test_without_limits_there_is_nothing_to_say() -> None:
    assert limit_headers("openai_chat", [], NOW) == []


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def asked_twice(levels: list[Level], clock: Clock, wait: float) -> int:
    """How often the levels are asked for two answers that are ``wait`` seconds apart."""
    asked = 0

    def look(half: str) -> list[Level]:
        nonlocal asked
        asked += 1
        return levels

    lines = LimitLines(clock)
    first = lines.lines("anthropic", "half", look)
    clock.now += wait
    if not wait:
        assert lines.lines("anthropic", "half", look) == first
    else:
        lines.lines("anthropic", "half", look)
    return asked


def test_lines_are_kept_for_a_moment_while_there_is_plenty() -> None:
    assert asked_twice([level("rpm", 10**9, 10**9)], Clock(), 0) == 1
    assert asked_twice([level("rpm", 10**9, 10**9)], Clock(), 10) == 2
    assert asked_twice([level("rpm", 60, 1)], Clock(), 0) == 2


def test_another_dialect_has_lines_of_its_own_and_a_new_catalog_forgets() -> None:
    lines = LimitLines(Clock())
    plenty = [level("rpm", 10**9, 10**9)]
    openai = lines.lines("openai_chat", "half", lambda _: plenty)
    assert openai != lines.lines("anthropic", "half", lambda _: plenty)
    lines.clear()
    assert lines.lines("openai_chat", "half", lambda _: []) == b""
