"""Faults of providers, and of Redis, under load: what clients see of each, as a table.

Three providers serve one name with equal shares; one of them has the fault. Requests arrive at a fixed rate, whatever becomes of those before.

    scripts/chaos/chaos                     every fault for ten seconds
    scripts/chaos/chaos --quick             the same for four seconds each, in about three minutes
    scripts/chaos/chaos --only 500,529      some of them
    scripts/chaos/chaos --markdown          the bare table, for the README

Exit code 1 where a client saw an error before the first content of its answer, or where time to the first content stayed above twice the
healthy one once the failing provider was out of service.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from processes import (
    ADMIN_SECRET,
    KEY,
    Caller,
    Gateway,
    Redis,
    Seen,
    quantile,
    running,
    session,
    simulator,
    table,
)

FAILING = "key-a"
RATE = 50.0
TRIES = 3
"""A busy machine delays a few of several hundred requests now and then, so a run that was too slow is repeated, and the table says so.

Requests, errors and cuts of all runs are added up: an error is never repeated away. Times are those of the last run.
"""

OPEN_SECONDS = 3.0
TIMEOUTS = {"connect": 1, "first_byte": 1, "idle": 1}


class Fault(NamedTuple):
    """``knobs`` as the simulator takes them. ``streams``: it shows in streams only. ``midway``: behind the first content.

    ``slow``: nobody fails, so nobody is taken out of service.
    """

    name: str
    knobs: str
    streams: bool = False
    midway: bool = False
    slow: bool = False


FAULTS = (
    Fault("500", "status=500"),
    Fault("429 without retry-after", "status=429;message=Slow%20down."),
    Fault("429 with retry-after", "status=429;retry_after=3"),
    Fault("529", "status=529"),
    Fault("401", "status=401"),
    Fault("closes without an answer", "drop"),
    Fault("hangs before the head", "delay=60000"),
    Fault("error in the first frame", "error_first", streams=True),
    Fault("hangs before content", "stall=0", streams=True),
    Fault("resets before content", "reset=0", streams=True),
    Fault("half an event before content", "half=0", streams=True),
    Fault("error midway", "error_mid=2", streams=True, midway=True),
    Fault("hangs midway", "stall=2", streams=True, midway=True),
    Fault("resets midway", "reset=2", streams=True, midway=True),
    Fault("half an event midway", "half=2", streams=True, midway=True),
    Fault("is slow", "first=700", streams=True, slow=True),
)


def catalog(url: str) -> dict[str, Any]:
    names = "abc"
    common = {
        "type": "openai_compatible",
        "base_url": url,
        "timeouts": TIMEOUTS,
        "retries": {"attempts": 1},
        "breaker": {"failures": 5, "open": OPEN_SECONDS},
    }
    targets = [{"model": f"model-{name}"} for name in names]
    return {
        "providers": {name: {**common, "api_key": f"key-{name}"} for name in names},
        "models": {
            f"model-{name}": {"provider": name, "upstream_model": "sim-5-5+first=30"} for name in names
        },
        "subscriptions": {
            "s": {
                "routes": {
                    "even": {"strategy": "even", "targets": targets},
                    "hedged": {"strategy": "latency", "hedge": True, "targets": targets},
                }
            }
        },
        "users": {
            "u": {
                "subscription": "s",
                "keys": [{"key": KEY, "name": "k", "limits": {"rpm": 1_000_000, "concurrency": 10_000}}],
            }
        },
    }


@dataclass(slots=True)
class Load:
    """Requests at a fixed rate; ``seen`` holds those that ended."""

    callers: list[Caller]
    url: str
    tasks: set[asyncio.Task[Seen]] = field(default_factory=set)
    stopped: bool = False

    async def run(self) -> None:
        due = time.monotonic()
        count = 0
        while not self.stopped:
            caller = self.callers[count % len(self.callers)]
            count += 1
            task = asyncio.create_task(caller.ask(self.url))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            due += 1 / RATE
            await asyncio.sleep(due - time.monotonic())
        await asyncio.gather(*self.tasks)

    def between(self, begin: float, end: float) -> list[Seen]:
        """The requests that began in this time; call it once they have ended."""
        return [one for caller in self.callers for one in caller.seen if begin <= one.begun < end]


@dataclass(slots=True)
class Stage:
    """A gateway and a simulator that run, and a client for both."""

    client: aiohttp.ClientSession
    gateway: Gateway
    simulator: str
    quick: bool

    async def fault(self, knobs: str) -> None:
        async with self.client.post(
            f"{self.simulator}/faults", json={"fault": knobs, "key": FAILING}
        ) as answer:
            answer.raise_for_status()

    async def heal(self) -> None:
        async with self.client.delete(f"{self.simulator}/faults") as answer:
            answer.raise_for_status()

    async def asked(self) -> int:
        """Requests that reached the failing provider so far."""
        async with self.client.get(f"{self.simulator}/stats") as answer:
            stats = await answer.json()
        return int(stats["keys"].get(FAILING, {}).get("requests", 0))

    async def enable(self) -> None:
        """What an admin does once a key is good again."""
        async with self.client.post(
            f"{self.gateway.url}/admin/accounts/a/default/enable", headers={"x-admin-secret": ADMIN_SECRET}
        ) as answer:
            answer.raise_for_status()


class Outcome(NamedTuple):
    fault: Fault
    requests: int
    errors: list[Seen]
    cut: int
    asked: int
    out_after: float | None
    healthy: float
    after: float
    back_after: float | None
    runs: int = 1

    @property
    def too_slow(self) -> bool:
        return not self.fault.slow and self.after >= 2 * self.healthy

    @property
    def holds(self) -> bool:
        return not self.errors and not self.too_slow

    def after_run(self, before: Outcome) -> Outcome:
        """This run, with what is counted of those before it."""
        return self._replace(
            requests=before.requests + self.requests,
            errors=before.errors + self.errors,
            cut=before.cut + self.cut,
            asked=before.asked + self.asked,
            runs=before.runs + 1,
        )

    def row(self) -> list[str]:
        out = "stays in" if self.out_after is None else f"{self.out_after:.1f} s"
        back = (
            "–"
            if self.out_after is None
            else "never"
            if self.back_after is None
            else f"{self.back_after:.1f} s"
        )
        return [
            self.fault.name,
            str(self.runs),
            str(self.requests),
            str(len(self.errors)),
            str(self.cut),
            str(self.asked),
            out,
            f"{self.healthy * 1000:.0f} → {self.after * 1000:.0f} ms",
            back,
        ]


HEAD = [
    "fault of one of three providers",
    "runs",
    "requests",
    "errors before content",
    "cut after content",
    "sent to the failing one",
    "out of service after",
    "p99 to first content, healthy → with the fault",
    "back in service after",
]


async def suffer(stage: Stage, fault: Fault) -> Outcome:
    """Load, then load with the fault, then load until the provider serves again."""
    async with session() as client:
        kinds = (True,) if fault.streams else (True, True, False)
        name = "hedged" if fault.slow else "even"
        load = Load([Caller(client, name, kind) for kind in kinds], stage.gateway.url)
        task = asyncio.create_task(load.run())
        # A hedged route has to learn first what late means.
        await asyncio.sleep((3.0 if stage.quick else 5.0) if not fault.slow else 6.0)
        began, said = time.monotonic(), time.time()
        before = await stage.asked()
        await stage.fault(fault.knobs)
        await asyncio.sleep(4.0 if stage.quick else 10.0)
        ended = time.monotonic()
        asked = await stage.asked() - before
        await stage.heal()
        if fault.name == "401":
            await stage.enable()
        back = await _back(stage, ended)
        load.stopped = True
        await task
    changes = stage.gateway.changes(said)
    out = next((line for line in changes if line["change"] in ("opened", "parked", "disabled")), None)
    out_after = None if out is None else out["seen_at"] - said
    healthy = load.between(began - 2.5, began)
    everything = load.between(began, float("inf"))
    settled = began + (1.0 if out_after is None else out_after)
    return Outcome(
        fault,
        len(everything),
        [one for one in everything if one.fault and not one.cut],
        sum(one.cut for one in everything),
        asked,
        out_after,
        quantile([one.to_first for one in healthy], 0.99),
        quantile([one.to_first for one in load.between(settled, ended)], 0.99),
        back,
    )


async def _back(stage: Stage, ended: float) -> float | None:
    """Seconds until the provider has its share again."""
    before = await stage.asked()
    while time.monotonic() - ended < OPEN_SECONDS + 8:
        await asyncio.sleep(0.2)
        now = await stage.asked()
        if now - before >= 2:
            return time.monotonic() - ended
        before = now
    return None


async def lose_redis(url: str, folder: Path, quick: bool) -> list[str]:
    """The row of a Redis that is stopped and started under load."""
    redis = Redis()
    redis.start()
    try:
        async with (
            session() as client,
            running(Gateway(folder / "redis", catalog(url), REDIS_URL=redis.url)) as gateway,
        ):
            load = Load([Caller(client, "even"), Caller(client, "even", False)], gateway.url)
            task = asyncio.create_task(load.run())
            pause = 2.0 if quick else 6.0
            await asyncio.sleep(3)
            began = time.monotonic()
            redis.stop()
            await asyncio.sleep(pause)
            lost = await _degraded(client, gateway.url)
            redis.start()
            await asyncio.sleep(pause)
            found = not await _degraded(client, gateway.url)
            load.stopped = True
            await task
    finally:
        redis.stop()
    during = load.between(began, float("inf"))
    healthy = quantile([one.to_first for one in load.between(began - 2.5, began)], 0.99)
    after = quantile([one.to_first for one in during], 0.99)
    return [
        "Redis is stopped and started",
        "1",
        str(len(during)),
        str(sum(bool(one.fault) for one in during)),
        "0",
        "–",
        "said in /health" if lost else "NOT SAID",
        f"{healthy * 1000:.0f} → {after * 1000:.0f} ms",
        "said in /health" if found else "STILL AWAY",
    ]


async def _degraded(client: aiohttp.ClientSession, url: str) -> bool:
    async with client.get(f"{url}/health") as answer:
        return any("redis" in line.lower() for line in (await answer.json())["degraded"])


async def main(arguments: argparse.Namespace) -> int:
    chosen = arguments.only.split(",") if arguments.only else None
    rows, broken = [], []
    with tempfile.TemporaryDirectory() as name, simulator() as url:
        folder = Path(name)
        async with session() as client, running(Gateway(folder / "gateway", catalog(url))) as gateway:
            stage = Stage(client, gateway, url, arguments.quick)
            for fault in FAULTS:
                if chosen is not None and fault.name not in chosen:
                    continue
                outcome = await suffer(stage, fault)
                while outcome.too_slow and not outcome.errors and outcome.runs < TRIES:
                    outcome = (await suffer(stage, fault)).after_run(outcome)
                rows.append(outcome.row())
                if not outcome.holds:
                    broken.append(outcome)
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
        if chosen is None or "redis" in chosen:
            rows.append(await lose_redis(url, folder, arguments.quick))
    if not arguments.markdown:
        print(f"\n{RATE:.0f} requests/s, one of three providers fails:\n")
    print(table(HEAD, rows))
    for outcome in broken:
        errors = {one.fault for one in outcome.errors}
        print(
            f"DOES NOT HOLD: {outcome.fault.name}: {'; '.join(sorted(errors)) or 'too slow'}", file=sys.stderr
        )
    return 1 if broken or any(row[HEAD.index("errors before content")] != "0" for row in rows) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="names of faults, comma-separated; redis is one of them")
    parser.add_argument("--markdown", action="store_true")
    raise SystemExit(asyncio.run(main(parser.parse_args())))
