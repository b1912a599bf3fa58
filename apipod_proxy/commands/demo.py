"""``demo``: a gateway that works at once, with a simulator as provider and every provider whose key the environment holds."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from apipod_proxy.app import Launch, Server
from apipod_proxy.auth.keys import new_key
from apipod_proxy.catalog.loader import load
from apipod_proxy.catalog.model import Snapshot
from apipod_proxy.commands.common import facts, loaded
from apipod_proxy.commands.serve import until_stopped, with_logs
from apipod_proxy.edge.logs import LineWriter
from apipod_proxy.edge.notify import ServiceManager
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.preparation import apply_text
from apipod_proxy.settings import Loaded
from apipod_proxy.simulator.run import start as start_simulator
from apipod_proxy.upstream.providers import PROVIDER_TYPES

KEY_FILE = "demo.key"
SIMULATED_MODEL = "sim-20-50"
SIMULATED = (SIMULATED_MODEL, "sim-200-10")
"""What the list of models shows; any other name works as well."""

ALIASES = {"google_ai_studio": ("google_ai_studio", "gemini")}
"""Provider types that people know by another name; all others are reachable as their type's name/MODEL."""

SIMULATOR = "simulator"

OPTION_VARIABLES = {"account_id": "CLOUDFLARE_ACCOUNT_ID"}
"""Where the environment has, by custom, what stands in braces in a type's address."""

ANTIGRAVITY_MODELS = {"claude-sonnet-4-5": 20, "gemini-3-flash": 80}
"""Weights of the route ``cursor-pro-sonnet``."""


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    given = on_sqlite(loaded(arguments, environ))
    key = own_key(given.settings.data_dir / KEY_FILE)
    found = providers_in(given.environment)

    async def main(lines: LineWriter) -> int:
        async with await start_simulator() as simulator:
            text = orjson.dumps(catalog(simulator.url, key, found)).decode()
            async with facts(given) as (store, vault):
                async with store.reading() as session:
                    refuse_other_catalogs((await load(session, vault, strict=False)).snapshot, store.place)
                await apply_text(store, vault, text, "the demo's catalog")
            launch = Launch(given.settings, given.environment, lines)
            return await until_stopped(
                launch, ServiceManager(environ), lambda server, _: say(server, key, found)
            )

    return with_logs(given.settings, main)


def on_sqlite(given: Loaded) -> Loaded:
    """The settings with a SQLite file in the data folder, and with logs for people unless they asked for others."""
    settings = given.settings
    if not settings.database.is_sqlite:
        settings = replace(settings, database_url=f"sqlite:///{settings.data_dir / 'proxy.db'}")
    if "LOG_FORMAT" not in given.environment:
        settings = replace(settings, log_format="text")
    return given._replace(settings=settings)


def refuse_other_catalogs(there: Snapshot, place: str) -> None:
    """Applying the demo's catalog deletes what another file or take-over has made, so that is left alone. Raises OperatorMistake."""
    if (there.providers or there.users) and SIMULATOR not in there.providers:
        raise OperatorMistake(
            f"{place} holds a catalog that is not the demo's; give the demo a folder of its own: DATA_DIR=demo-data apipod-proxy demo"
        )


def own_key(path: Path) -> str:
    """The demo's client key: kept in ``path``, which is this user's alone, and made where there is none."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(f"{new_key(os.urandom)}\n")
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorMistake(
            f"{path} cannot be read or made: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not key:
        raise OperatorMistake(f"{path} is empty; remove it, and the next start makes a new key")
    return key


def providers_in(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The providers whose key ``environment`` holds, and whatever else their address needs, as the catalog has them."""
    found: dict[str, dict[str, Any]] = {}
    for name, kind in PROVIDER_TYPES.items():
        if not (kind.key_variable and kind.base_url and environment.get(kind.key_variable)):
            continue
        needed = {
            option: OPTION_VARIABLES.get(option, "") for option in re.findall(r"{(\w+)}", kind.base_url)
        }
        if not all(environment.get(variable) for variable in needed.values()):
            continue
        found[name] = {"type": name, "api_key": f"${{{kind.key_variable}}}"}
        if needed:
            found[name]["options"] = {option: f"${{{variable}}}" for option, variable in needed.items()}
    if "antigravity" in found and environment.get("ANTIGRAVITY_URL"):
        found["antigravity"]["base_url"] = "${ANTIGRAVITY_URL}"
    return found


def catalog(simulator_url: str, key: str, found: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The demo's catalog: real providers under their names, and the simulator for every other name."""
    providers: dict[str, Any] = {SIMULATOR: {"type": "simulator", "base_url": simulator_url}, **found}
    models: dict[str, Any] = {name: {"provider": SIMULATOR} for name in SIMULATED}
    routes: dict[str, Any] = {
        f"{alias}/*": {"targets": [{"provider": name}]}
        for name in providers
        for alias in ALIASES.get(name, (name,))
    }
    routes |= {name: {"targets": [{"model": name}]} for name in SIMULATED}
    if "antigravity" in found:
        models |= {name: {"provider": "antigravity"} for name in ANTIGRAVITY_MODELS}
        routes |= {name: {"targets": [{"model": name}]} for name in ANTIGRAVITY_MODELS}
        routes["cursor-pro-sonnet"] = {
            "targets": [{"model": name, "weight": weight} for name, weight in ANTIGRAVITY_MODELS.items()]
        }
    routes["*"] = {"targets": [{"provider": SIMULATOR}]}
    return {
        "providers": providers,
        "models": models,
        "subscriptions": {"demo": {"routes": routes}},
        "users": {"demo": {"subscription": "demo", "keys": [{"key": key, "name": "demo"}]}},
    }


def say(server: Server, key: str, found: Mapping[str, object]) -> None:
    """What to paste next."""
    host = server.settings.host
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    print(instructions(f"http://{shown}:{server.ports[0]}", key, found), flush=True)


def instructions(base: str, key: str, found: Mapping[str, object]) -> str:
    """Lines for a terminal; each command works as it stands."""
    names = [alias for name in found for alias in ALIASES.get(name, (name,))]
    real = (
        f"Real providers, from your environment: {', '.join(f'{name}/MODEL' for name in names)}"
        + (", and cursor-pro-sonnet" if "antigravity" in found else "")
        if names
        else "Set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY, … and start again to reach real providers as openai/MODEL, …"
    )
    question = '{"role": "user", "content": "Say hello."}'
    return f"""
apipod-proxy serves on {base}; your key is {key}
Every model name is answered by a simulator ({SIMULATED_MODEL}: 20 events, 50 ms apart). {real}

  curl -N {base}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\
    -d '{{"model": "{SIMULATED_MODEL}", "stream": true, "messages": [{question}]}}'

  curl -N {base}/v1/messages -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \\
    -d '{{"model": "{SIMULATED_MODEL}", "stream": true, "max_tokens": 200, "messages": [{question}]}}'

  curl -N '{base}/v1beta/models/{SIMULATED_MODEL}:streamGenerateContent?alt=sse' -H 'x-goog-api-key: {key}' -H 'content-type: application/json' \\
    -d '{{"contents": [{{"role": "user", "parts": [{{"text": "Say hello."}}]}}]}}'

SDKs: OPENAI_BASE_URL={base}/v1 OPENAI_API_KEY={key}
      ANTHROPIC_BASE_URL={base} ANTHROPIC_API_KEY={key}
Stop with Ctrl-C."""
