from __future__ import annotations

from datetime import UTC, datetime

import hiredis
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apipod_proxy.limit import script
from apipod_proxy.limit.buckets import month
from apipod_proxy.limit.memory import MemoryLimits, put_back, spend, take
from apipod_proxy.limit.model import Counter, Row
from apipod_proxy.limit.script import BY_DIGEST, BY_SOURCE, Known, RedisHalf, Settlements, entry

from .conftest import Clock

KINDS = ("rpm", "rph", "rpd", "requests_per_month", "tpm", "tpd", "tokens_per_month", "concurrency")
NOW = 1_700_000_000_000


def words(call: script.Call, name: bytes = BY_DIGEST) -> list[bytes]:
    """A command as Redis would read it."""
    reader = hiredis.Reader()
    reader.feed(call.encode(name))
    read = reader.gets()
    assert isinstance(read, list)
    assert reader.gets() is False
    return read


def half(prefix: str, *counters: Counter) -> RedisHalf:
    gauges = MemoryLimits(Clock()).half([c for c in counters if c.kind == "concurrency"])
    return RedisHalf([entry(prefix, counter) for counter in counters], gauges)


def test_all_keys_share_one_hash_tag() -> None:
    made = entry("app", Counter("account", "pool/a", "rpm", 60, 10))
    assert made[:5] == (b"{app}:account:pool/a:rpm", b"rb", 60, 10, 60_000)
    for key in (
        script.epoch_key("app"),
        script.processes_key("app"),
        words(script.beat("app", b"p", 1, b""))[3],
    ):
        assert key.startswith(b"{app}:")


def test_every_kind_has_its_letters() -> None:
    letters = [entry("p", Counter("key", "k", kind, 9, 5)).kind for kind in KINDS]
    assert letters == [b"rb", b"rb", b"rd", b"rm", b"tb", b"td", b"tm", b"g"]


def test_an_admission_is_one_call_of_both_halves() -> None:
    caller = half("p", Counter("key", "k", "rpm", 60, 10), Counter("key", "k", "concurrency", 3, 3))
    candidate = half("p", Counter("model", "m", "tpd", 900, 900))
    call = script.admit(caller, candidate, b"me.1", 77, 60_000, b"")
    assert words(call)[2:] == [
        b"3",
        *(b"{p}:key:k:rpm", b"{p}:key:k:concurrency", b"{p}:model:m:tpd"),
        *(b"admit", b"", b"60000", b"me.1", b"2", b"77"),
        *(b"rb", b"60", b"10", b"60000"),
        *(b"g", b"3", b"3", b"1"),
        *(b"td", b"900", b"900", b"1"),
    ]
    assert words(call, BY_SOURCE)[:2] == [b"EVAL", script.SOURCE]
    assert words(script.admit(None, candidate, b"me.1", 7, 1, b"5"))[2] == b"1"
    assert words(script.admit(caller, None, b"me.1", 7, 1, b"5"))[2] == b"2"


def test_settlements_are_summed_per_counter() -> None:
    waiting = Settlements()
    assert not waiting
    tokens, day = entry("p", Counter("key", "k", "tpm", 60, 60)), entry("p", Counter("key", "k", "rpd", 9, 9))
    gauge = entry("p", Counter("key", "k", "concurrency", 3, 3))
    waiting.add(tokens, NOW, 0)
    assert not waiting
    for difference in (5, -7):
        waiting.add(tokens, NOW, difference)
    waiting.add(day, NOW, 1)
    waiting.add(day, NOW, 1)
    waiting.add(day, NOW + 86_400_000, 1)
    waiting.end(gauge, b"a")
    waiting.end(gauge, b"b")
    (call,) = waiting.batches("p", b"n", b"")
    today = NOW - NOW % 86_400_000
    assert words(call)[3:] == [
        *(b"{p}:batch:n.0", tokens.key, day.key, day.key, gauge.key, b"settle", b""),
        *(b"tb", b"60", b"60", b"60000", b"-2"),
        *(b"rd", b"%d" % today, b"2"),
        *(b"rd", b"%d" % (today + 86_400_000), b"1"),
        *(b"g", b"2", b"a", b"b"),
    ]
    assert not waiting


def test_many_settlements_go_in_several_batches() -> None:
    waiting = Settlements()
    gauge = entry("p", Counter("key", "k", "concurrency", 3, 3))
    for number in range(1200):
        waiting.add(entry("p", Counter("key", str(number), "tpm", 60, 60)), NOW, 1)
        waiting.end(gauge, b"%d" % number)
    calls = list(waiting.batches("p", b"n", b""))
    assert len({words(call)[3] for call in calls}) == len(calls) > 2
    assert max(len(words(call)) for call in calls) < 4000
    assert sum(word.isdigit() for call in calls for word in words(call)) >= 1200


def test_ended_leases_beyond_the_bound_are_left_to_expire() -> None:
    waiting = Settlements()
    waiting.MOST_LEASES = 2
    gauge = entry("p", Counter("key", "k", "concurrency", 3, 3))
    for name in (b"a", b"b", b"c"):
        waiting.end(gauge, name)
    (call,) = waiting.batches("p", b"n", b"")
    assert words(call)[-3:] == [b"2", b"a", b"b"]


def test_only_windows_are_seeded() -> None:
    rows = [
        Row("key", "k", "rpm", 5, NOW),
        Row("key", "k", "rpd", 6, NOW),
        Row("key", "k", "concurrency", 7, NOW),
    ]
    assert words(script.seed("p", rows, b""))[2:] == [
        b"1",
        b"{p}:key:k:rpd",
        b"seed",
        b"",
        b"rd",
        b"6",
        b"%d" % NOW,
    ]


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 999, 1000, 60_000, 3_600_000, 43_200_000, 1_300_000_000]),
        st.integers(0, 40),
        st.sampled_from(["hold", "return", "spend"]),
        st.integers(0, 80),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS,
    numbers=st.lists(
        st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=len(KINDS), max_size=len(KINDS)
    ),
    used=st.sets(st.sampled_from(range(len(KINDS))), min_size=1),
    start=st.integers(0, 4_000_000_000_000),
)
def test_the_script_counts_like_the_buckets(
    redis_url: str,
    redis_prefix: str,
    steps: list[tuple[int, int, str, int]],
    numbers: list[tuple[int, int]],
    used: set[int],
    start: int,
) -> None:
    """The same random life of leases on both: the same answers, waits and levels at every step."""
    counters = [Counter("key", "k", KINDS[i], *numbers[i]) for i in sorted(used)]
    clock = Clock()
    memory = MemoryLimits(clock)
    here, there = memory.half(counters), half(redis_prefix, *counters)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*(e.key for e in there.entries))
        now = start
        for number, (gap, tokens, fate, actual) in enumerate(steps):
            now += gap
            clock.now = now / 1000
            name = b"lease%d" % number
            call = script.admit(there, None, name, tokens, 10**10, b"%d" % now)
            reply = client.execute_command(*words(call, BY_SOURCE))
            refusal = take(here, now, tokens)
            if refusal is None:
                assert reply[0] == 0
            else:
                assert there.counters[reply[0] - 1] == refusal.counter
                assert -(-reply[1] // 1000) == refusal.retry_after
            assert [max(0, left) for left in reply[3:]] == [cell.remaining(now) for cell in here.cells]
            if refusal is None and fate != "hold":
                waiting = Settlements()
                for owner in there.entries:
                    if owner.kind == b"g":
                        waiting.end(owner, name)
                    elif fate == "return":
                        waiting.add(owner, now, min(tokens, owner.capacity) if owner.kind[:1] == b"t" else 1)
                    elif owner.kind[:1] == b"t":
                        waiting.add(owner, now, min(tokens, owner.capacity) - actual)
                if fate == "return":
                    put_back(here, now, tokens)
                else:
                    spend(here, clock, now, tokens, actual)
                for batch in waiting.batches(redis_prefix, b"%d.%d" % (start, number), b"%d" % now):
                    client.delete(words(batch)[3])
                    assert client.execute_command(*words(batch, BY_SOURCE)) == 1
                    assert client.execute_command(*words(batch, BY_SOURCE)) == 0, "a batch counts once"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moment=st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_the_script_knows_the_calendar(redis_url: str, redis_prefix: str, moment: datetime) -> None:
    now = int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    owner = half(redis_prefix, Counter("key", "k", "requests_per_month", 1, 1))
    with redis.Redis.from_url(redis_url) as client:
        client.delete(owner.entries[0].key)
        for expected in (0, month(now)[1] - now):
            reply = client.execute_command(
                *words(script.admit(owner, None, b"x", 0, 1, b"%d" % now), BY_SOURCE)
            )
            assert reply[1] == expected


def test_keys_expire_when_they_say_no_more_than_missing_ones(redis_url: str, redis_prefix: str) -> None:
    counters = [
        Counter("key", "k", "rpm", 60, 60),
        Counter("key", "k", "rpd", 60, 60),
        Counter("key", "k", "concurrency", 9, 9),
    ]
    owner = half(redis_prefix, *counters)
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(*words(script.admit(owner, None, b"x", 0, 60_000, b""), BY_SOURCE))
        bucket, window, gauge = (client.pttl(e.key) for e in owner.entries)
    assert 60_000 < bucket <= 61_000
    assert 60_000 <= window <= 86_400_000 + 60_000
    assert 59_000 < gauge <= 60_000


def test_what_is_known_of_a_counter_starts_at_all_of_it() -> None:
    known = Known(5)
    assert entry("p", Counter("key", "k", "rpm", 60, 10)).known.left == 10
    assert entry("p", Counter("key", "k", "rpm", 60, 10), known).known is known
