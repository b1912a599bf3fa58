"""Fetching in a hostile network: nothing that a client names leads to the local one, and what is fetched is bounded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from apipod_proxy.upstream.dns import Address, Lookup
from apipod_proxy.upstream.hosts import Unfetchable, read_url
from apipod_proxy.upstream.media import (
    Fetched,
    MediaCache,
    MediaFetcher,
    Pinned,
    checked_headers,
    guarded_socket,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Canary:
    """Listens on loopback, and counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    bird = Canary()
    async with await asyncio.start_server(bird.hear, "127.0.0.1", 0) as first:
        bird.port = first.sockets[0].getsockname()[1]
        async with await asyncio.start_server(bird.hear, "::1", bird.port):
            yield bird


def resolving(*addresses: str) -> Lookup:
    async def lookup(host: str, port: int) -> list[Address]:
        return [
            Address(socket.AF_INET6, (one, port, 0, 0))
            if ":" in one
            else Address(socket.AF_INET, (one, port))
            for one in addresses
        ]

    return lookup


def fetcher(lookup: Lookup | None = None, **more: Any) -> MediaFetcher:
    """One for whom every name is that of the local machine."""
    lookup = lookup or resolving("127.0.0.1")
    return MediaFetcher("test", asyncio.get_running_loop().time, lookup=lookup, **more)


HOSTILE = [
    # Plain and disguised loopback
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.255.255.254:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://00000177.0.0.01:{port}/",
    "http://017700000001:{port}/",
    "http://127.0.0.0x1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://１２７.0.0.1:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127%2e0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    # Names of the local machine and network
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://a.localhost:{port}/",
    "http://localhost.localdomain:{port}/",
    "http://ip6-localhost:{port}/",
    "http://metadata:{port}/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://printer.local:{port}/",
    "http://router.home.arpa:{port}/",
    # A public-looking name that resolves to loopback, as 127.0.0.1.nip.io does
    "http://127.0.0.1.nip.io:{port}/",
    "http://localtest.me:{port}/",
    # IPv6, and IPv4 within it
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[fe80::1]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    # Private, link-local, shared and metadata ranges
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xA9FEA9FE/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://0251.0376.0251.0376/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    # What two parsers read differently
    "http://pics.org@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@pics.org/",
    "http://pics.org:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@pics.org/",
    "http://pics.org\\.127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@pics.org/",
    "http://127.0.0.1:{port}?@pics.org/",
    "http://[::1]pics.org:{port}/",
    "http://pics.org:{port}:80/",
    "http:// 127.0.0.1:{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1:{port}/\r\nHost: x",
    "http://127.0.0.1:{port}/\x00",
    # Other schemes and ports
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/",
    "gopher://127.0.0.1:{port}/_GET",
    "dict://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
    "//127.0.0.1:{port}/",
    "http://8.8.8.8:22/",
    "http://8.8.8.8:25/",
    "http://8.8.8.8:0/",
    "http://8.8.8.8:65536/",
]


@pytest.mark.parametrize("form", HOSTILE)
async def test_no_hostile_url_reaches_the_local_network(canary: Canary, form: str) -> None:
    with pytest.raises(Unfetchable):
        await fetcher().fetch(form.replace("{port}", str(canary.port)))
    assert canary.visits == 0


async def test_the_canary_sings(canary: Canary) -> None:
    for host in ("127.0.0.1", "[::1]", "pics.org"):
        origin = f"http://{host}:{canary.port}"
        assert (await fetcher(trusted=frozenset({origin})).fetch(f"{origin}/")).data == b"secret"
    assert canary.visits == 3


@pytest.mark.parametrize(
    "addresses",
    [("8.8.8.8", "127.0.0.1"), ("2606:4700::1", "::1"), ("::ffff:127.0.0.1",), ("127.0.0.1%lo",), ()],
)
async def test_a_name_with_one_closed_address_is_refused(canary: Canary, addresses: tuple[str, ...]) -> None:
    with pytest.raises(Unfetchable):
        await fetcher(resolving(*addresses)).fetch(f"http://pics.org:{canary.port}/")
    assert canary.visits == 0


async def test_a_name_is_asked_for_once_so_that_it_cannot_change_its_mind(canary: Canary) -> None:
    asked = []

    async def rebinding(host: str, port: int) -> list[Address]:
        asked.append(host)
        return [Address(socket.AF_INET, ("240.0.0.1" if len(asked) > 1 else "192.0.2.1", port))]

    with pytest.raises(Unfetchable):
        await fetcher(rebinding).fetch(f"http://pics.org:{canary.port}/")
    assert asked == ["pics.org"]


async def test_a_name_that_is_not_known_is_refused() -> None:
    async def nobody(host: str, port: int) -> list[Address]:
        raise OSError("no such name")

    with pytest.raises(Unfetchable, match="no address"):
        await fetcher(nobody).fetch("http://pics.org/")


async def test_only_judged_addresses_have_sockets() -> None:
    url = read_url("http://pics.org/")
    pinned = [(socket.AF_INET, "8.8.8.8")]
    assert (await Pinned(url, pinned).resolve("Pics.org.", 80))[0]["host"] == "8.8.8.8"
    with pytest.raises(OSError):
        await Pinned(url, pinned).resolve("other.org", 80)
    info = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    with pytest.raises(OSError):
        guarded_socket((*info, ("127.0.0.1", 80)), pinned)
    guarded_socket((*info, ("8.8.8.8", 80)), pinned).close()


# What is fetched


Site = Callable[..., Awaitable[str]]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """``site(handler)`` → the origin of a server that answers everything with it."""
    runners: list[web.AppRunner] = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application()
        app.router.add_get("/{path:.*}", handler)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_a_file_is_fetched_once_and_its_type_is_that_of_its_bytes(site: Site) -> None:
    seen: list[web.Request] = []

    async def picture(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=PNG, content_type="text/html", headers={"set-cookie": "a=b"})

    origin = await site(picture)
    media = fetcher(trusted=frozenset({origin}))
    for _ in range(2):
        assert await media.fetch(f"{origin}/a%20b?c=%2F") == Fetched(PNG, "image/png")
    assert [one.raw_path for one in seen] == ["/a%20b?c=%2F"]
    assert seen[0].headers["accept-encoding"] == "identity"
    for _ in range(2):
        await media.fetch(f"{origin}/a", {"authorization": "Bearer file"})
    assert len(seen) == 3
    assert seen[-1].headers["authorization"] == "Bearer file"
    assert "cookie" not in seen[-1].headers


async def test_redirects_are_followed_and_credentials_stay_with_their_origin(site: Site) -> None:
    heard: list[tuple[str, str | None]] = []

    async def last(request: web.Request) -> web.Response:
        heard.append((request.path, request.headers.get("x-key")))
        return web.Response(body=PNG)

    other = await site(last)

    async def first(request: web.Request) -> web.Response:
        heard.append((request.path, request.headers.get("x-key")))
        raise web.HTTPFound("/b" if request.path == "/a" else f"{other}/c")

    origin = await site(first)
    media = fetcher(trusted=frozenset({origin, other}))
    assert (await media.fetch(f"{origin}/a", {"x-key": "secret"})).media_type == "image/png"
    assert heard == [("/a", "secret"), ("/b", "secret"), ("/c", None)]


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/", "//localhost:{port}/", "http://[::1]:{port}/"]
)
async def test_a_redirect_does_not_lead_into_the_local_network(
    site: Site, canary: Canary, target: str
) -> None:
    async def trap(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"location": target.replace("{port}", str(canary.port))})

    origin = await site(trap)
    with pytest.raises(Unfetchable):
        await fetcher(trusted=frozenset({origin})).fetch(f"{origin}/")
    assert canary.visits == 0


async def test_what_a_file_may_take_is_bounded(site: Site) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        what = request.match_info["path"]
        if what == "round":
            raise web.HTTPFound("/round")
        if what == "slow":
            await asyncio.sleep(10)
        if what == "packed":
            return web.Response(body=b"xx", headers={"content-encoding": "gzip"})
        if what == "told":
            return web.Response(body=bytes(2000))
        stream = web.StreamResponse()
        await stream.prepare(request)
        for _ in range(20 if what == "long" else 0):
            await stream.write(bytes(100))
        return stream

    origin = await site(answer)
    media = fetcher(trusted=frozenset({origin}), largest=1000, seconds=0.3)
    for path, why in {
        "round": "more than 3 times",
        "slow": "within 0.3 s",
        "packed": "compressed",
        "told": "larger than",
        "long": "larger than",
        "empty": "empty",
    }.items():
        with pytest.raises(Unfetchable, match=why):
            await media.fetch(f"{origin}/{path}")


async def test_an_error_is_told_by_its_status_and_nobody_by_a_sentence(site: Site) -> None:
    async def gone(request: web.Request) -> web.Response:
        return web.Response(status=404, text="a secret page")

    origin = await site(gone)
    closed = "http://127.0.0.1:9"
    media = fetcher(trusted=frozenset({origin, closed}))
    with pytest.raises(Unfetchable, match=r"^Its server answered with status 404\.$"):
        await media.fetch(f"{origin}/")
    with pytest.raises(Unfetchable, match="could not be reached"):
        await media.fetch(f"{closed}/")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "x"},
        {"proxy-authorization": "x"},
        {"a b": "x"},
        {"": "x"},
        {"x": "a\r\nb: c"},
        {"x": "ü"},
        {f"x-{n}": "y" for n in range(21)},
        {"x": "y" * 9000},
    ],
)
def test_headers_that_no_client_may_set_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(Unfetchable):
        checked_headers(headers)


def test_the_cache_forgets_the_oldest_and_the_stale() -> None:
    now = [0.0]
    cache = MediaCache(lambda: now[0], most=100, seconds=10)
    for name in "ab":
        cache.put(name, Fetched(bytes(40), name))
    assert cache.get("a") is not None
    cache.put("c", Fetched(bytes(40), "c"))
    assert cache.get("b") is None and cache.get("a") is not None
    cache.put("c", Fetched(bytes(20), "new"))
    assert cache.size == 60
    cache.put("huge", Fetched(bytes(101), "huge"))
    assert cache.size == 0
    cache.put("a", Fetched(b"1", "a"))
    now[0] = 10.0
    assert cache.get("a") is None and cache.size == 0
