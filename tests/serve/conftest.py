"""Real processes: ``apipod-proxy serve`` on a free port, in front of a simulator."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from apipod_proxy.simulator import Simulator, start

KEY = "sk-test-0123456789abcdef"
COMMAND = (sys.executable, "-m", "apipod_proxy")

Say = Mapping[str, object]


class Process:
    """A running command whose JSON log is read as it comes."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.log: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._heard = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.log.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                self.errors.append(line.decode().rstrip())
            self._heard.set()

    async def line(self, message: str, count: int = 1) -> dict[str, Any]:
        """The log line with this message, once there are ``count`` of them."""
        async with asyncio.timeout(15):
            while True:
                found = [line for line in self.log if line["message"] == message]
                if len(found) >= count:
                    return found[-1]
                if self._reader.done():
                    raise AssertionError(f"it ended without {message!r}: {self.errors} {self.log[-3:]}")
                self._heard.clear()
                waits = asyncio.create_task(self._heard.wait())
                await asyncio.wait((waits, self._reader), return_when=asyncio.FIRST_COMPLETED)
                waits.cancel()

    async def url(self) -> str:
        """Where it serves."""
        line = await self.line("Serving.")
        return str(line["urls"][0])

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = 15) -> int:
        """The exit code."""
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await self._reader
        return code

    def resident(self) -> int:
        """Bytes of memory."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def processor_seconds(self) -> float:
        """What it has used of the processor."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def close(self) -> None:
        try:
            # The whole group: a worker that a test has stopped would outlive its parent.
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all have ended
        await self.process.wait()
        await self._reader


class Gateway(Process):
    """A ``serve`` process with one user, who has one key."""

    base = ""

    @property
    def database(self) -> Path:
        return self.folder / "data" / "proxy.db"


Launch = Callable[..., Awaitable[Gateway]]


def clean_environment(folder: Path) -> dict[str, str]:
    """The environment of a process that must not see the settings of whoever runs the tests."""
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ
    }
    return {
        **kept,
        "HOME": str(folder),
        "DATA_DIR": str(folder / "data"),
        "PORT": "0",
        "PYTHONWARNINGS": "error",
    }


def catalog(simulator_url: str) -> dict[str, Any]:
    """Every name goes to the simulator; ``fast`` is a model of the catalog."""
    return {
        "providers": {"sim": {"type": "simulator", "base_url": simulator_url}},
        "models": {"fast": {"provider": "sim", "upstream_model": "sim-3-0"}},
        "subscriptions": {
            "all": {
                "routes": {
                    "fast": {"targets": [{"model": "fast"}]},
                    "*": {"targets": [{"provider": "sim"}]},
                }
            }
        },
        "users": {"tester": {"subscription": "all", "keys": [{"key": KEY, "name": "test"}]}},
    }


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with await start() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector,
        headers={"authorization": f"Bearer {KEY}"},
        timeout=aiohttp.ClientTimeout(total=30),
    ) as session:
        yield session


@pytest.fixture
async def launch(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Launch]:
    """Starts ``serve`` and waits until it listens; ``changes`` go into the catalog."""
    running: list[Gateway] = []

    async def begin(
        *arguments: str,
        changes: Say | None = None,
        environ: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Gateway:
        config = tmp_path / "catalog.yaml"
        config.write_bytes(orjson.dumps(catalog(simulator.url) | dict(changes or {})))
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "serve",
            "--config",
            str(config),
            *arguments,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=clean_environment(tmp_path) | dict(environ or {}),
            start_new_session=True,
        )
        gateway = Gateway(process, tmp_path)
        running.append(gateway)
        if wait:
            gateway.base = await gateway.url()
        return gateway

    yield begin
    for gateway in running:
        await gateway.close()


def chat(model: str, *, stream: bool = False, **more: object) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Say hello."}], **more}


def message(model: str, *, stream: bool = False) -> dict[str, Any]:
    """The body of a message."""
    return {**chat(model, stream=stream), "max_tokens": 1000}


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait for ``condition``; gives the seconds that it took."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - begun


__all__ = [
    "COMMAND",
    "KEY",
    "Gateway",
    "Launch",
    "Process",
    "chat",
    "clean_environment",
    "message",
    "signal",
    "until",
]
