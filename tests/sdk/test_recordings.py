"""Recorded traffic of real providers through a real process: the official SDKs read the same as straight from the provider.

The recordings are not part of this repository; where they are (``CORPUS``, or ``shared/corpus`` beside the checkout), all of them are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from aiohttp import web

from tests.dialect.wire import corpus_folder
from tests.serve.conftest import KEY, Gateway

CORPUS = corpus_folder()
HOP = {
    "content-length",
    "transfer-encoding",
    "connection",
    "content-encoding",
    "keep-alive",
    "date",
    "server",
    "vary",
}
MODEL = re.compile(rb'"model": ?"[^"]*"')
FOLDERS = {"openai-chat": "chat", "anthropic-messages": "messages"}


def cases(folder: str) -> list[str]:
    """Names of the recordings of answered completions."""
    if CORPUS is None:
        return []
    found = []
    for path in sorted((CORPUS / folder).glob("*.json")):
        case = json.loads(path.read_text())
        if case["response"]["status"] == 200 and case["request"]["path"].partition("?")[0].endswith(
            ("/completions", "/messages")
        ):
            found.append(f"{folder}/{path.stem}")
    return found


async def replay(request: web.Request) -> web.StreamResponse:
    """The recording that the model names, event by event."""
    assert CORPUS is not None
    body = await request.json()
    answer = json.loads((CORPUS / f"{body['model'].partition(':')[2]}.json").read_text())["response"]
    headers = {
        name: value
        for name, value in answer["headers"].items()
        if name.lower() not in HOP and "\n" not in value
    }
    if "chunks" not in answer:
        text = answer.get("body_raw")
        text = json.dumps(answer["body"], ensure_ascii=False) if text is None else text
        return web.Response(body=text.encode(), headers={"content-type": "application/json"} | headers)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"} | headers)
    await response.prepare(request)
    for piece in answer["chunks"]:
        await response.write(piece.encode())
    if not answer["chunks"][-1].endswith("\n\n") and not answer["chunks"][-1].endswith("\r\n"):
        # Some recordings were trimmed at their very end; SDKs lose an event that lacks its blank line, the gateway does not.
        await response.write(b"\n\n")
    return response


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 28)
    app.router.add_post("/{path:.*}", replay)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def gateway(launch: Any, provider: str) -> Gateway:
    catalog = {
        "providers": {
            "chat": {"type": "openai", "base_url": provider, "api_key": "up"},
            "messages": {"type": "anthropic", "base_url": provider, "api_key": "up"},
        },
        "models": {},
        "subscriptions": {
            "all": {"routes": {f"{name}/*": {"targets": [{"provider": name}]} for name in FOLDERS.values()}}
        },
    }
    made: Gateway = await launch(changes=catalog)
    return made


def streamed(case: str) -> bool:
    assert CORPUS is not None
    return "chunks" in json.loads((CORPUS / f"{case}.json").read_text())["response"]


def without_model(value: Any, name: str) -> Any:
    """``value`` with the model's name left out, after it was checked where it must be the client's."""
    if isinstance(value, dict):
        message = value.get("message")
        for place in (value, message if isinstance(message, dict) else {}):
            if name and isinstance(place.get("model"), str) and place["model"]:
                assert place["model"] == name
            place.pop("model", None)
    return value


async def read_chat(sdk: openai.AsyncOpenAI, model: str, stream: bool, asked: str) -> list[Any]:
    options: Any = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    if not stream:
        answer = await sdk.chat.completions.create(**options)
        return [without_model(answer.model_dump(), asked)]
    events = await sdk.chat.completions.create(**options, stream=True, stream_options={"include_usage": True})
    return [without_model(event.model_dump(), asked) async for event in events]


async def read_messages(sdk: anthropic.AsyncAnthropic, model: str, stream: bool, asked: str) -> list[Any]:
    options: Any = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 10}
    if not stream:
        answer = await sdk.messages.create(**options)
        return [without_model(answer.model_dump(), asked)]
    events = await sdk.messages.create(**options, stream=True)
    return [without_model(event.model_dump(), asked) async for event in events]


READERS: dict[str, Any] = {"openai-chat": read_chat, "anthropic-messages": read_messages}


def sdk_at(folder: str, base: str) -> Any:
    if folder == "openai-chat":
        return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
    return anthropic.AsyncAnthropic(base_url=base, api_key=KEY, max_retries=0)


@pytest.mark.parametrize("folder", FOLDERS)
async def test_the_sdk_reads_every_recording_as_if_the_gateway_were_not_there(
    gateway: Gateway, provider: str, folder: str
) -> None:
    wrong = []
    async with sdk_at(folder, provider) as straight, sdk_at(folder, gateway.base) as behind:
        for case in cases(folder):
            read, stream = READERS[folder], streamed(case)
            name = f"{FOLDERS[folder]}/case:{case}"
            try:
                expected = await read(straight, f"case:{case}", stream, "")
            except Exception as exc:
                # A recording that the SDK itself refuses must be refused the same way behind the gateway.
                expected = [type(exc).__name__]
            try:
                got = await read(behind, name, stream, name)
            except Exception as exc:
                got = [type(exc).__name__ if expected[:1] == [type(exc).__name__] else repr(exc)[:300]]
            if got != expected:
                wrong.append(
                    case if len(got) != len(expected) else f"{case}: {got[-1]} != {expected[-1]}"[:600]
                )
    assert not wrong, "\n".join(wrong)


async def test_streams_pass_byte_for_byte_but_for_the_model_name(gateway: Gateway, provider: str) -> None:
    wrong = []
    paths = {"openai-chat": "/v1/chat/completions", "anthropic-messages": "/v1/messages"}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as http:
        for folder, path in paths.items():
            for case in filter(streamed, cases(folder)):
                body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 10, "stream": True}
                if folder == "openai-chat":
                    body["stream_options"] = {"include_usage": True}
                name = f"{FOLDERS[folder]}/case:{case}"
                async with http.post(provider + path, json=body | {"model": f"case:{case}"}) as direct:
                    expected = await direct.read()
                async with http.post(gateway.base + path, json=body | {"model": name}) as through:
                    got = await through.read()
                if MODEL.sub(b"", got) != MODEL.sub(b"", expected):
                    wrong.append(case)
    assert not wrong, "\n".join(wrong)
