from __future__ import annotations

import base64
import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

import openai
import pytest

from apipod_proxy.simulator import Simulator, others
from apipod_proxy.simulator.answers.scene import Scene
from apipod_proxy.simulator.ask import Refusal
from apipod_proxy.simulator.ids import Ids
from apipod_proxy.simulator.reply import compose
from apipod_proxy.simulator.script import read_script


def test_embeddings_depend_on_the_text_alone_and_have_length_one() -> None:
    one, two, three = (
        json.loads(others.embeddings({"model": "m", "input": text})) for text in ("a", "a", "b")
    )
    vector = one["data"][0]["embedding"]
    assert one == two != three
    assert len(vector) == 1536
    assert math.hypot(*vector) == pytest.approx(1)


def test_embeddings_come_as_base64_in_any_size_and_number() -> None:
    body = {"model": "m", "input": ["a", "b", [1, 2]], "dimensions": 8, "encoding_format": "base64"}
    answer = json.loads(others.embeddings(body))
    assert [one["index"] for one in answer["data"]] == [0, 1, 2]
    assert len(struct.unpack("<8f", base64.b64decode(answer["data"][0]["embedding"]))) == 8
    assert answer["usage"]["prompt_tokens"] == 4


@pytest.mark.parametrize("given", [[], None, {"a": 1}])
def test_nothing_cannot_be_embedded(given: object) -> None:
    with pytest.raises(Refusal):
        others.embeddings({"model": "m", "input": given})


def test_images_are_pictures_of_one_pixel() -> None:
    answer = json.loads(others.images({"prompt": "x", "n": 2}, now=5))
    assert [base64.b64decode(one["b64_json"])[:4] for one in answer["data"]] == [b"\x89PNG"] * 2
    assert json.loads(others.images({"prompt": "x", "response_format": "url"}, now=5))["data"][0][
        "url"
    ].startswith("data:image/png")


@pytest.mark.parametrize(
    "refused",
    [
        lambda: others.images({"prompt": "x", "n": "2"}, 5),
        lambda: others.embeddings({"model": "m", "input": "x", "dimensions": "8"}),
        lambda: others.embeddings({"model": "m", "input": "x", "dimensions": True}),
        lambda: others.batch_embed_contents("m", {"requests": [1]}),
        lambda: others.embed_content("m", {"content": {"parts": []}}),
        lambda: others.moderations({}, "modr-1"),
        lambda: others.read_completion({"model": "m"}),
    ],
)
def test_what_is_no_request_is_refused(refused: Callable[[], object]) -> None:
    with pytest.raises(Refusal):
        refused()


def test_violence_is_flagged() -> None:
    answer = json.loads(others.moderations({"input": ["peace", "Violence"]}, "modr-1"))
    assert [one["flagged"] for one in answer["results"]] == [False, True]


@pytest.mark.parametrize(
    ("kind", "content_type", "text"),
    [
        ("json", "application/json", '"text":"The simulator heard 3 bytes."'),
        ("verbose_json", "application/json", '"segments":[{'),
        ("text", "text/plain; charset=utf-8", "heard 3 bytes.\n"),
        ("srt", "text/plain; charset=utf-8", "00:00:01,000"),
        ("vtt", "text/plain; charset=utf-8", "WEBVTT"),
    ],
)
def test_transcriptions_have_many_formats(kind: str, content_type: str, text: str) -> None:
    body, given = others.transcription({"file": b"abc", "model": "m", "response_format": kind})
    assert given == content_type
    assert text in body.decode()


@pytest.mark.parametrize("form", [{}, {"file": b"abc"}, {"model": "m", "file": "text"}])
def test_a_transcription_wants_a_file_and_a_model(form: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="Missing required parameter"):
        others.transcription(form)


def test_a_form_is_taken_apart() -> None:
    raw = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n'
    raw += b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n\xff\x00\r\n--b--\r\n'
    assert others.read_form("multipart/form-data; boundary=b", raw) == {"model": "m", "file": b"\xff\x00"}


@pytest.mark.parametrize(("kind", "start"), [("wav", b"RIFF"), ("mp3", b"\xff\xfb"), ("pcm", b"\0\0")])
def test_speech_is_a_little_silence(kind: str, start: bytes) -> None:
    body, content_type = others.speech({"model": "m", "input": "x", "voice": "v", "response_format": kind})
    assert body.startswith(start) and content_type.startswith("audio/")
    with pytest.raises(Refusal):
        others.speech({"model": "m", "input": "x", "voice": "v", "response_format": "ogg"})


def test_legacy_completions_stream_and_end() -> None:
    body = {"model": "sim-2-0", "prompt": "x", "stream": True, "stream_options": {"include_usage": True}}
    ask, script = others.read_completion(body), read_script("sim-2-0")
    scene = Scene(body, ask, script, compose(ask, script), Ids(random.Random(1)), 5)
    frames = list(others.completion_stream(scene))
    assert [content for content, _ in frames] == [True, True, False, False, False]
    assert b'"choices":[],"usage":{' in frames[3][1]
    assert json.loads(others.completion(scene))["choices"][0]["text"] == " token token"


async def test_the_sdk_reads_an_image_as_it_grows(simulator: Simulator) -> None:
    async with openai.AsyncOpenAI(base_url=f"{simulator.url}/v1", api_key="k", max_retries=0) as client:
        stream = await client.images.generate(model="gpt-image-1", prompt="x", stream=True, partial_images=2)
        events = [event.type async for event in stream]
    assert events == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]


async def test_the_sdk_reads_them(simulator: Simulator) -> None:
    async with openai.AsyncOpenAI(base_url=f"{simulator.url}/v1", api_key="k", max_retries=0) as client:
        assert (
            len((await client.embeddings.create(model="text-embedding-3-large", input="x")).data[0].embedding)
            == 3072
        )
        assert (await client.images.generate(model="m", prompt="x")).data
        assert not (await client.moderations.create(input="x")).results[0].flagged
        assert (
            (await client.completions.create(model="m", prompt="x", max_tokens=99))
            .choices[0]
            .text.startswith("Hello")
        )
        assert (
            await client.audio.transcriptions.create(model="m", file=("a.wav", b"abc"))
        ).text == "The simulator heard 3 bytes."
        assert (
            await (
                await client.audio.speech.create(model="m", voice="alloy", input="x", response_format="wav")
            ).aread()
        )[:4] == b"RIFF"
        assert [model.id async for model in client.models.list()] == list(others.MODELS)
