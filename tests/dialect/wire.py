"""Ways to run a codec over bytes: whole, byte by byte, with a tail, cut off; and what the official SDKs read from an answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import httpx2
import openai
from google import genai
from google.genai import types as genai_types

from apipod_proxy.dialect import AnswerInfo, Dialect, IdMaker, Truncated
from apipod_proxy.dialect.vocabulary import Call, Event

INFO = AnswerInfo("asked-model", "req_1", 1_700_000_000)


def ids() -> IdMaker:
    """Ids that count up."""
    numbers = count(1)
    return lambda prefix: f"{prefix}{next(numbers)}"


def decode(row: Dialect, data: bytes, cuts: Sequence[int] = ()) -> list[Event]:
    """The events of a stream that arrives in pieces."""
    decoder = row.decoder(ids())
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    events = [event for start, end in pairwise(edges) for event in decoder.feed(data[start:end])]
    return events + decoder.eof()


def every_byte(data: bytes) -> range:
    return range(1, len(data))


def is_truncated(row: Dialect, data: bytes) -> bool:
    """Whether the end of ``data`` is no end of an answer."""
    try:
        decode(row, data)
    except Truncated:
        return True
    return False


def stream(row: Dialect, events: Sequence[Event], call: Call | None = None) -> bytes:
    """The stream that a client gets."""
    encoder = row.encoder(INFO._replace(call=call))
    return b"".join(encoder.send(event) for event in events)


def fold(row: Dialect, events: Sequence[Event], call: Call | None = None) -> Any:
    """The unary answer that a client gets."""
    return json.loads(row.encoder(INFO._replace(call=call)).fold(events))


def payloads(data: bytes) -> list[Any]:
    """The JSON of every event of a stream."""
    lines = [line[5:].strip() for line in data.splitlines() if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


# Recordings


def corpus_folder() -> Path | None:
    """Recorded traffic of providers, which is no part of the repository: named by CORPUS, or beside the checkout."""
    given = os.environ.get("CORPUS")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "corpus"
    return folder if folder.is_dir() else None


def recordings(wanted: Callable[[dict[str, Any]], bool], *providers: str) -> list[Path]:
    """The recordings of these providers that are wanted; none where there is no corpus."""
    folder = corpus_folder()
    if folder is None:
        return []
    files = sorted(path for provider in providers for path in (folder / provider).glob("*.json"))
    return [path for path in files if wanted(json.loads(path.read_bytes()))]


def recorded_answer(case: dict[str, Any]) -> bytes:
    response = case["response"]
    if "chunks" in response:
        return "".join(response["chunks"]).encode()
    return (response.get("body_raw") or json.dumps(response.get("body"))).encode()


# Official SDKs


def transport(body: bytes, content_type: str) -> httpx2.Client:
    """An HTTP client that every request gets one answer from."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": content_type})

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def google_reads(body: bytes) -> genai_types.GenerateContentResponse:
    """What google-genai reads from a unary answer."""
    return genai_types.GenerateContentResponse._from_response(response=json.loads(body), kwargs={})


def google_streams(body: bytes) -> list[genai_types.GenerateContentResponse]:
    """What google-genai reads from a stream."""
    options = genai_types.HttpOptions(
        base_url="http://127.0.0.1:9", httpx_client=transport(body, "text/event-stream")
    )
    client = genai.Client(api_key="k", http_options=options)
    return list(client.models.generate_content_stream(model="m", contents="x"))


def openai_client(body: bytes, content_type: str = "text/event-stream") -> openai.OpenAI:
    """The OpenAI SDK in front of one recorded answer."""
    return openai.OpenAI(
        api_key="k",
        base_url="http://127.0.0.1:9/v1",
        http_client=transport(body, content_type),
        max_retries=0,
    )
