"""Embeddings of OpenAI ↔ embeddings of Gemini (``embedContent``, ``batchEmbedContents``): requests and answers, both ways."""

from __future__ import annotations

import base64
import struct
from typing import NamedTuple

import orjson

from apipod_proxy.dialect import ProtocolError
from apipod_proxy.dialect.fields import (
    Json,
    Object,
    a_list,
    a_text,
    an_object,
    opt_int,
    opt_list,
    opt_text,
    parse,
    required,
)
from apipod_proxy.dialect.usage import count
from apipod_proxy.errors import BadRequest

# What only the other side knows. Gemini's are given up where OpenAI's side serves, and named to the client.
_TUNING = ("taskType", "task_type", "title", "autoTruncate", "auto_truncate")


class Asked(NamedTuple):
    """A request in the other dialect. ``base64``: the client wants its vectors packed. ``dropped``: knobs that the target lacks."""

    body: bytes
    base64: bool = False
    dropped: tuple[str, ...] = ()


# OpenAI asks, Gemini serves


def to_gemini(body: bytes, model: str) -> Asked:
    """A request of ``/v1/embeddings`` as one of ``batchEmbedContents``. BadRequest for tokens, which only OpenAI's models read."""
    source = parse(body)
    texts = texts_of(source)
    size = opt_int(source, "dimensions", "$")
    packed = wants_packed(source)
    requests = []
    for text in texts:
        request: Object = {"model": f"models/{model}", "content": {"parts": [{"text": text}]}}
        if size is not None:
            request["outputDimensionality"] = size
        requests.append(request)
    dropped = tuple(name for name in ("user",) if source.get(name) is not None)
    return Asked(orjson.dumps({"requests": requests}), packed, dropped)


def texts_of(source: Object) -> list[str]:
    """The ``input`` of a request of ``/v1/embeddings``. BadRequest for tokens, which only OpenAI's models read."""
    given = required(source.get("input"), "$.input")
    texts = [given] if isinstance(given, str) else a_list(given, "$.input")
    if not texts:
        raise BadRequest("Expected at least one text", "$.input")
    for index, text in enumerate(texts):
        path = "$.input" if texts is not given else f"$.input[{index}]"
        if isinstance(text, int | list):
            raise BadRequest("This model reads texts, not tokens", path)
        a_text(text, path)
    return texts


def wants_packed(source: Object) -> bool:
    """Whether the client of ``/v1/embeddings`` wants its vectors in base64."""
    packing = opt_text(source, "encoding_format", "$")
    if packing not in (None, "float", "base64"):
        raise BadRequest("Expected float or base64", "$.encoding_format")
    return packing == "base64"


def from_gemini(body: bytes, model: str, *, packed: bool, tokens: int) -> bytes:
    """An answer of ``batchEmbedContents`` as one of ``/v1/embeddings``. ``tokens``: the input's estimate, for where Gemini counts none."""
    answer = _load(body)
    used = count(answer.get("usageMetadata"), "promptTokenCount", "totalTokenCount")
    tokens = tokens if used is None else used
    vectors = answer.get("embeddings")
    data = [
        {"object": "embedding", "index": index, "embedding": pack(vector) if packed else vector}
        for index, vector in enumerate(_values(one) for one in _list(vectors))
    ]
    return orjson.dumps(
        {
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


# Gemini asks, OpenAI serves


def to_openai(body: bytes, model: str, *, batch: bool) -> Asked:
    """A request of ``batchEmbedContents`` (or ``embedContent``) as one of ``/v1/embeddings``. BadRequest for what is no text."""
    source = parse(body)
    whole = enumerate(opt_list(source, "requests", "$"))
    places = [(one, f"$.requests[{index}]") for index, one in whole] if batch else [(source, "$")]
    texts: list[str] = []
    sizes: set[int | None] = set()
    dropped: set[str] = set()
    for value, path in places:
        one = an_object(value, path)
        texts.append(_text_of(one, path))
        size = opt_int(one, "outputDimensionality", path)
        sizes.add(opt_int(one, "output_dimensionality", path) if size is None else size)
        dropped.update(name for name in _TUNING if one.get(name) is not None)
    if not texts:
        raise BadRequest("Expected at least one request", "$.requests")
    if len(sizes) > 1:
        raise BadRequest(
            "This model makes all vectors of a request of one size", f"{places[0][1]}.outputDimensionality"
        )
    asked: Object = {"model": model, "input": texts, "encoding_format": "float"}
    size = sizes.pop()
    if size is not None:
        asked["dimensions"] = size
    return Asked(orjson.dumps(asked), False, tuple(sorted(dropped)))


def from_openai(body: bytes, *, batch: bool) -> bytes:
    """An answer of ``/v1/embeddings`` as one of ``batchEmbedContents`` (or ``embedContent``)."""
    answer = _load(body)
    data = [one for one in _list(answer.get("data")) if isinstance(one, dict)]
    data.sort(key=lambda one: one["index"] if isinstance(one.get("index"), int) else 0)
    vectors = [{"values": unpack(one.get("embedding"))} for one in data]
    if not vectors:
        raise ProtocolError("an answer without embeddings")
    told: Object = {"embeddings": vectors} if batch else {"embedding": vectors[0]}
    used = count(answer.get("usage"), "prompt_tokens", "total_tokens")
    if used is not None:
        told["usageMetadata"] = {"promptTokenCount": used, "totalTokenCount": used}
    return orjson.dumps(told)


def with_model(body: bytes, model: str, *, batch: bool) -> bytes:
    """A request of Gemini under another name of the model: the API demands that each part of a batch has the URL's."""
    source = parse(body)
    name = f"models/{model}"
    if batch:
        requests = opt_list(source, "requests", "$")
        source["requests"] = [
            an_object(one, f"$.requests[{index}]") | {"model": name} for index, one in enumerate(requests)
        ]
    elif "model" in source:
        source["model"] = name
    return orjson.dumps(source)


# Vectors


def pack(vector: list[float]) -> str:
    """32-bit floats in base64, as OpenAI packs them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def unpack(vector: Json) -> list[float]:
    """The numbers of a vector, packed or not. Raises ProtocolError."""
    if isinstance(vector, list):
        return vector
    try:
        raw = base64.b64decode(vector, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (TypeError, ValueError, struct.error) as exc:
        raise ProtocolError("a vector that is neither numbers nor base64") from exc


def _text_of(one: Object, path: str) -> str:
    at = f"{path}.content"
    content = required(one.get("content"), at)
    if isinstance(content, str):
        return content
    holder = an_object(content, at)
    texts = []
    for index, value in enumerate(opt_list(holder, "parts", at)):
        place = f"{at}.parts[{index}]"
        part = an_object(value, place)
        text = opt_text(part, "text", place)
        if text is None:
            raise BadRequest("This model makes vectors of text alone", place)
        texts.append(text)
    if not texts:
        raise BadRequest("Expected at least one text", f"{at}.parts")
    return "".join(texts)


def _load(body: bytes) -> Object:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise ProtocolError("an answer that is no JSON") from exc
    if not isinstance(value, dict):
        raise ProtocolError("an answer that is no object")
    return value


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise ProtocolError("an answer without embeddings")
    return value


def _values(one: Json) -> list[float]:
    values = one.get("values") if isinstance(one, dict) else None
    if not isinstance(values, list) or not all(isinstance(x, int | float) for x in values):
        raise ProtocolError("an embedding without values")
    return values
