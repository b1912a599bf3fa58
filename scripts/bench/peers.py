"""Other gateways, each installed into an environment of its own and set up to forward to the same provider."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from proxies import Proxy, Stage, free_port

PEERS = ("vllm-router", "litellm", "portkey")
HOME = Path.home() / ".cache" / "apipod-bench"
"""Installing them takes minutes and gigabytes, so they are kept."""

LITELLM_KEY = "sk-bench-key-of-the-measurements-0000"
"""It does not start without one."""

PORTKEY = {
    "dependencies": {"@portkey-ai/gateway": "1.15.2"},
    "overrides": {"@hono/node-server": "1.13.5", "hono": "4.9.7"},
}
"""1.15.2 streams only with these versions of its server."""


async def peer(name: str, stage: Stage) -> Proxy:
    port = free_port()
    if name == "vllm-router":
        return await vllm_router(stage, port)
    if name == "litellm":
        return await litellm(stage, port)
    return await portkey(stage, port)


def environment(name: str, *packages: str) -> Path:
    """The ``bin`` folder of a virtual environment that holds ``packages``."""
    home = HOME / name
    if not (home / "done").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([home / "bin" / "pip", "install", "-q", *packages], check=True, stdout=sys.stderr)
        (home / "done").touch()
    return home / "bin"


async def vllm_router(stage: Stage, port: int) -> Proxy:
    bin_folder = environment("vllm-router", "vllm-router")
    upstream = f"http://127.0.0.1:{stage.upstream}"
    process = stage.start(
        [
            str(bin_folder / "vllm-router"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--worker-urls",
            upstream,
            "--policy",
            "round_robin",
        ]
    )
    await stage.listening(port, process)
    return Proxy("vllm-router", f"http://127.0.0.1:{port}", process.pid)


async def litellm(stage: Stage, port: int) -> Proxy:
    bin_folder = environment("litellm", "litellm[proxy]")
    config = stage.folder / "litellm.json"
    parameters = {
        "model": "openai/*",
        "api_base": f"http://127.0.0.1:{stage.upstream}/v1",
        "api_key": "upstream",
    }
    config.write_text(json.dumps({"model_list": [{"model_name": "*", "litellm_params": parameters}]}))
    process = stage.start(
        [str(bin_folder / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)],
        LITELLM_MASTER_KEY=LITELLM_KEY,
    )
    await stage.listening(port, process, 120)
    return Proxy("litellm", f"http://127.0.0.1:{port}", process.pid, LITELLM_KEY)


async def portkey(stage: Stage, port: int) -> Proxy:
    home = HOME / "portkey"
    if shutil.which("npm") is None:
        raise SystemExit("portkey needs Node.js and npm: apt-get install nodejs npm")
    if not (home / "done").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text(json.dumps(PORTKEY))
        subprocess.run(["npm", "install", "--silent"], cwd=home, check=True, stdout=sys.stderr)
        (home / "done").touch()
    server = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    process = stage.start(["node", str(server), f"--port={port}"])
    await stage.listening(port, process)
    to_provider = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{stage.upstream}/v1",
    }
    return Proxy("portkey", f"http://127.0.0.1:{port}", process.pid, headers=to_provider)
