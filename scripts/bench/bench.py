"""What the gateway costs, beside nginx, beside a bare aiohttp proxy, and beside its peers.

Everything runs in turn on one core, the load and the provider on another, and every figure is CPU time of the proxy's process
tree per unit of work, the median of interleaved rounds. Only ratios of one run are compared.

    scripts/bench/bench                     the table
    scripts/bench/bench --quick             the same rows, smaller, in under a minute
    scripts/bench/bench --held              also: 10,000 streams held open on two workers
    scripts/bench/bench --soak 60           only: an hour of mixed load; memory, descriptors and tasks have to stay flat
    scripts/bench/bench --peers             also: vllm-router, LiteLLM and Portkey, each in an environment of its own
    scripts/bench/bench --json FILE         where the figures go
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from load import Plan, Result, drive, quantile, rss
from peers import PEERS, peer
from proxies import PROXY_CORE, Proxy, Stage, count_cores, pin
from soak import show_soaked, soak

UNITS = {"event": Result.per_event, "request": Result.per_request}


@dataclass(slots=True)
class Row:
    """One line of the table. ``limit`` is the bar as a ratio to ``reference``."""

    name: str
    unit: str
    reference: str
    limit: float
    plan: Callable[[Proxy, bool], Plan]
    against: tuple[str, ...] = ("nginx", "bare", "gateway")
    figures: dict[str, list[float]] = field(default_factory=dict)
    delays: dict[str, list[float]] = field(default_factory=dict)
    void: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        values = self.figures.get(name)
        return statistics.median(values) if values else None

    def ratio(self) -> float | None:
        mine, other = self.median("gateway"), self.median(self.reference)
        return mine / other if mine and other else None

    def spread(self, name: str) -> str:
        values = self.figures.get(name) or [0.0]
        return f"{min(values):.1f}–{max(values):.1f}"


def chat(
    model: str, stream: bool, connections: int, total: int, prompt: int = 400
) -> Callable[[Proxy, bool], Plan]:
    def plan(proxy: Proxy, quick: bool) -> Plan:
        return Plan(
            url=f"{proxy.url}/v1/chat/completions",
            key=proxy.key,
            model=model,
            stream=stream,
            connections=connections,
            total=max(connections, total // 4) if quick else total,
            prompt=prompt,
            headers=proxy.headers,
        )

    return plan


def messages(model: str, connections: int, total: int) -> Callable[[Proxy, bool], Plan]:
    """A client of Messages for the gateway; the references forward the same load unread, as Chat."""
    inner = chat(model, True, connections, total)

    def plan(proxy: Proxy, quick: bool) -> Plan:
        made = inner(proxy, quick)
        if proxy.name == "gateway":
            made.url = f"{proxy.url}/v1/messages"
        return made

    return plan


def rows() -> list[Row]:
    return [
        Row("paced stream, per event", "event", "nginx", 1.3, chat("bench-50-20", True, 200, 800)),
        Row("burst stream, per event", "event", "bare", 1.2, chat("bench-100-0", True, 32, 800)),
        Row("JSON request", "request", "bare", 0.65, chat("bench-20-0", False, 32, 8000)),
        Row("150 KB prompt", "request", "bare", 1.0, chat("bench-20-0", False, 16, 2000, prompt=150_000)),
        Row("translated paced stream, per event", "event", "nginx", 3.0, messages("bench-50-20", 200, 800)),
    ]


async def measure(row: Row, proxies: dict[str, Proxy], rounds: int, quick: bool) -> None:
    for number in range(rounds + 1):
        for name in row.against:
            if name not in proxies or name in row.void:
                continue
            proxy = proxies[name]
            plan = row.plan(proxy, quick or number == 0)
            result = await drive(plan, proxy.pid)
            if result.wrong:
                row.void[name] = f"{result.wrong} wrong answers, as {result.sample[:200]!r}"
                continue
            if number == 0:
                continue  # warm-up
            row.figures.setdefault(name, []).append(UNITS[row.unit](result))
            if result.delays:
                row.delays.setdefault(name, []).append(quantile(result.delays, 0.99) * 1000)


async def latency(proxies: dict[str, Proxy], quick: bool) -> dict[str, float]:
    """Median ms of one idle connection, proxy by proxy."""
    found: dict[str, list[float]] = {}
    for _ in range(3 if quick else 5):
        for name, proxy in proxies.items():
            plan = chat("bench-20-0", False, 1, 400)(proxy, False)
            found.setdefault(name, []).append(quantile((await drive(plan, None)).latency, 0.5) * 1000)
    return {name: statistics.median(values) for name, values in found.items()}


@dataclass(slots=True)
class Flood:
    first_p99: float
    per_stream_kb: float
    completed: int
    wrong: int


async def flood(proxy: Proxy, streams: int, events: int) -> Flood:
    """``streams`` opened at once, one event a second each."""
    rest = rss(proxy.pid)
    plan = chat(f"bench-{events}-1000", True, streams, streams)(proxy, False)
    result = await drive(plan, proxy.pid)
    return Flood(
        quantile(result.first, 0.99),
        (result.peak_rss - rest) / streams / 1024,
        result.answers,
        result.wrong,
    )


async def held(stage: Stage, streams: int, seconds: int) -> dict[str, float]:
    """Streams held open on two workers against the same load straight at the provider: added ms at the 99th percentile."""
    found = {}
    for name in ("direct", "gateway"):
        proxy = await stage.gateway(workers=2) if name == "gateway" else stage.direct()
        plan = chat(f"bench-{seconds}-1000", True, streams, streams)(proxy, False)
        plan.ramp = 10.0
        result = await drive(plan, None)
        found[f"{name} event p99 ms"] = quantile(result.delays, 0.99) * 1000
        found[f"{name} first p99 ms"] = quantile(result.first, 0.99) * 1000
        found[f"{name} completed"] = result.answers
    found["added event p99 ms"] = found["gateway event p99 ms"] - found["direct event p99 ms"]
    found["added first p99 ms"] = found["gateway first p99 ms"] - found["direct first p99 ms"]
    return found


def show(table: list[Row]) -> None:
    names = list(dict.fromkeys(name for row in table for name in row.figures))
    header = ["CPU µs", *names, "ratio", "bar", ""]
    lines = [header]
    for row in table:
        ratio = row.ratio()
        cells = [
            f"{row.median(name):.1f} ({row.spread(name)})" if row.median(name) else "void" for name in names
        ]
        verdict = "" if ratio is None else ("reached" if ratio <= row.limit else "missed")
        lines.append(
            [row.name, *cells, f"{ratio:.2f} × {row.reference}" if ratio else "—", f"≤ {row.limit}", verdict]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in table:
        for name, values in row.delays.items():
            if name in ("nginx", "gateway") and "paced" in row.name:
                print(
                    f"  {row.name}: delay of an event p99 through {name}: {statistics.median(values):.2f} ms"
                )
        for name, why in row.void.items():
            print(f"  {row.name}: {name} is void: {why}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def run(options: argparse.Namespace) -> dict[str, object]:
    rounds = 3 if options.quick else options.rounds
    figures: dict[str, object] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory(prefix="apipod-bench-") as folder:
        async with Stage(Path(folder)) as stage:
            proxies = {
                "nginx": await stage.nginx(),
                "bare": await stage.bare(),
                "gateway": await stage.gateway(),
            }
            figures["memory at rest MB"] = {
                name: round(rss(proxy.pid) / 1e6, 1) for name, proxy in proxies.items()
            }
            if options.peers:
                for name in PEERS:
                    proxies[name] = await peer(name, stage)
            table = rows()
            for row in table:
                if options.peers and "translated" not in row.name:
                    row.against += PEERS
                if options.only and options.only not in row.name:
                    continue
                say(f"measuring: {row.name} …")
                await measure(row, proxies, rounds, options.quick)
            show([row for row in table if row.figures])
            figures["rows"] = [
                {
                    "name": row.name,
                    "figures": row.figures,
                    "ratio": row.ratio(),
                    "reference": row.reference,
                    "bar": row.limit,
                    "event delay p99 ms": row.delays,
                    "void": row.void,
                }
                for row in table
            ]
            if not options.only or options.only in "latency":
                times = await latency({"direct": stage.direct(), **proxies}, options.quick)
                figures["latency p50 ms"] = times
                print("latency p50: " + ", ".join(f"{name} {value:.3f} ms" for name, value in times.items()))
                print(f"  added by the gateway: {times['gateway'] - times['direct']:.3f} ms (bar: ≤ 0.25)")
            print(f"memory at rest: {figures['memory at rest MB']} MB (bar: ≤ 70)")
            if not options.quick and (not options.only or options.only in "flood"):
                for name in ("nginx", "gateway"):
                    say(f"measuring: 9,000 streams at once through {name} …")
                    seen = await flood(proxies[name], 9000, 15)
                    figures[f"flood {name}"] = {slot: getattr(seen, slot) for slot in Flood.__slots__}
                    print(
                        f"9,000 streams at once, {name}: {seen.completed} completed, {seen.wrong} wrong, first byte p99 {seen.first_p99:.2f} s, "
                        f"{seen.per_stream_kb:.1f} KB a stream"
                    )
            if options.held:
                figures["held"] = await show_held(stage)
    return figures


async def run_soak(options: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="apipod-bench-") as folder:
        async with Stage(Path(folder)) as stage:
            proxy = await stage.gateway()
            say(f"measuring: {options.soak:g} minutes of mixed load …")
            result = await soak(proxy, options.soak, options.json and options.json.with_suffix(".samples"))
            show_soaked(result, options.soak)
            if result.wrong or not result.flat:
                say("The run is void." if result.wrong else "Something grows.")
            return {
                "minutes": options.soak,
                "asked": result.asked,
                "wrong": result.wrong,
                "samples": [[s.minute, s.memory_mb, s.descriptors, s.tasks] for s in result.samples],
                "flat": result.flat,
            }


async def show_held(stage: Stage) -> dict[str, float]:
    say("measuring: 10,000 streams held open on two workers …")
    found = await held(stage, 10_000, 60)
    print("10,000 streams held: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds, under a minute")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each row (default 5)")
    parser.add_argument("--only", default="", help="only rows whose name contains this")
    parser.add_argument("--held", action="store_true", help="also hold 10,000 streams open on two workers")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="only run mixed load for so long")
    parser.add_argument("--peers", action="store_true", help="also measure vllm-router, LiteLLM and Portkey")
    parser.add_argument("--json", type=Path, help="write all figures here")
    options = parser.parse_args()
    if count_cores() < 2:
        raise SystemExit("The measurements need two cores: one for the proxy, one for the load.")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pin(os.getpid(), 1 - PROXY_CORE)
    figures = uvloop.run(run(options) if options.soak is None else run_soak(options))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
