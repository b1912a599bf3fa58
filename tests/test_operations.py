"""Operations through a whole server in front of the simulator, asked with the official SDKs where they have the call."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from google import genai
from google.genai import types

from apipod_proxy.operations import usage_in_events
from apipod_proxy.simulator import Simulator, start
from tests.fakes.server import Do, answer, chunked
from tests.gateway.conftest import JSON, KEY, Rig, Serve, Upstreams, serve, upstream, whole
from tests.gateway.conftest import catalog as routed
from tests.gateway.test_cancellation import leave, settled

__all__ = ["serve", "upstream"]

TYPES = {
    "sim": "simulator",
    "oai": "openai_compatible",
    "gem": "google_ai_studio",
    "ant": "anthropic",
}


def catalog(simulator: Simulator, **more: Any) -> dict[str, Any]:
    """``TYPE/<any model>`` goes to the simulator as a provider of that type."""
    return {
        "providers": {
            name: {"type": kind, "base_url": simulator.url, "api_key": f"up-{name}"}
            for name, kind in TYPES.items()
        },
        "models": {},
        "subscriptions": {
            "s": {"routes": {f"{name}/*": {"targets": [{"provider": name}]} for name in TYPES}}
        },
        "users": {"u": {"subscription": "s", "keys": [{"key": KEY, "name": "k"}]}},
        **more,
    }


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with await start() as running:
        yield running


@pytest.fixture
async def rig(serve: Serve, simulator: Simulator) -> Rig:
    return await serve(catalog(simulator))


@pytest.fixture
async def sdk(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
async def gemini(rig: Rig) -> AsyncIterator[Any]:
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=rig.url))
    yield client.aio.models
    await client.aio.aclose()


async def test_embeddings_are_spliced_under_the_clients_name(rig: Rig, sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.embeddings.create(model="oai/text-embedding-3-small", input=["a", "b"], dimensions=4)
    assert answer.model == "oai/text-embedding-3-small"
    assert [len(one.embedding) for one in answer.data] == [4, 4]
    row = await rig.row()
    assert (row["path"], row["outcome"], row["provider"]) == ("/v1/embeddings", "ok", "oai")
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (answer.usage.prompt_tokens, 0, 0)


async def test_embeddings_of_openais_client_come_from_gemini(rig: Rig, sdk: openai.AsyncOpenAI) -> None:
    floats = await sdk.embeddings.create(
        model="gem/gemini-embedding-001", input=["a", "b"], dimensions=8, encoding_format="float"
    )
    packed = await sdk.embeddings.create(model="gem/gemini-embedding-001", input=["a", "b"], dimensions=8)
    assert [len(one.embedding) for one in floats.data] == [8, 8]
    assert packed.data[1].index == 1
    assert packed.data[1].embedding == pytest.approx(floats.data[1].embedding, rel=1e-6)
    assert packed.usage.prompt_tokens > 0


async def test_embeddings_of_geminis_client_come_from_gemini_and_from_openai(gemini: Any) -> None:
    config = types.EmbedContentConfig(output_dimensionality=8)
    for model in ("gem/gemini-embedding-001", "oai/text-embedding-3-small"):
        answer = await gemini.embed_content(model=model, contents=["a", "b"], config=config)
        assert [len(one.values) for one in answer.embeddings] == [8, 8]


@pytest.mark.parametrize("model", ["gem/gemini-embedding-001", "oai/text-embedding-3-small"])
async def test_one_embedding_of_geminis_client(rig: Rig, model: str) -> None:
    answer, body = await rig.ask(
        {"model": f"models/{model}", "content": {"parts": [{"text": "a"}]}},
        f"/v1beta/models/{model}:embedContent",
    )
    assert answer.status == 200
    assert orjson.loads(body)["embedding"]["values"]


async def test_each_part_of_a_batch_carries_the_name_of_the_url(rig: Rig, simulator: Simulator) -> None:
    one = {"model": "models/gem/e", "content": {"parts": [{"text": "a"}]}}
    await rig.ask({"requests": [one]}, "/v1beta/models/gem/e:batchEmbedContents")
    sent = simulator.requests[-1]
    assert sent.path == "/v1beta/models/e:batchEmbedContents"
    assert sent.body["requests"][0]["model"] == "models/e"


async def test_pictures_and_moderations(rig: Rig, sdk: openai.AsyncOpenAI) -> None:
    picture = await sdk.images.generate(model="sim/gpt-image-1", prompt="A cat")
    assert picture.data and base64.b64decode(picture.data[0].b64_json or "").startswith(b"\x89PNG")
    verdict = await sdk.moderations.create(model="sim/omni", input="violence")
    assert verdict.results[0].flagged and verdict.model == "sim/omni"
    rows = await rig.rows(2)
    assert rows[0]["output_tokens"] == 272


async def test_a_picture_that_is_streamed_keeps_its_events_and_its_usage(
    rig: Rig, sdk: openai.AsyncOpenAI
) -> None:
    stream = await sdk.images.generate(model="sim/gpt-image-1", prompt="A cat", stream=True, partial_images=2)
    kinds = [event.type async for event in stream]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    row = await rig.row()
    assert (row["streamed"], row["output_tokens"], row["estimated"]) == (1, 272, 0)


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b'...,"usage":{"input_tokens":3,"output_tokens":4}}\n\n', (3, 4)),
        (b'"usage":{"prompt_tokens":1} data: {"usage": {"input_tokens":3}}', (3, 0)),
        (b'"usage":{"input_tok', (None, 0)),
        (b'"usage":null}', (None, 0)),
        (b"no usage", (None, 0)),
    ],
)
def test_usage_is_found_in_the_end_of_events(tail: bytes, usage: tuple[int | None, int]) -> None:
    found = usage_in_events(tail)
    assert (found.input, found.output) == usage


@pytest.mark.parametrize("stream", [False, True])
async def test_text_completions(rig: Rig, sdk: openai.AsyncOpenAI, stream: bool) -> None:
    if stream:
        chunks = [c async for c in await sdk.completions.create(model="sim/m", prompt="Say it", stream=True)]
        assert {c.model for c in chunks} == {"sim/m"}
        assert all(c.choices for c in chunks)
        text = "".join(c.choices[0].text for c in chunks)
    else:
        answer = await sdk.completions.create(model="sim/m", prompt="Say it")
        assert answer.model == "sim/m"
        text = answer.choices[0].text
    assert text
    row = await rig.row()
    assert row["streamed"] == stream and row["output_tokens"] > 0 and not row["estimated"]


async def test_sound_is_streamed_with_its_own_type(rig: Rig) -> None:
    body = {"model": "sim/tts-1", "input": "Hello", "voice": "alloy", "response_format": "wav"}
    answer, sound = await rig.ask(body, "/v1/audio/speech")
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-apipod-provider"] == "sim"
    assert sound.startswith(b"RIFF")
    assert (await rig.row())["outcome"] == "ok"


@pytest.mark.parametrize(
    ("form", "content_type"), [("json", "application/json"), ("srt", "text/plain; charset=utf-8")]
)
async def test_a_form_is_forwarded_byte_for_byte_but_for_its_model(
    rig: Rig, simulator: Simulator, form: str, content_type: str
) -> None:
    sound = b"\x00RIFF\r\n--x\r\n" * 5000
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=KEY, max_retries=0) as sdk:
        raw = await sdk.audio.transcriptions.with_raw_response.create(
            model="sim/whisper-1",
            file=("a.wav", sound),
            response_format=form,  # type: ignore[call-overload]
        )
    assert raw.headers["content-type"] == content_type
    assert f"{len(sound)} bytes" in raw.text
    sent = simulator.requests[-1]
    assert b'name="model"\r\n\r\nwhisper-1\r\n' in sent.raw
    assert sent.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert (await rig.row())["input_tokens"] < 3000


async def test_translations(sdk: openai.AsyncOpenAI) -> None:
    with pytest.warns(DeprecationWarning):
        told = await sdk.audio.translations.create(model="sim/whisper-1", file=("a.mp3", b"12345"))
    assert told.text == "The simulator heard 5 bytes."


async def test_an_operation_that_no_provider_of_the_model_has_is_refused(rig: Rig) -> None:
    answer, body = await rig.ask({"model": "ant/claude", "input": "a"}, "/v1/embeddings")
    assert answer.status == 400
    assert orjson.loads(body)["error"]["code"] == "unsupported_capability"
    assert b"no provider of it has embeddings" in body
    answer, body = await rig.ask({"model": "nobody", "input": "a"}, "/v1/embeddings")
    assert answer.status == 404


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"model": "sim/m"}, "input"),
        ("/v1/embeddings", {"model": "sim/m", "input": 5}, "input"),
        ("/v1/embeddings", {"model": "gem/m", "input": [[1, 2]]}, "input[0]"),
        ("/v1/images/generations", {"prompt": "x"}, "model"),
        ("/v1/completions", {"model": 4, "prompt": "x"}, "model"),
        ("/v1/audio/speech", {"model": "sim/m"}, "input"),
    ],
)
async def test_a_wrong_request_is_told_where_it_is_wrong(rig: Rig, path: str, body: Any, param: str) -> None:
    answer, told = await rig.ask(body, path)
    assert answer.status == 400
    assert orjson.loads(told)["error"]["param"] == param


async def test_a_provider_that_fails_is_followed_by_the_next(serve: Serve, upstream: Upstreams) -> None:
    broken = await upstream([Do.REQUEST, answer(status=500), Do.AGAIN])
    rig = await serve(routed(broken, broken))
    told, _ = await rig.ask({"model": "x", "input": "a"}, "/v1/embeddings")
    assert told.status == 502
    row = await rig.row()
    assert [one["outcome"] for one in row["attempts"]] == ["status 500"] * 2


async def test_a_model_that_has_no_such_operation_keeps_its_health(serve: Serve, upstream: Upstreams) -> None:
    missing = answer(b"This is no such server", status=500)
    served = answer(whole(), headers=JSON)
    only_chat = await upstream([*[Do.REQUEST, missing] * 6, *[Do.REQUEST, served] * 2])
    rig = await serve(routed(only_chat))
    for _ in range(6):
        await rig.ask({"model": "x", "input": "a"}, "/v1/embeddings")
    assert rig.server.upstream_health.breakers(0)["open"] == 1
    told, body = await rig.ask({"model": "x", "messages": [{"role": "user", "content": "Hi"}]})
    assert told.status == 200, body
    assert rig.server.upstream_health.breakers(0) == {"closed": 1, "open": 1, "half_open": 0}


async def test_sound_that_breaks_off_is_cut(serve: Serve, upstream: Upstreams) -> None:
    broken = await upstream(
        [Do.REQUEST, chunked(b"ID3", headers=b"Content-Type: audio/mpeg\r\n", end=b""), 0.05, Do.CLOSE]
    )
    rig = await serve(routed(broken))
    body = {"model": "x", "input": "a", "voice": "v"}
    async with rig.post(body, "/v1/audio/speech") as told:
        assert (told.status, told.headers["content-type"]) == (200, "audio/mpeg")
        with pytest.raises(aiohttp.ClientError):
            await told.read()
    assert (await rig.row())["outcome"] == "truncated"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_client_that_leaves_ends_its_request_upstream(
    serve: Serve, upstream: Upstreams, streamed: bool
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 500\r\n\r\n"
    server = await upstream([Do.REQUEST, head, b"ID3", Do.STALL])
    rig = await serve(routed(server))
    body = {"model": "x", "input": "a"}
    if streamed:
        await leave(rig, body, "/v1/audio/speech", server, b"ID3")
    else:
        await leave(rig, body, "/v1/embeddings", server)
    await settled(rig)
    assert (await rig.row())["outcome"] == "cancelled"


async def test_a_picture_given_as_such_is_answered_as_json(serve: Serve, upstream: Upstreams) -> None:
    painter = await upstream([Do.REQUEST, answer(b"\x89PNG", headers=b"Content-Type: image/png\r\n")])
    rig = await serve(routed(painter))
    _, body = await rig.ask({"model": "x", "prompt": "a"}, "/v1/images/generations")
    assert orjson.loads(body)["data"] == [{"b64_json": "iVBORw=="}]


async def test_limits_hold_for_operations(serve: Serve, simulator: Simulator) -> None:
    limited = {"u": {"subscription": "s", "keys": [{"key": KEY, "name": "k", "limits": {"rpd": 1}}]}}
    rig = await serve(catalog(simulator, users=limited))
    body = {"model": "oai/e", "input": "a"}
    assert (await rig.ask(body, "/v1/embeddings"))[0].status == 200
    assert (await rig.ask(body, "/v1/embeddings"))[0].status == 429


async def test_nobody_without_a_key_is_served(rig: Rig, simulator: Simulator) -> None:
    answer, _ = await rig.ask({"model": "sim/e", "input": "a"}, "/v1/embeddings", authorization="Bearer no")
    assert answer.status == 401
    assert not simulator.requests
