"""Against a fake that sells tokens, on a real socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apipod_proxy.catalog.model import Account, Provider
from apipod_proxy.errors import Kind, Unreachable, UpstreamBroken, UpstreamStatus
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.oauth import OAuth, Tokens, basic, read_token
from apipod_proxy.upstream.pool import Pool

ACCOUNT = Account("a-1", "giga", "default", "id:secret")


class Shop:
    """Sells tokens that last for ``lasts`` seconds after ``now``."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lasts = 1800.0
        self.status = 200
        self.scopes: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def sell(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.scopes += parse_qs(await request.text())["scope"]
        if self.status != 200:
            return web.json_response(
                {"code": 6, "message": "credentials doesn't match db data"}, status=self.status
            )
        ends = round((self.now + self.lasts) * 1000)
        return web.json_response({"access_token": f"t{len(self.scopes)}", "expires_at": ends})

    @property
    def oauth(self) -> OAuth:
        return OAuth(f"{self.url}/api/v2/oauth", "PERS")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    app = web.Application()
    app.router.add_post("/api/v2/oauth", shop.sell)
    async with TestServer(app) as server:
        shop.url = str(server.make_url("")).rstrip("/")
        yield shop


@pytest.fixture
async def tokens(shop: Shop) -> AsyncIterator[Tokens]:
    pool = Pool()
    yield Tokens(pool, lambda provider, account, url: Endpoint.of_url(url), lambda: shop.now, lambda: "u-1")
    await pool.close()


def provider(**options: str) -> Provider:
    return Provider("p-1", "giga", "gigachat", "", (ACCOUNT,), options=options)


async def test_many_who_ask_at_once_share_one_token(shop: Shop, tokens: Tokens) -> None:
    got = await asyncio.gather(*(tokens.ensure(shop.oauth, provider(), ACCOUNT) for _ in range(20)))
    assert {token.header for token in got} == {b"authorization: Bearer t1\r\n"}
    assert shop.scopes == ["PERS"]
    assert shop.headers[0]["authorization"] == "Basic " + base64.b64encode(b"id:secret").decode()
    assert shop.headers[0]["rquid"] == "u-1"


async def test_a_token_is_replaced_a_minute_before_it_ends(shop: Shop, tokens: Tokens) -> None:
    first = await tokens.ensure(shop.oauth, provider(), ACCOUNT)
    shop.now += shop.lasts - 61
    assert await tokens.ensure(shop.oauth, provider(), ACCOUNT) is first
    shop.now += 1
    assert (await tokens.ensure(shop.oauth, provider(), ACCOUNT)).header == b"authorization: Bearer t2\r\n"


async def test_only_the_token_that_was_refused_is_forgotten(shop: Shop, tokens: Tokens) -> None:
    first = await tokens.ensure(shop.oauth, provider(), ACCOUNT)
    tokens.forget(ACCOUNT, first)
    second = await tokens.ensure(shop.oauth, provider(), ACCOUNT)
    tokens.forget(ACCOUNT, first)
    assert tokens.held(ACCOUNT) is second


async def test_another_key_buys_another_token(shop: Shop, tokens: Tokens) -> None:
    await tokens.ensure(shop.oauth, provider(), ACCOUNT)
    other = Account("a-1", "giga", "default", "other")
    await tokens.ensure(shop.oauth, provider(scope="CORP"), other)
    assert shop.scopes == ["PERS", "CORP"]
    assert shop.headers[1]["authorization"] == "Basic other"


async def test_a_refused_credential_and_a_broken_shop_are_told_apart(shop: Shop, tokens: Tokens) -> None:
    for status, kind in ((401, Kind.AUTHENTICATION), (400, Kind.AUTHENTICATION), (503, Kind.UPSTREAM)):
        shop.status = status
        with pytest.raises(UpstreamStatus) as caught:
            await tokens.ensure(shop.oauth, provider(), ACCOUNT)
        assert caught.value.kind is kind


async def test_a_shop_that_is_away_is_unreachable(tokens: Tokens, unused_tcp_port: int) -> None:
    away = provider(auth_url=f"http://127.0.0.1:{unused_tcp_port}/x")
    with pytest.raises(Unreachable):
        await tokens.ensure(OAuth("", "PERS"), away, ACCOUNT)


def test_the_end_of_a_token_may_be_a_time_or_a_duration() -> None:
    assert read_token("k", b'{"access_token": "t", "expires_at": 5000}', 1.0).ends_at == 5
    assert read_token("k", b'{"access_token": "t", "expires_in": 60}', 1.0).ends_at == 61
    assert basic("bGlrZSB0aGlz") == "bGlrZSB0aGlz"
    for body in (b"{}", b"[]", b"<html>", b'{"access_token": 5}', b'{"access_token": "a\\nb"}'):
        with pytest.raises(UpstreamBroken):
            read_token("k", body, 1.0)
