"""A closed loop of HTTP clients on raw protocols, which checks every answer and measures what the proxy under it spent."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns, perf_counter
from typing import cast
from urllib.parse import urlsplit

import orjson

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGESIZE")
STAMP = re.compile(rb'"(?:content|text)":\s*"(\d{12,})"')


@dataclass(slots=True)
class Plan:
    """What is asked: ``total`` requests over ``connections`` connections; ``ramp`` seconds to open them."""

    url: str
    key: str = "none"
    model: str = "bench-20-0"
    stream: bool = False
    connections: int = 32
    total: int = 1000
    prompt: int = 400
    ramp: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def events(self) -> int:
        return int(self.model.split("-")[1])

    def request(self) -> bytes:
        parts = urlsplit(self.url)
        anthropic = parts.path.endswith("/messages")
        body: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": "x" * self.prompt}],
            "stream": self.stream,
            "max_tokens": 1000,
        }
        if not anthropic:
            body["messages"] = [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": "x" * self.prompt},
            ]
            if self.stream:
                body["stream_options"] = {"include_usage": True}
        data = orjson.dumps(body)
        lines = {
            "Host": parts.netloc,
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Accept": "*/*",
            "User-Agent": "bench/1",
            **({"anthropic-version": "2023-06-01"} if anthropic else {}),
            **self.headers,
            "Content-Length": str(len(data)),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + data


@dataclass(slots=True)
class Result:
    answers: int = 0
    events: int = 0
    wrong: int = 0
    sample: bytes = b""
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of the process tree, user and system."""
    peak_rss: int = 0
    latency: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    """Seconds from the provider's write of an event to its arrival here."""

    def per_request(self) -> float:
        return self.cpu / max(1, self.answers) * 1e6

    def per_event(self) -> float:
        return self.cpu / max(1, self.events) * 1e6


def tree(pid: int) -> list[int]:
    """``pid`` and everything under it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - a hundred Path objects are not needed
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(stat[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        found.append(current)
        todo += children.get(current, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process tree. From schedstat, in nanoseconds, where the kernel has it: a tick is 10 ms."""
    total = 0.0
    for process in tree(pid):
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
        except (OSError, IndexError, ValueError):
            stat = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(stat[11]) + int(stat[12])) / TICKS
    return total


def rss(pid: int) -> int:
    """Resident bytes of the process tree."""
    total = 0
    for process in tree(pid):
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
        except OSError:
            continue
    return total


class Client(asyncio.Protocol):
    """One connection; asks again as soon as it has its answer, while there is something left to ask."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.buffer = bytearray()
        self.length: int | None = None
        self.head_end = 0
        self.first: float | None = None
        self.started = 0.0
        self.scanned = 0
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports are not registered as such
        self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ask()

    def ask(self) -> None:
        run = self.run
        if run.left <= 0:
            self.open = False
            self.transport.close()
            run.leave()
            return
        run.left -= 1
        self.buffer.clear()
        self.head_end = self.scanned = 0
        self.length = self.first = None
        self.open = True
        self.started = perf_counter()
        self.transport.write(run.request)

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer
        buffer += data
        now = perf_counter()
        if not self.head_end:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head_end = end + 4
            head = bytes(buffer[:end]).lower()
            at = head.find(b"content-length:")
            self.length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else None
        if self.first is None and len(buffer) > self.head_end:
            self.first = now
        if self.run.plan.stream:
            self.stamp(data)
        done = (
            buffer.endswith(b"0\r\n\r\n")
            if self.length is None
            else len(buffer) - self.head_end >= self.length
        )
        if done:
            self.take(now)

    def stamp(self, data: bytes) -> None:
        arrived = monotonic_ns()
        for sent in STAMP.findall(data):
            self.run.result.delays.append((arrived - int(sent)) / 1e9)

    def take(self, now: float) -> None:
        run = self.run
        result = run.result
        right = self.buffer.startswith(b"HTTP/1.1 200") and (self.length is None) == run.plan.stream
        seen = len(STAMP.findall(dechunked(self.buffer, self.head_end))) if right and run.plan.stream else 0
        right = right and (not run.plan.stream or seen == run.plan.events)
        if right:
            result.answers += 1
            result.events += seen
            result.latency.append(now - self.started)
            result.first.append((self.first or now) - self.started)
        else:
            result.wrong += 1
            result.sample = bytes(self.buffer[:600])
        self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.open:
            self.run.result.wrong += 1
            self.run.result.sample = b"connection lost: " + bytes(self.buffer[-200:])
            self.run.leave()


def dechunked(buffer: bytearray, start: int) -> bytes:
    """The body of a chunked answer: a proxy may cut its chunks anywhere, also within an event."""
    pieces, at = [], start
    while True:
        end = buffer.index(b"\r\n", at)
        size = int(buffer[at:end], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(bytes(buffer[end + 2 : end + 2 + size]))
        at = end + 4 + size


class Run:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.request = plan.request()
        self.left = plan.total
        self.live = plan.connections
        self.result = Result()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def leave(self) -> None:
        self.live -= 1
        if self.live <= 0 and not self.done.done():
            self.done.set_result(None)


async def drive(plan: Plan, pid: int | None, timeout: float = 300.0) -> Result:
    """Run ``plan`` and measure the process tree under ``pid`` meanwhile."""
    loop = asyncio.get_running_loop()
    run = Run(plan)
    parts = urlsplit(plan.url)
    before = cpu_seconds(pid) if pid else 0.0
    started = perf_counter()

    async def connect(index: int) -> None:
        if plan.ramp:
            await asyncio.sleep(plan.ramp * index / plan.connections)
        await loop.create_connection(lambda: Client(run), parts.hostname, parts.port)

    watcher = loop.create_task(watch(pid, run.result)) if pid else None
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(connect(index) for index in range(plan.connections)))
            await run.done
    finally:
        if watcher is not None:
            watcher.cancel()
    run.result.seconds = perf_counter() - started
    run.result.cpu = cpu_seconds(pid) - before if pid else 0.0
    return run.result


async def watch(pid: int, result: Result) -> None:
    while True:
        result.peak_rss = max(result.peak_rss, rss(pid))
        await asyncio.sleep(0.5)


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
