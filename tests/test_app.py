"""The whole server in this process, on a real socket, in front of a simulator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
import pytest
from anthropic import AsyncAnthropic
from google import genai
from google.genai.types import HttpOptions
from openai import AsyncOpenAI

from apipod_proxy.app import Launch, Server, endpoint_maker, proxies_of
from apipod_proxy.catalog.model import Account, PoolSize, Provider
from apipod_proxy.edge.logs import LineWriter
from apipod_proxy.errors import StoreError
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.settings import Settings
from apipod_proxy.simulator import Simulator, start

KEY = "sk-test-0123456789abcdef"
SECRET = "admin-secret"


class Running:
    """A server that listens, and a client of it."""

    def __init__(self, server: Server, base: str, client: aiohttp.ClientSession) -> None:
        self.server = server
        self.base = base
        self.client = client

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        async with self.client.get(self.base + path, headers=headers) as answer:
            return answer.status, await answer.read()

    async def chat(self, key: str = KEY, model: str = "fast") -> int:
        body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
        headers = {"authorization": f"Bearer {key}"}
        async with self.client.post(f"{self.base}/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.read()
            return answer.status


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with await start() as running:
        yield running


@asynccontextmanager
async def serving(folder: Path, simulator: Simulator, **changes: object) -> AsyncIterator[Running]:
    config = folder / "catalog.yaml"
    config.write_bytes(
        orjson.dumps(
            {
                "providers": {"sim": {"type": "simulator", "base_url": simulator.url}},
                "models": {
                    "fast": {"provider": "sim", "upstream_model": "sim-3-0", "context_window": 1000},
                    "hidden": {"provider": "sim"},
                },
                "subscriptions": {"all": {"routes": {"fast": {"targets": [{"model": "fast"}]}}}},
                "users": {"tester": {"subscription": "all", "keys": [{"key": KEY, "name": "test"}]}},
            }
        )
    )
    settings = Settings(
        port=0,
        data_dir=folder,
        database_url=f"sqlite:///{folder / 'proxy.db'}",
        admin_secret=SECRET,
        **changes,  # type: ignore[arg-type]
    )
    lines = LineWriter(os.open(os.devnull, os.O_WRONLY))
    async with Server(Launch(settings, {}, lines, config=config)) as server:
        urls = await server.listen()
        async with aiohttp.ClientSession() as client:
            yield Running(server, urls[0], client)
        await server.stop_listening()
    await asyncio.to_thread(lines.close)


@pytest.fixture
async def running(tmp_path: Path, simulator: Simulator) -> AsyncIterator[Running]:
    async with serving(tmp_path, simulator) as it:
        yield it


async def test_every_sdk_lists_what_its_key_may_ask_for(running: Running) -> None:
    openai = AsyncOpenAI(base_url=f"{running.base}/v1", api_key=KEY)
    assert [model.id async for model in await openai.models.list()] == ["fast"]
    anthropic = AsyncAnthropic(base_url=running.base, api_key=KEY)
    page = await anthropic.models.list()
    assert [(model.id, model.max_input_tokens) for model in page.data] == [("fast", 1000)]
    for version in ("v1", "v1beta"):
        google = genai.Client(
            api_key=KEY, http_options=HttpOptions(base_url=running.base, api_version=version)
        ).aio
        listed = [model async for model in await google.models.list(config={"query_base": True})]
        assert [(model.name, model.input_token_limit) for model in listed] == [("models/fast", 1000)]
        await google.aclose()
    await openai.close()
    await anthropic.close()


async def test_the_list_needs_a_key(running: Running) -> None:
    assert (await running.get("/v1/models"))[0] == 401


async def test_probes_need_no_key_and_know_who_they_are(running: Running) -> None:
    for path in ("/", "/ping", "/health", "/health/live", "/health/ready"):
        assert (await running.get(path))[0] == 200
    async with running.client.head(running.base) as answer:
        assert answer.status == 200
    assert orjson.loads((await running.get("/health"))[1])["service"] == "apipod-smart-proxy"


async def test_figures_name_known_models_only(running: Running) -> None:
    assert await running.chat() == 200
    assert await running.chat(model="made-up") == 404
    _, text = await running.get("/metrics")
    assert b'model="fast"' in text
    assert b"made-up" not in text


async def test_a_key_made_by_an_admin_works_at_once_and_a_revoked_one_no_more(running: Running) -> None:
    headers = {"x-admin-secret": SECRET}
    body = {"name": "fresh", "subscription": "all"}
    async with running.client.post(f"{running.base}/admin/create-key", json=body, headers=headers) as answer:
        assert answer.status == 201
        key = (await answer.json())["api_key"]
    assert await running.chat(key) == 200
    async with running.client.delete(f"{running.base}/admin/keys/{key[:12]}", headers=headers) as answer:
        assert answer.status < 300
    assert await running.chat(key) in (401, 403)


async def test_browsers_of_allowed_origins_may_call(tmp_path: Path, simulator: Simulator) -> None:
    async with serving(tmp_path, simulator, cors_origins=("https://app.example.com",)) as it:
        ask = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
        async with it.client.options(f"{it.base}/v1/chat/completions", headers=ask) as answer:
            assert answer.status == 204
        body = {"model": "fast", "messages": [{"role": "user", "content": "x"}]}
        for key, status in ((KEY, 200), ("wrong", 401)):
            headers = {"origin": "https://app.example.com", "authorization": f"Bearer {key}"}
            async with it.client.post(f"{it.base}/v1/chat/completions", json=body, headers=headers) as answer:
                assert answer.status == status
                assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


async def test_closing_leaves_nothing_behind(tmp_path: Path, simulator: Simulator) -> None:
    before = asyncio.all_tasks()
    async with serving(tmp_path, simulator) as it:
        await it.chat()
        ledger = it.server.ledger
    assert ledger.stored == 1
    await asyncio.sleep(0)
    assert {task.get_name() for task in asyncio.all_tasks() - before} == set()


async def test_a_start_that_fails_midway_closes_what_was_open(tmp_path: Path, simulator: Simulator) -> None:
    before = asyncio.all_tasks()
    (tmp_path / "encryption.key").write_text("no key")
    with pytest.raises(StoreError):
        async with serving(tmp_path, simulator):
            pass
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_health_tells_no_stranger_where_the_database_is(running: Running) -> None:
    await running.server.store.close()
    await running.server.watcher.catch_up()
    status, told = await running.get("/health")
    assert (status, orjson.loads(told)["degraded"]) == (
        200,
        ["the catalog cannot be loaded, the last one serves"],
    )


async def test_a_data_folder_that_cannot_be_used_is_a_mistake_of_the_operator(
    tmp_path: Path, simulator: Simulator
) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(
        OperatorMistake, match=r"DATA_DIR is '.*': .*/spool, .* cannot be made \(File exists\)"
    ):
        async with serving(tmp_path, simulator):
            pass


def test_accounts_do_not_share_connections_and_keep_their_pool() -> None:
    make = endpoint_maker(proxies_of({}))
    provider = Provider("p", "p", "openai", "", (), pool=PoolSize(7, 11.0), options={"ca_file": "/ca.pem"})
    one = make(provider, Account("a", "p", "a"), "https://api.example.com/v1")
    other = make(provider, Account("b", "p", "b"), "https://api.example.com/v1")
    assert one.key != other.key
    assert (one.max_connections, one.keepalive, one.ca_file, one.proxy) == (7, 11.0, "/ca.pem", None)


def test_proxies_come_from_the_environment_in_either_spelling() -> None:
    make = endpoint_maker(
        proxies_of({"https_proxy": "http://proxy:3128", "NO_PROXY": "internal.example.com"})
    )
    provider, account = Provider("p", "p", "openai", "", ()), Account("a", "p", "a")
    through = make(provider, account, "https://api.example.com/v1").proxy
    assert through is not None
    assert through.host == "proxy"
    assert make(provider, account, "https://internal.example.com").proxy is None
