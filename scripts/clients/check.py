"""Real coding agents through the gateway: each completes a task with a tool on upstreams of other dialects, one request a turn.

Claude Code, Codex and Gemini CLI are installed from npm into a cache folder. They hide faults of a stream by asking again, so the requests
that the provider (the simulator) saw are counted.

    scripts/clients/check [claude] [codex] [gemini]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from apipod_proxy.simulator import Simulator, start

HOME = Path.home() / ".cache" / "apipod-clients"
PACKAGES = {"@anthropic-ai/claude-code": "*", "@google/gemini-cli": "*", "@openai/codex": "*"}
KEY = "apk_clients-check"
PATCH = "*** Begin Patch\n*** Add File: made.txt\n+hello-from-the-patch\n*** End Patch\n"
PATCH_MODEL = "gpt-5.5"
"""Codex offers its custom tool only to models that it knows by name."""

TYPES = {"chat": "openai_compatible", "messages": "anthropic", "gemini": "google_ai_studio"}
UPSTREAM_PATHS = {"chat": "/chat/completions", "messages": "/messages", "gemini": "GenerateContent"}


@dataclass(slots=True)
class Case:
    """``requests`` is how many completions the task takes: one with the tool call, one with its result."""

    name: str
    upstream: str
    expected: str
    requests: int
    code: int = -1
    seen: int = -1
    output: str = ""
    paths: str = ""

    @property
    def passed(self) -> bool:
        return self.code == 0 and self.seen == self.requests and self.expected in self.output


def install() -> Path:
    if shutil.which("npm") is None:
        raise SystemExit("Node.js and npm are needed: apt-get install nodejs npm")
    if not (HOME / "node_modules" / ".bin" / "claude").exists():
        HOME.mkdir(parents=True, exist_ok=True)
        (HOME / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
        print("installing the clients …", file=sys.stderr)
        code = os.spawnvp(
            os.P_WAIT, "npm", ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(HOME)]
        )
        if code:
            raise SystemExit("npm could not install the clients")
    return HOME / "node_modules" / ".bin"


def catalog(simulator: Simulator, upstream: str) -> dict[str, Any]:
    return {
        "models": {PATCH_MODEL: {"provider": upstream}},
        "providers": {
            name: {"type": kind, "base_url": simulator.url, "api_key": f"up-{name}"}
            for name, kind in TYPES.items()
        },
        "subscriptions": {
            "all": {
                "routes": {PATCH_MODEL: {"targets": [{"model": PATCH_MODEL}]}}
                | {f"{name}-*": {"targets": [{"provider": name}]} for name in TYPES},
            }
        },
        "users": {"agent": {"subscription": "all", "keys": [{"key": KEY, "name": "check"}]}},
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    def __init__(self, process: asyncio.subprocess.Process, base: str) -> None:
        self.process = process
        self.base = base

    @classmethod
    async def begin(cls, folder: Path, simulator: Simulator, upstream: str) -> Gateway:
        config = folder / "catalog.yaml"
        config.write_bytes(orjson.dumps(catalog(simulator, upstream)))
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "apipod_proxy", "serve", "--addr", f"127.0.0.1:{port}", "--config", str(config)),
            env={**os.environ, "DATA_DIR": str(folder / "data")},
            stderr=(folder / "gateway.log").open("wb"),
        )
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return cls(process, f"http://127.0.0.1:{port}")
        raise SystemExit((folder / "gateway.log").read_text())

    async def end(self) -> None:
        self.process.terminate()
        await self.process.wait()


async def execute(case: Case, command: list[str], environ: dict[str, str], folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **environ, "HOME": str(folder)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(90):
            output, _ = await process.communicate()
        case.code = process.returncode or 0
    except TimeoutError:
        process.kill()
        output = b"it did not end in 90 s"
    case.output = output.decode(errors="replace")


async def claude(case: Case, bin_folder: Path, base: str, folder: Path) -> None:
    environ = {
        "ANTHROPIC_BASE_URL": base,
        "ANTHROPIC_AUTH_TOKEN": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CONFIG_DIR": str(folder / "claude"),
    }
    command = [
        str(bin_folder / "claude"),
        "-p",
        "run echo hello-from-the-tool",
        "--allowedTools",
        "Bash",
        "--model",
        f"{case.upstream}-x",
    ]
    await execute(case, command, environ, folder)


async def gemini(case: Case, bin_folder: Path, base: str, folder: Path) -> None:
    settings = folder / ".gemini" / "settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        json.dumps(
            {
                "security": {"auth": {"selectedType": "gemini-api-key"}},
                "privacy": {"usageStatisticsEnabled": False},
                "general": {"disableAutoUpdate": True},
            }
        )
    )
    environ = {"GOOGLE_GEMINI_BASE_URL": base, "GEMINI_API_KEY": KEY, "GEMINI_CLI_TRUST_WORKSPACE": "true"}
    command = [
        str(bin_folder / "gemini"),
        "-m",
        f"{case.upstream}-x",
        "-y",
        "-p",
        "run echo hello-from-the-tool",
    ]
    await execute(case, command, environ, folder)


CODEX = """
model = "{model}"
model_provider = "gateway"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
[otel]
metrics_exporter = "none"
[model_providers.gateway]
name = "Gateway"
base_url = "{base}/v1"
env_key = "GATEWAY_KEY"
wire_api = "responses"
request_max_retries = 2
stream_max_retries = 1
"""


async def codex(case: Case, bin_folder: Path, base: str, folder: Path) -> None:
    home = folder / "codex"
    home.mkdir(exist_ok=True)
    patching = case.name == "codex patch"
    model = PATCH_MODEL if patching else f"{case.upstream}-x"
    (home / "config.toml").write_text(CODEX.format(model=model, base=base))
    task = "use apply_patch " + json.dumps({"input": PATCH}) if patching else "run echo hello-from-the-tool"
    command = [
        str(bin_folder / "codex"),
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        task,
    ]
    await execute(case, command, {"CODEX_HOME": str(home), "GATEWAY_KEY": KEY}, folder)
    made = folder / "made.txt"
    if patching and made.exists():
        case.output += "\nthe file: " + made.read_text()


RUNNERS = {"claude": claude, "gemini": gemini, "codex": codex}
CASES = (
    Case("claude", "chat", "hello-from-the-tool", 2),
    Case("claude", "gemini", "hello-from-the-tool", 2),
    Case("gemini", "messages", "hello-from-the-tool", 2),
    Case("gemini", "chat", "hello-from-the-tool", 2),
    Case("codex", "messages", "hello-from-the-tool", 2),
    Case("codex", "chat", "hello-from-the-tool", 2),
    Case("codex patch", "messages", "the file: hello-from-the-patch", 2),
    Case("codex patch", "chat", "the file: hello-from-the-patch", 2),
)


async def run(names: list[str], verbose: bool) -> bool:
    bin_folder = install()
    cases = [case for case in CASES if not names or case.name.split()[0] in names]
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="apipod-clients-", ignore_cleanup_errors=True) as made:
            folder = Path(made)
            async with await start() as simulator:
                gateway = await Gateway.begin(folder, simulator, case.upstream)
                try:
                    await RUNNERS[case.name.split()[0]](case, bin_folder, gateway.base, folder)
                finally:
                    await gateway.end()
                asked = [request.path for request in simulator.requests if request.method == "POST"]
                completions = [
                    path
                    for path in asked
                    if UPSTREAM_PATHS[case.upstream].lower() in path.lower() and "count" not in path
                ]
                case.seen = len(completions)
                case.paths = " ".join(asked)
                if verbose or not case.passed:
                    print(
                        case.output[-1500:],
                        (folder / "gateway.log").read_text()[-3000:],
                        sep="\n",
                        file=sys.stderr,
                    )
    print(f"{'client':<12} {'upstream speaks':<16} {'requests':>8} {'expected':>8}  result")
    for case in cases:
        result = (
            "done"
            if case.passed
            else f"FAILED (exit {case.code}): {re.sub(chr(10), ' ', case.output)[-120:]}"
        )
        print(f"{case.name:<12} {case.upstream:<16} {case.seen:>8} {case.requests:>8}  {result}")
    return all(case.passed for case in cases)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clients", nargs="*", help=f"only these: {', '.join(RUNNERS)}")
    parser.add_argument(
        "--verbose", action="store_true", help="show what each client printed and what the gateway logged"
    )
    options = parser.parse_args()
    raise SystemExit(0 if asyncio.run(run(options.clients, options.verbose)) else 1)


if __name__ == "__main__":
    main()
