"""Files by URL through a whole server: what a provider cannot load is fetched, what it can is left alone."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import openai
import orjson
import pytest
from aiohttp import web

from apipod_proxy.simulator import Simulator, start
from apipod_proxy.simulator.others import PNG
from tests.gateway.conftest import KEY, Rig, Serve, serve

__all__ = ["serve"]

PDF = b"%PDF-1.4 tiny"
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(40)
FILES = {
    "a.png": base64.b64decode(PNG),
    "a.pdf": PDF,
    "a.wav": WAV,
    "a.txt": b"Hello file",
    "a.bin": b"\0\xff",
}
TYPES = {
    "chat": "openai_compatible",
    "nim": "nvidia_nim",
    "ant": "anthropic",
    "gem": "google_ai_studio",
    "oai": "openai",
}


class Site(NamedTuple):
    """A web site with files, and what was asked of it."""

    origin: str
    asked: list[tuple[str, str | None]]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    asked: list[tuple[str, str | None]] = []

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        asked.append((name, request.headers.get("authorization")))
        if name not in FILES:
            return web.Response(status=404)
        return web.Response(body=FILES[name], content_type="text/html")

    app = web.Application()
    app.router.add_get("/{name}", file)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Site(f"http://127.0.0.1:{runner.addresses[0][1]}", asked)
    await runner.cleanup()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with await start() as running:
        yield running


@pytest.fixture
async def rig(serve: Serve, simulator: Simulator, site: Site) -> Rig:
    catalog = {
        "providers": {
            name: {"type": kind, "base_url": simulator.url, "api_key": f"up-{name}"}
            for name, kind in TYPES.items()
        },
        "models": {},
        "subscriptions": {
            "s": {"routes": {f"{name}/*": {"targets": [{"provider": name}]} for name in TYPES}}
        },
        "users": {"u": {"subscription": "s", "keys": [{"key": KEY, "name": "k"}]}},
    }
    return await serve(catalog, trusted_media=frozenset({site.origin}))


def chat(model: str, *parts: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "Look at http://this"}, *parts]
    return {"model": model, "messages": [{"role": "user", "content": content}]}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


async def asked_upstream(
    rig: Rig, simulator: Simulator, body: Any, path: str = "/v1/chat/completions"
) -> Any:
    """The request that arrives at the provider."""
    answer, told = await rig.ask(body, path)
    assert answer.status == 200, told
    return simulator.requests[-1].body


async def test_a_provider_that_loads_pictures_gets_their_urls(
    rig: Rig, simulator: Simulator, site: Site
) -> None:
    part = picture(f"{site.origin}/a.png")
    sent = await asked_upstream(rig, simulator, chat("chat/m", part))
    assert sent["messages"][0]["content"][1] == part
    sent = await asked_upstream(rig, simulator, chat("ant/m", picture("https://pics.org/a.png")))
    assert sent["messages"][0]["content"][1]["source"]["type"] == "url"
    assert not site.asked
    # Messages takes no URL that is not https.
    sent = await asked_upstream(rig, simulator, chat("ant/m", part))
    assert sent["messages"][0]["content"][1]["source"]["type"] == "base64"
    assert site.asked


async def test_a_provider_that_loads_nothing_gets_the_bytes(
    rig: Rig, simulator: Simulator, site: Site
) -> None:
    url = f"{site.origin}/a.png"
    sent = await asked_upstream(rig, simulator, chat("nim/m", picture(url)))
    assert sent["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"},
    }
    sent = await asked_upstream(rig, simulator, chat("gem/m", picture(url)))
    assert sent["contents"][0]["parts"][1]["inlineData"] == {"mimeType": "image/png", "data": PNG}
    source = {"type": "image", "source": {"type": "url", "url": url}}
    message = {"model": "gem/m", "max_tokens": 9, "messages": [{"role": "user", "content": [source]}]}
    sent = await asked_upstream(rig, simulator, message, "/v1/messages")
    assert sent["contents"][0]["parts"][0]["inlineData"]["mimeType"] == "image/png"
    assert site.asked == [("a.png", None)]


async def test_documents_and_sound_of_this_gateways_own_parts(
    rig: Rig, simulator: Simulator, site: Site
) -> None:
    parts: list[Any] = [
        {"type": "file_url", "file_url": {"url": f"{site.origin}/a.pdf", "headers": {"authorization": "x"}}},
        {"type": "audio_url", "audio_url": f"{site.origin}/a.wav"},
        {"type": "file_url", "file_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    sent = await asked_upstream(rig, simulator, chat("oai/m", *parts))
    told = sent["messages"][0]["content"][1:]
    assert told[0]["file"] == {
        "filename": "a.pdf",
        "file_data": f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}",
    }
    assert told[1] == {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(WAV).decode(), "format": "wav"},
    }
    assert told[2]["image_url"]["url"].endswith(PNG)
    assert sorted(site.asked) == [("a.pdf", "x"), ("a.wav", None)]
    sent = await asked_upstream(rig, simulator, chat("ant/m", parts[0]))
    assert sent["messages"][0]["content"][1]["source"]["media_type"] == "application/pdf"


async def test_the_sdk_streams_with_a_fetched_picture(rig: Rig, site: Site) -> None:
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=KEY, max_retries=0) as sdk:
        body = chat("gem/m", picture(f"{site.origin}/a.png"))
        stream = await sdk.chat.completions.create(**body, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert "image/png" in text


@pytest.mark.parametrize(
    ("part", "path", "why"),
    [
        (picture("{}/none.png"), "image_url.url", "status 404"),
        (picture("{}/a.pdf"), "image_url.url", "not an image"),
        (picture("http://localhost/a.png"), "image_url.url", "public internet"),
        (picture("http://169.254.169.254/"), "image_url.url", "public internet"),
        ({"type": "file_url", "file_url": "{}/a.bin"}, "file_url", "known kind"),
        ({"type": "audio_url", "audio_url": {"url": "{}/a.pdf"}}, "audio_url.url", "not audio"),
        ({"type": "audio_url", "audio_url": {"url": 5}}, "audio_url.url", "a string"),
        ({"type": "file_url", "file_url": {}}, "file_url.url", "required"),
        ({"type": "file_url", "file_url": {"url": "data:x"}}, "file_url.url", "data URL"),
        (
            {"type": "file_url", "file_url": {"url": "{}/a.pdf", "headers": {"host": "x"}}},
            "file_url.url",
            "header",
        ),
    ],
)
async def test_a_file_that_cannot_be_had_is_named(
    rig: Rig, site: Site, simulator: Simulator, part: Any, path: str, why: str
) -> None:
    part = orjson.loads(orjson.dumps(part).replace(b"{}/", site.origin.encode() + b"/"))
    answer, told = await rig.ask(chat("gem/m", part))
    error = orjson.loads(told)["error"]
    assert (answer.status, error["param"]) == (400, f"messages[0].content[1].{path}")
    assert why in error["message"]
    assert not simulator.requests


async def test_only_so_many_files_are_fetched(rig: Rig, site: Site) -> None:
    parts = [picture(f"{site.origin}/a.png")] * 21
    answer, told = await rig.ask(chat("gem/m", *parts))
    assert (answer.status, orjson.loads(told)["error"]["param"]) == (
        400,
        "messages[0].content[21].image_url.url",
    )
    assert not site.asked


async def test_files_that_take_too_long_together_are_given_up(
    rig: Rig, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    inliner = rig.server.gateway.parts.inliner
    monkeypatch.setattr(inliner, "_seconds", 0.0)
    answer, told = await rig.ask(chat("gem/m", picture(f"{site.origin}/a.png")))
    assert answer.status == 400
    assert b"could not be fetched within" in told


async def test_files_that_are_too_large_together_are_given_up(
    rig: Rig, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apipod_proxy.inlining.MOST_BYTES", 2 * len(FILES["a.png"]))
    parts = [picture(f"{site.origin}/a.png?{n}") for n in range(2)]
    assert (await rig.ask(chat("gem/m", *parts)))[0].status == 200
    parts.append(picture(f"{site.origin}/a.png?2"))
    answer, told = await rig.ask(chat("gem/m", *parts))
    assert answer.status == 400
    assert b"together" in told
