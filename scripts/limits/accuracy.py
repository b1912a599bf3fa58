"""Whether limits are what their numbers say, measured from outside: clients hammer a gateway, and what was admitted is counted.

    scripts/limits/accuracy                 rates for three minutes each; about fifteen minutes in all
    scripts/limits/accuracy --quick         the same for twenty seconds each, with smaller bursts
    scripts/limits/accuracy --only rpd      some of the rows: rpm, replicas, away, rpd, concurrency, line, tpm

Exit code 1 where a number does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from processes import KEY, Caller, Gateway, Redis, Seen, running, session, simulator, table

CLIENTS = 64
REFUSED_PAUSE = 0.1
"""Seconds that a refused client waits: it hammers, and leaves the machine some room."""

RPM = 600
WARM_SECONDS = 5.0
"""After this the first burst is gone."""


class Row(NamedTuple):
    what: str
    expected: str
    measured: str
    holds: bool

    def cells(self) -> list[str]:
        return [self.what, self.expected, self.measured, "yes" if self.holds else "NO"]


class Bench(NamedTuple):
    """``simulator``: URL; ``folder``: for the data of gateways."""

    simulator: str
    folder: Path
    quick: bool


def catalog(url: str, upstream: str, limits: dict[str, Any], max_wait: float = 0) -> dict[str, Any]:
    route = {"targets": [{"model": "limited"}], "max_wait": max_wait}
    return {
        "providers": {"sim": {"type": "openai_compatible", "base_url": url, "api_key": "k"}},
        "models": {"limited": {"provider": "sim", "upstream_model": upstream, "limits": limits}},
        "subscriptions": {"s": {"routes": {"x": route}}},
        "users": {"u": {"subscription": "s", "keys": [{"key": KEY, "name": "k"}]}},
    }


async def hammer(
    urls: Sequence[str], clients: int, seconds: float, pick: Callable[[], str] = lambda: "x"
) -> list[Seen]:
    """All requests of ``clients`` that ask again at once, or after a pause where they were refused."""
    async with session() as client:
        until = time.monotonic() + seconds
        callers = [Caller(client, pick(), stream=False) for _ in range(clients)]

        async def keep_asking(caller: Caller, url: str) -> None:
            while time.monotonic() < until:
                seen = await caller.ask(url)
                if seen.status != 200:
                    await asyncio.sleep(REFUSED_PAUSE * random.uniform(0.5, 1.5))

        await asyncio.gather(*(keep_asking(c, urls[n % len(urls)]) for n, c in enumerate(callers)))
        return [seen for caller in callers for seen in caller.seen]


def admitted(seen: Sequence[Seen]) -> list[Seen]:
    """Those that were let in, in order. Raises SystemExit where one failed in another way than being refused."""
    other = [one for one in seen if one.status not in (200, 429)]
    if other:
        raise SystemExit(f"{len(other)} requests failed: {other[0].status} {other[0].fault}")
    return sorted((one for one in seen if one.status == 200), key=lambda one: one.ended)


def excess(let_in: Sequence[Seen], burst: int, per_second: float) -> float:
    """The most that any span of time held beyond ``burst + per_second × t``; 0 or less where none did.

    A request was admitted at some time between its begin and its end, so only what is over for certain counts.
    """
    most = least = float("-inf")
    for place, one in enumerate(let_in):
        least = max(least, 1 - place + per_second * one.begun)
        most = max(most, place + least - per_second * one.ended - burst)
    return most


def rate_row(what: str, seen: Sequence[Seen], burst: int, seconds: float, tolerance: float) -> Row:
    let_in = admitted(seen)
    begin = min(one.begun for one in seen) + WARM_SECONDS
    span = min(60.0, seconds)
    counts = [
        sum(begin + n * span <= one.ended < begin + (n + 1) * span for one in let_in)
        for n in range(int(seconds // span))
    ]
    per_minute = [count * 60 / span for count in counts]
    over = excess(let_in, burst, RPM / 60)
    holds = all(abs(count - RPM) <= RPM * tolerance for count in per_minute) and over <= 0
    told = ", ".join(f"{count:.0f}" for count in per_minute)
    return Row(
        what,
        f"{RPM} ± {tolerance:.0%} a minute; in any t seconds at most {burst} + {RPM / 60:.0f} t",
        f"{told} a minute; {'never more' if over <= 0 else f'{over:.1f} more'}; {len(seen) - len(let_in)} refused",
        holds,
    )


async def rpm(bench: Bench) -> Row:
    burst, seconds = (60, 20.0) if bench.quick else (RPM, 180.0)
    config = catalog(bench.simulator, "sim-1-0", {"rpm": {"limit": RPM, "burst": burst}})
    async with running(Gateway(bench.folder / "rpm", config)) as gateway:
        seen = await hammer([gateway.url], CLIENTS, WARM_SECONDS + seconds + 0.2)
    return rate_row(
        f"rpm {RPM}, {CLIENTS} clients, memory", seen, burst, seconds, 0.02 if bench.quick else 0.01
    )


async def _replicas(
    bench: Bench, stack: AsyncExitStack, redis: Redis, burst: int, name: str
) -> list[Gateway]:
    config = catalog(bench.simulator, "sim-1-0", {"rpm": {"limit": RPM, "burst": burst}})
    return [
        await stack.enter_async_context(
            running(Gateway(bench.folder / f"{name}{n}", config, REDIS_URL=redis.url))
        )
        for n in range(3)
    ]


async def replicas(bench: Bench) -> Row:
    burst, seconds = (60, 20.0) if bench.quick else (RPM, 180.0)
    redis = Redis()
    redis.start()
    try:
        async with AsyncExitStack() as stack:
            gateways = await _replicas(bench, stack, redis, burst, "replica")
            urls = [gateway.url for gateway in gateways]
            seen = await hammer(urls, CLIENTS, WARM_SECONDS + seconds + 0.2)
    finally:
        redis.stop()
    what = f"rpm {RPM}, {CLIENTS} clients, 3 replicas, Redis"
    return rate_row(what, seen, burst, seconds, 0.02 if bench.quick else 0.01)


async def away(bench: Bench) -> Row:
    """Redis is stopped in the middle and started again: nobody fails, and what is over stays within one more burst for each change."""
    burst, part = (60, 8.0) if bench.quick else (60, 20.0)
    redis = Redis()
    redis.start()
    try:
        async with AsyncExitStack() as stack:
            gateways = await _replicas(bench, stack, redis, burst, "away")
            asked = asyncio.create_task(hammer([g.url for g in gateways], CLIENTS, 3 * part))
            await asyncio.sleep(part)
            redis.stop()
            await asyncio.sleep(part)
            redis.start()
            seen = await asked
    finally:
        redis.stop()
    let_in = admitted(seen)
    over = excess(let_in, burst, RPM / 60)
    # One burst may be kept by the processes, and one in the Redis that comes back empty.
    bound = 2 * burst
    spent = max(one.ended for one in let_in) - min(one.begun for one in let_in)
    least = RPM / 60 * spent * 0.9
    return Row(
        f"rpm {RPM}, 3 replicas, Redis away for {part:.0f} of {3 * part:.0f} s",
        f"no request fails; over by at most {bound}",
        f"{len(let_in)} admitted in {spent:.0f} s, over by {max(0.0, over):.0f}",
        over <= bound and len(let_in) >= least,
    )


async def rpd(bench: Bench) -> Row:
    limit = 500
    gateway = Gateway(bench.folder / "rpd", catalog(bench.simulator, "sim-1-0", {"rpd": limit}))
    counted = []
    day = time.gmtime().tm_yday
    async with session() as client:
        for share, end in ((0.3, signal.SIGTERM), (0.4, signal.SIGKILL), (2.0, signal.SIGTERM)):
            await gateway.start()
            caller = Caller(client, "x", stream=False)
            for _ in range(int(limit * share) // 10):
                await asyncio.gather(*(caller.ask(gateway.url) for _ in range(10)))
            counted.append(len(admitted(caller.seen)))
            # A process that is killed leaves behind what it wrote down until then.
            await asyncio.sleep(1.5)
            await gateway.stop(end)
    if time.gmtime().tm_yday != day:
        raise SystemExit("a day ended meanwhile: run it again")
    return Row(
        f"rpd {limit}, ended by SIGTERM and by SIGKILL in between",
        f"exactly {limit}",
        f"{' + '.join(str(count) for count in counted)} = {sum(counted)}",
        sum(counted) == limit,
    )


async def _concurrency(bench: Bench, what: str, max_wait: float) -> Row:
    limit, clients, call, window = 8, 100, 0.2, 4.0
    config = catalog(
        bench.simulator, f"sim-1-0+delay={call * 1000:.0f}", {"concurrency": limit}, max_wait=max_wait
    )
    async with session() as client:
        async with client.post(f"{bench.simulator}/stats/reset") as answer:
            answer.raise_for_status()
        async with running(Gateway(bench.folder / f"concurrency{max_wait:.0f}", config)) as gateway:
            begun = time.monotonic() + 1.0
            seen = await hammer([gateway.url], clients, window + 1.5)
        async with client.get(f"{bench.simulator}/stats") as answer:
            peak = (await answer.json())["peak"]
    served = sum(begun <= one.ended < begun + window for one in admitted(seen))
    ideal = round(limit * window / call)
    return Row(
        f"concurrency {limit}, {clients} clients, {what}",
        f"never more than {limit} at once; {ideal} ± {ideal // 20} calls of 200 ms in {window:.0f} s",
        f"at most {peak} at once; {served} calls",
        peak <= limit and abs(served - ideal) <= ideal // 20,
    )


async def concurrency(bench: Bench) -> Row:
    return await _concurrency(bench, "who finds no room asks again", 0)


async def line(bench: Bench) -> Row:
    return await _concurrency(bench, "who finds no room waits (max_wait 30)", 30)


async def tpm(bench: Bench) -> Row:
    limit, burst, seconds = 60_000, 3000, 20.0 if bench.quick else 120.0
    config = catalog(bench.simulator, "sim-1-0", {"tpm": {"limit": limit, "burst": burst}})
    sizes = (5, 20, 60, 150)
    for size in sizes:
        config["models"][f"m{size}"] = {"provider": "sim", "upstream_model": f"sim-{size}-0"}
    # One account has the limit, and answers of all lengths come from it.
    del config["models"]["limited"]
    config["providers"]["sim"]["limits"] = {"tpm": {"limit": limit, "burst": burst}}
    config["subscriptions"]["s"]["routes"] = {
        f"m{size}": {"targets": [{"model": f"m{size}"}]} for size in sizes
    }
    async with running(Gateway(bench.folder / "tpm", config)) as gateway:
        seen = await hammer([gateway.url], 32, WARM_SECONDS + seconds, lambda: f"m{random.choice(sizes)}")
    begin = min(one.begun for one in seen) + WARM_SECONDS
    let_in = [one for one in admitted(seen) if begin <= one.ended < begin + seconds]
    used = sum(one.tokens for one in let_in) / seconds * 60
    tolerance = 0.03 if bench.quick else 0.01
    return Row(
        f"tpm {limit}, 32 clients, answers of unknown length",
        f"{limit} ± {tolerance:.0%} a minute in the long run",
        f"{used:.0f} a minute over {seconds:.0f} s",
        abs(used - limit) <= limit * tolerance,
    )


ROWS: dict[str, Callable[[Bench], Awaitable[Row]]] = {
    "rpm": rpm,
    "replicas": replicas,
    "away": away,
    "rpd": rpd,
    "concurrency": concurrency,
    "line": line,
    "tpm": tpm,
}
HEAD = ["limit", "what it says", "measured", "holds"]


async def main(arguments: argparse.Namespace) -> int:
    rows: list[Row] = []
    chosen = arguments.only.split(",") if arguments.only else list(ROWS)
    with tempfile.TemporaryDirectory() as name, simulator() as url:
        bench = Bench(url, Path(name), arguments.quick)
        for each in chosen:
            row = await ROWS[each](bench)
            rows.append(row)
            print(" | ".join(row.cells()), file=sys.stderr, flush=True)
    print(table(HEAD, [row.cells() for row in rows]))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="rows, comma-separated")
    raise SystemExit(asyncio.run(main(parser.parse_args())))
