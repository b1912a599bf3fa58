"""Embeddings of OpenAI as GigaChat has them: texts in a list, numbers in the answer, and the usage on each vector instead of on the whole."""

from __future__ import annotations

import orjson

from apipod_proxy.dialect import ProtocolError
from apipod_proxy.dialect.fields import Object, parse
from apipod_proxy.dialect.gemini_embeddings import Asked, pack, texts_of, wants_packed
from apipod_proxy.dialect.usage import count


def to_gigachat(body: bytes, model: str) -> Asked:
    """A request of ``/v1/embeddings`` as GigaChat takes it. BadRequest for tokens."""
    source = parse(body)
    asked = {"model": model, "input": texts_of(source)}
    dropped = tuple(name for name in ("dimensions", "user") if source.get(name) is not None)
    return Asked(orjson.dumps(asked), wants_packed(source), dropped)


def from_gigachat(body: bytes, model: str, *, packed: bool) -> bytes:
    """An answer of GigaChat as one of ``/v1/embeddings``. Raises ProtocolError."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise ProtocolError("an answer that is no JSON") from exc
    found = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not found:
        raise ProtocolError("an answer without embeddings")
    data = []
    tokens: int | None = None
    for place, one in enumerate(found):
        vector = one.get("embedding") if isinstance(one, dict) else None
        if not isinstance(vector, list) or not all(isinstance(x, int | float) for x in vector):
            raise ProtocolError("an embedding without values")
        used = count(one.get("usage"), "prompt_tokens")
        if used is not None:
            tokens = (tokens or 0) + used
        index = one["index"] if isinstance(one.get("index"), int) else place
        data.append({"object": "embedding", "index": index, "embedding": pack(vector) if packed else vector})
    data.sort(key=lambda one: one["index"])
    told: Object = {"object": "list", "data": data, "model": model}
    if tokens is not None:
        told["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps(told)
