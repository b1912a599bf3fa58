"""Configurations of other gateways, served: their clients keep their keys."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import asyncpg
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apipod_proxy.simulator import Simulator
from tests.catalog.takeover import older
from tests.catalog.takeover.test_credentials import KEY as SEAL
from tests.catalog.takeover.test_credentials import seal
from tests.serve.conftest import COMMAND, Gateway, Launch, chat, clean_environment

Command = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs a command to its end; gives the lines that it printed."""

    async def run(*arguments: str, **environment: str) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
            env=clean_environment(tmp_path) | environment,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode().splitlines()

    return run


async def answer(gateway: Gateway, key: str, model: str) -> tuple[int, str]:
    """The status, and the provider that answered."""
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as client,
        client.post(f"{gateway.base}/v1/chat/completions", json=chat(model)) as response,
    ):
        if response.status == 200:
            assert (await response.json())["choices"][0]["message"]["content"]
        return response.status, response.headers.get("x-apipod-provider", "")


async def test_ai_proxys_file_is_served_as_it_is(
    launch: Launch, simulator: Simulator, tmp_path: Path
) -> None:
    config = tmp_path / "provider-config.yaml"
    config.write_text(f"""
models:
  - name: mine/sim-3-0
    provider: mine
    priority: 2
    requests_per_minute: 30
    url: {simulator.url}/v1/chat/completions
    token: upstream-key
    max_request_length: 8000
    model_size: SMALL
  - name: first/sim-3-0
    provider: openai
    priority: 1
    url: {simulator.url}/v1/chat/completions
    token: k
    max_request_length: 9
    model_size: SMALL
""")
    gateway = await launch(
        "-config", str(config), environ={"AUTH_TOKEN": "token-of-all", "RETRY_MAX_RETRIES": "1"}
    )
    taken = [line["message"] for line in gateway.log if "taken over" in line["message"]]
    assert taken == [f"taken over from ai-proxy's configuration {config}: 2 providers, 2 models, 1 user"]
    assert await answer(gateway, "token-of-all", "mine/sim-3-0") == (200, "mine")
    # The one of the better priority takes nine bytes.
    assert await answer(gateway, "token-of-all", "SMALL") == (200, "mine")
    assert await answer(gateway, "another", "SMALL") == (401, "")


@pytest.mark.parametrize("sealed", [False, True])
async def test_the_api_routers_files_are_served_as_they_are(
    launch: Launch, simulator: Simulator, tmp_path: Path, sealed: bool
) -> None:
    config = tmp_path / "models.json"
    models = [{"vendor": "own", "model": "sim-3-0"}, {"vendor": "gemini", "model": "sim-2-0"}]
    vendors = {"own": f"{simulator.url}/v1", "gemini": f"{simulator.url}/v1beta/openai"}
    config.write_bytes(orjson.dumps({"vendors": vendors, "models": models}))
    text = '[{"platform": "own", "type": "api-key", "value": "a"}, {"platform": "gemini", "type": "api-key", "value": "b"}]'
    (tmp_path / "credentials.json").write_text(seal(text) if sealed else text)
    environ = {"AUTH_TOKEN": "token-of-all", **({"CONFIG_ENCRYPTION_KEY": SEAL} if sealed else {})}
    gateway = await launch("--config", str(config), environ=environ)
    found = {await answer(gateway, "token-of-all", "whatever") for _ in range(24)}
    assert found == {(200, "own"), (200, "gemini")}
    assert await answer(gateway, "token-of-all", "own/sim-3-0") == (200, "own")


async def test_addresses_without_a_version_are_used_as_they_are(
    launch: Launch, command: Command, tmp_path: Path
) -> None:
    async def complete(request: web.Request) -> web.Response:
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        return web.json_response({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]})

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    app = web.Application()
    app.router.add_post("/inference/chat/completions", complete)
    app.router.add_get("/inference/models", models)
    async with TestServer(app) as server:
        config = tmp_path / "models.json"
        vendors = {"own": str(server.make_url("/inference"))}
        models_json = {"vendors": vendors, "models": [{"vendor": "own", "model": "m"}]}
        config.write_bytes(orjson.dumps(models_json))
        (tmp_path / "credentials.json").write_text('[{"platform": "own", "value": "a"}]')
        checked = await command("check", "--config", str(config))
        assert any(line.startswith("taken over from the API router's") for line in checked)
        assert checked[-1].split()[0] == "own"
        assert checked[-1].endswith("/inference/models  ok")
        gateway = await launch("--config", str(config), environ={"AUTH_TOKEN": "token-of-all"})
        assert await answer(gateway, "token-of-all", "m") == (200, "own")


async def test_a_first_generation_file_is_taken_over(
    launch: Launch, command: Command, simulator: Simulator, tmp_path: Path
) -> None:
    old = tmp_path / "old.db"

    def make() -> bytes:
        connection = sqlite3.connect(old)
        connection.executescript(older.FIRST)
        connection.close()
        return old.read_bytes()

    before = await asyncio.to_thread(make)
    environ = {"ANTIGRAVITY_URL": simulator.url, "ANTIGRAVITY_KEY": "ag"}
    lines = await command("apply", "--from", str(old), **environ)
    assert lines[0] == f"taken over from the first generation's database {old}: 1 provider, 2 models, 4 users"
    assert old.read_bytes() == before
    gateway = await exported(launch, command, tmp_path, **environ)
    assert await answer(gateway, older.FIRST_KEY, "sim-3-0") == (200, "antigravity")
    assert [(await answer(gateway, key, "sim-3-0"))[0] for key in ("apk_off", "apk_late", "apk_no")] == [
        403,
        403,
        401,
    ]


async def test_a_third_generation_database_is_taken_over_and_left_as_it_is(
    launch: Launch,
    command: Command,
    simulator: Simulator,
    tmp_path: Path,
    postgres_url: str,
    postgres_schema: str,
) -> None:
    statements = (
        older.third(simulator.url).replace("'claude-sonnet-4-5'", "'sim-3-0'").replace("80, 99", "0, 99")
    )
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute(
            f'CREATE SCHEMA "{postgres_schema}"; SET search_path TO "{postgres_schema}"; {statements}'
        )
        before = await connection.fetch("SELECT * FROM api_keys ORDER BY id")
        lines = await command("apply", "--from", f"{postgres_url}?search_path={postgres_schema}")
        assert lines[0].endswith("4 providers, 3 models, 10 users")
        again = await command("apply", "--from", f"{postgres_url}?search_path={postgres_schema}")
        assert again[-1] == "nothing changed"
        assert await connection.fetch("SELECT * FROM api_keys ORDER BY id") == before
        tables = await connection.fetchval(
            "SELECT count(*) FROM pg_tables WHERE schemaname = $1", postgres_schema
        )
        assert tables == 10
    finally:
        await connection.close()
    gateway = await exported(launch, command, tmp_path)
    assert await answer(gateway, older.HASHED_KEY, "sim-3-0") == (200, "Pool")
    assert await answer(gateway, older.TOKEN, "any-name") == (200, "Pool")
    assert [(await answer(gateway, key, "sim-3-0"))[0] for key in ("off", "spent", "sk-off", "sk-late")] == [
        403
    ] * 4


async def exported(launch: Launch, command: Command, folder: Path, **environ: str) -> Gateway:
    """What was taken over, served from the catalog file that it makes."""
    await command("export", "--output", "taken.yaml", **environ)
    return await launch("--config", str(folder / "taken.yaml"), environ=environ)
