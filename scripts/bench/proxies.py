"""The proxies under measurement, each a process of its own on one core."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).parent
PROXY_CORE = 0
BENCH_KEY = "apk_bench-key-of-the-measurements-000000000000"

NGINX = """
worker_processes 1; worker_rlimit_nofile 60000; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.err;
events {{ worker_connections 40000; }}
http {{
  access_log off; keepalive_requests 10000000; client_body_buffer_size 1m; client_max_body_size 64m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=16384;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Authorization "Bearer upstream";
    }}
  }}
}}
"""

CATALOG = """
limits: {{concurrency: 100000}}
providers:
  bench:
    type: openai_compatible
    base_url: http://127.0.0.1:{upstream}
    limits: {{rpm: 100000000}}
    pool: {{max_connections: 20000}}
    accounts:
      - {{name: a, api_key: upstream, weight: 1, limits: {{concurrency: 50000}}}}
models:
{models}
subscriptions:
  bench:
    limits: {{rpm: 100000000}}
    user_limits: {{rpm: 100000000}}
    routes:
{routes}
users:
  bench:
    subscription: bench
    limits: {{rpd: 1000000000}}
    keys: [{{key: {key}, name: bench, limits: {{rpm: 100000000}}}}]
"""

BENCH_MODELS = ("bench-20-0", "bench-50-20", "bench-100-0", "bench-15-1000", "bench-60-1000")
EXAMPLE_LIMITS = "{rpm: 100000000, tpm: 1000000000000, rpd: 1000000000}"


@dataclass(slots=True)
class Proxy:
    name: str
    url: str
    pid: int
    key: str = "none"
    headers: dict[str, str] = field(default_factory=dict)


def count_cores() -> int:
    return len(os.sched_getaffinity(0))


def pin(pid: int, core: int) -> None:
    os.sched_setaffinity(pid, {core})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """Starts the provider, and each proxy as it is asked for; stops them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []

    async def __aenter__(self) -> Self:
        provider = self.start([sys.executable, str(HERE / "upstream.py"), str(self.upstream)], 1 - PROXY_CORE)
        await self.listening(self.upstream, provider)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()

    def start(
        self, command: list[str], core: int | None = PROXY_CORE, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start ``command`` on ``core``; what it prints goes to a file in the folder."""
        log = (self.folder / f"{len(self.processes)}.log").open("wb")
        # On all cores where none is named: who starts it stands on one itself.
        prefix = ["taskset", "-c", f"0-{(os.cpu_count() or 1) - 1}" if core is None else str(core)]
        process = subprocess.Popen(
            [*prefix, *command],
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.processes.append(process)
        return process

    async def listening(self, port: int, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                    except OSError:
                        if process.poll() is not None:
                            raise SystemExit(
                                f"{process.args} stopped at once: {self.printed(process)}"
                            ) from None
                        await asyncio.sleep(0.05)
                    else:
                        writer.close()
                        return
        except TimeoutError:
            raise SystemExit(f"{process.args} does not listen: {self.printed(process)}") from None

    def printed(self, process: subprocess.Popen[bytes]) -> str:
        log = self.folder / f"{self.processes.index(process)}.log"
        return log.read_text(errors="replace")[-2000:]

    def direct(self) -> Proxy:
        return Proxy("direct", f"http://127.0.0.1:{self.upstream}", 0)

    async def nginx(self) -> Proxy:
        if shutil.which("nginx") is None:
            raise SystemExit("nginx is the reference and is not installed: apt-get install nginx-light")
        port = free_port()
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, port=port, upstream=self.upstream))
        process = self.start(["nginx", "-p", str(self.folder), "-c", str(config)])
        await self.listening(port, process)
        return Proxy("nginx", f"http://127.0.0.1:{port}", process.pid)

    async def bare(self) -> Proxy:
        port = free_port()
        process = self.start(
            [sys.executable, str(HERE / "bare.py"), str(port), f"http://127.0.0.1:{self.upstream}"]
        )
        await self.listening(port, process)
        return Proxy("bare", f"http://127.0.0.1:{port}", process.pid)

    async def redis(self) -> str:
        """Several workers share their limits through it."""
        if shutil.which("redis-server") is None:
            raise SystemExit(
                "two workers share their limits in Redis, which is not installed: apt-get install redis-server"
            )
        port = free_port()
        process = self.start(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"], None)
        await self.listening(port, process)
        return f"redis://127.0.0.1:{port}/0"

    async def gateway(self, workers: int = 1) -> Proxy:
        """Every limit of every scope of the documented example set, none of which refuses; metrics, usage and JSON logs on."""
        port = free_port()
        folder = self.folder / f"gateway-{port}"
        folder.mkdir()
        catalog = folder / "catalog.yaml"
        catalog.write_text(
            CATALOG.format(
                upstream=self.upstream,
                key=BENCH_KEY,
                models="\n".join(
                    f"  {m}-served: {{provider: bench, upstream_model: {m}, limits: {EXAMPLE_LIMITS}}}"
                    for m in BENCH_MODELS
                ),
                routes="\n".join(f"      {m}: {{targets: [{{model: {m}-served}}]}}" for m in BENCH_MODELS),
            )
        )
        command = [
            sys.executable,
            "-m",
            "apipod_proxy",
            "serve",
            "--addr",
            f"127.0.0.1:{port}",
            "--config",
            str(catalog),
        ]
        shared: dict[str, str] = {}
        if workers > 1:
            command += ["--workers", str(workers)]
            shared["REDIS_URL"] = await self.redis()
        process = self.start(
            command,
            PROXY_CORE if workers == 1 else None,
            DATA_DIR=str(folder),
            LOG_LEVEL="INFO",
            LOG_FORMAT="json",
            **shared,
        )
        await self.listening(port, process)
        return Proxy("gateway", f"http://127.0.0.1:{port}", process.pid, BENCH_KEY)
