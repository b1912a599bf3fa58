from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apipod_proxy.catalog.model import Account, Provider
from apipod_proxy.commands.check import OPEN, ask_all
from tests.commands.conftest import Run
from tests.fakes.certificates import Authority
from tests.fakes.forward_proxy import ForwardProxy


@pytest.fixture
def provider() -> Iterator[str]:
    """A provider that takes one key; in a thread of its own, because commands bring their own event loop."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    urls: list[str] = []

    async def models(request: web.Request) -> web.Response:
        good = request.headers.get("authorization") == "Bearer good"
        return web.json_response({"data": []}, status=200 if good else 401)

    async def serve() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/v1/models", models)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}")
        ready.set()
        return runner

    def run() -> None:
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(5)
    yield urls[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_every_provider_is_named_with_what_is_wrong(run: Run, provider: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        f"""
providers:
  good: {{type: openai, base_url: "{provider}", api_key: good}}
  pool:
    type: openai
    base_url: "{provider}/v1"
    accounts: [{{name: a, api_key: good}}, {{name: b, api_key: bad}}]
  away: {{type: openai, base_url: "http://127.0.0.1:9", api_key: x}}
  unset: {{type: openai, api_key: "${{NOT_SET}}"}}
"""
    )
    ran = run("check", "--config", "c.yaml")
    assert ran.code == 1
    said = {tuple(line.split()[:2]): line for line in ran.out.splitlines()[4:]}
    assert said["good", "default"].endswith("  ok")
    assert said["pool", "a"].endswith("  ok")
    assert said["pool", "b"].endswith("refuses the key (401)")
    assert "cannot be reached" in said["away", "default"]
    assert " object at " not in said["away", "default"]
    assert "NOT_SET" in said["unset", "default"]


def test_what_apply_would_refuse_is_refused_before_anybody_is_asked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "models: {m: {provider: nope}}\nsubscriptions: {s: {}}\nusers: {u: {subscription: t}}\n"
    )
    new = run("check", "--config", "c.yaml")
    run("keys", "create", "robot", "--subscription", "t")
    there = run("check", "--config", "c.yaml")
    lines = [
        "apipod-proxy: c.yaml: models.m.provider: found 'nope', which there is not; allowed: none yet",
        "apipod-proxy: c.yaml: users.u.subscription: found 't', which there is not; allowed: s",
    ]
    assert (new.code, new.err.splitlines()) == (1, lines)
    assert (there.code, there.err.splitlines()) == (1, lines[:1])
    assert "catalog: ok" not in new.out + there.out


def test_a_database_without_mistakes_is_fine(run: Run, provider: str, tmp_path: Path) -> None:
    assert run("check").out.endswith("no providers\n")
    (tmp_path / "c.yaml").write_text(
        f'providers: {{good: {{type: openai, base_url: "{provider}", api_key: good}}}}'
    )
    run("apply", "c.yaml")
    ran = run("check")
    assert ran.code == 0
    assert ran.out.splitlines()[-1].endswith("ok")


def test_a_key_that_this_encryption_key_does_not_open_is_said_and_goes_nowhere(
    run: Run, provider: str, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(
        f'providers: {{good: {{type: openai, base_url: "{provider}", api_key: good}}}}'
    )
    run("apply", "c.yaml")
    ran = run("check", ENCRYPTION_KEY="A" * 43 + "=")
    assert ran.code == 1
    said = "its key cannot be decrypted: it was not encrypted with this ENCRYPTION_KEY"
    assert ran.out.splitlines()[-1].endswith(said)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_provider_is_asked_on_the_way_that_requests_take(scheme: str, tmp_path: Path) -> None:
    heads = []

    async def models(request: web.Request) -> web.Response:
        heads.append(request.headers)
        return web.json_response({"data": []})

    authority = Authority(tmp_path)
    tls = authority.server_context("provider.example") if scheme == "https" else None
    app = web.Application()
    app.router.add_get("/v1/models", models)
    provider = Provider(
        "p",
        "p",
        "openai",
        f"{scheme}://provider.example",
        (Account("a", "p", "a", "sk-1"),),
        headers={"Authorization": "Bearer own"},
        options={"ca_file": authority.ca_file},
    )
    server = TestServer(app, scheme=scheme)
    await server.start_server(ssl=tls)
    try:
        assert server.port is not None
        async with ForwardProxy(server.port, tls=authority.server_context("127.0.0.1")) as proxy:
            url = f"https://user:s3cret@127.0.0.1:{proxy.port}"
            (asked,) = await ask_all([provider], {}, {f"{scheme}_proxy": url})
    finally:
        await server.close()
    assert asked.said == "ok"
    assert b"proxy-authorization: basic dxnlcjpzm2nyzxq=" in proxy.heads[0].lower()
    (head,) = heads
    assert head.getall("authorization") == ["Bearer own"]
    assert scheme == "http" or "proxy-authorization" not in head


def test_a_proxy_that_is_none_is_one_line_that_shows_no_password(run: Run) -> None:
    ran = run("check", HTTPS_PROXY="socks5://u:s3cret@h:1080")
    assert (ran.code, ran.err) == (
        1,
        "apipod-proxy: HTTPS_PROXY is *** (environment);"
        " allowed: http://[user:password@]host:port, or https:// to the proxy\n",
    )


async def test_what_each_type_can_tell_of_a_key_is_told() -> None:
    """OpenRouter and NVIDIA show their models to anybody; GigaChat takes tokens that are bought with the key."""

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def key(request: web.Request) -> web.Response:
        good = request.headers.get("authorization") == "Bearer good"
        return web.json_response({"data": {}}, status=200 if good else 401)

    async def sell(request: web.Request) -> web.Response:
        if request.headers.get("authorization") != "Basic Z29vZDpzZWNyZXQ=" or "rquid" not in request.headers:
            return web.json_response({"code": 4, "message": "Can't decode"}, status=400)
        assert (await request.post())["scope"] == "GIGACHAT_API_PERS"
        return web.json_response({"access_token": "good", "expires_at": 1})

    async def nothing(request: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_get("/v1/key", key)
    app.router.add_get("/giga/v1/models", key)
    app.router.add_post("/oauth", sell)
    app.router.add_post("/nothing", nothing)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")

        def provider(kind: str, key: str, base: str = "", auth: str = "oauth") -> Provider:
            options = {"auth_url": f"{url}/{auth}"} if kind == "gigachat" else {}
            account = Account(f"{kind}-{key}-{auth}", "p", "a", key)
            return Provider("p", "p", kind, f"{url}{base}", (account,), options=options)

        asked = await ask_all(
            [
                provider("openrouter", "good"),
                provider("openrouter", "bad"),
                provider("nvidia_nim", "bad"),
                provider("gigachat", "good:secret", "/giga/v1"),
                provider("gigachat", "bad:secret", "/giga/v1"),
                provider("gigachat", "good:secret", "/giga/v1", "nothing"),
            ],
            {},
            {},
        )
    assert [one.said for one in asked] == [
        "ok",
        "refuses the key (401)",
        OPEN,
        "ok",
        "refuses the key (400)",
        "gives no token (200)",
    ]
    assert [one.well for one in asked] == [True, False, True, True, False, False]
