"""The programs under test as processes of their own: a simulator, gateways, a Redis; and the client that counts what it sees."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

KEY = "sk-measured-client-0123456789"
ADMIN_SECRET = "the admin of one measurement"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Gateway:
    """A ``serve`` process in a folder of its own; ``log`` is filled as it writes."""

    def __init__(self, folder: Path, catalog: Mapping[str, Any], **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "catalog.yaml"
        # JSON is YAML.
        self.config.write_bytes(orjson.dumps(dict(catalog)))
        self.environ = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "DATA_DIR": str(folder / "data"),
            "PORT": "0",
            "ADMIN_SECRET": ADMIN_SECRET,
            **environ,
        }
        self.url = ""
        self.log: list[dict[str, Any]] = []
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises TimeoutError where it does not serve within ten seconds."""
        self.url = ""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "apipod_proxy", "serve", "--config", str(self.config)),
            env=self.environ,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read(self._process))
        async with asyncio.timeout(10):
            while not self.url:
                if self._reader.done():
                    raise RuntimeError(f"the gateway did not start: {self.log[-3:]}")
                await asyncio.sleep(0.01)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        if process.returncode is None:
            process.send_signal(number)
        await process.wait()
        await reader

    def changes(self, since: float) -> list[dict[str, Any]]:
        """What the gateway said of its candidates from ``since`` (epoch seconds) on."""
        return [
            line
            for line in self.log
            if line.get("message") == "A candidate changed." and line["seen_at"] >= since
        ]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for text in process.stderr:
            try:
                line = orjson.loads(text)
            except orjson.JSONDecodeError:
                line = {"message": text.decode(errors="replace").rstrip()}
            line["seen_at"] = time.time()
            if line.get("message") == "Serving.":
                self.url = line["urls"][0]
            if line.get("message") != "request":
                self.log.append(line)


@asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Gateway]:
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


@contextmanager
def simulator() -> Iterator[str]:
    """The URL of a simulator that runs meanwhile."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "apipod_proxy", "simulate", "--addr", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        # It tells of every client that leaves, and here that is what they are there for.
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class Redis:
    """A redis-server that can be stopped and started; it keeps nothing."""

    def __init__(self) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            raise SystemExit("redis-server is needed: apt-get install redis-server")
        self._binary = binary
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self.port), "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        wait_for(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def wait_for(port: int, seconds: float = 10.0) -> None:
    """Until something listens there."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


@dataclass(slots=True)
class Seen:
    """One request as its client saw it. Times are ``time.monotonic``; ``first`` is that of the first content."""

    begun: float
    status: int = 0
    first: float | None = None
    ended: float = 0.0
    tokens: int = 0
    fault: str = ""
    """Empty where the answer came whole."""

    @property
    def to_first(self) -> float:
        return (self.first or self.ended) - self.begun

    @property
    def cut(self) -> bool:
        """It broke off after content had come, which no gateway can mend."""
        return bool(self.fault) and self.first is not None


@dataclass(slots=True)
class Caller:
    """Asks a gateway, and looks closely at the answers."""

    session: aiohttp.ClientSession
    model: str
    stream: bool = True
    seen: list[Seen] = field(default_factory=list)

    async def ask(self, url: str) -> Seen:
        seen = Seen(time.monotonic())
        body = {
            "model": self.model,
            "stream": self.stream,
            "messages": [{"role": "user", "content": "Say something."}],
        }
        try:
            async with self.session.post(
                f"{url}/v1/chat/completions",
                data=orjson.dumps(body),
                headers={"authorization": f"Bearer {KEY}"},
            ) as answer:
                seen.status = answer.status
                if answer.status != 200:
                    seen.fault = (await answer.text())[:200]
                elif self.stream:
                    await self._stream(answer, seen)
                else:
                    told = orjson.loads(await answer.read())
                    seen.first = time.monotonic()
                    seen.tokens = told["usage"]["total_tokens"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as problem:
            seen.fault = repr(problem)[:200]
        seen.ended = time.monotonic()
        self.seen.append(seen)
        return seen

    async def _stream(self, answer: aiohttp.ClientResponse, seen: Seen) -> None:
        last = b""
        async for line in answer.content:
            if not line.startswith(b"data: "):
                continue
            last = line[6:].strip()
            if seen.first is None and b'"content":"' in line.replace(b'": "', b'":"'):
                seen.first = time.monotonic()
            if b'"error"' in line:
                seen.fault = line.decode()[:200]
        if last != b"[DONE]" and not seen.fault:
            seen.fault = "no [DONE]"


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30)
    )


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
