"""Pictures: what the endpoints of their own ask of a model, and what is made of its answer."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson

from apipod_proxy.dialect import media_types
from apipod_proxy.dialect.fields import a_text, opt_text, parse, required
from apipod_proxy.dialect.links import data_url, from_data_url
from apipod_proxy.edge.pictures import Picture, Studio
from apipod_proxy.errors import BadRequest, UpstreamBroken
from apipod_proxy.upstream.hosts import Unfetchable
from apipod_proxy.upstream.media import Fetched
from apipod_proxy.upstream.sniff import sniff

PROMPT = "Describe this image in detail."
FOR_CHAT = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "user")
"""Members of a request to describe that mean the same to a chat."""

Fetch = Callable[[str], Awaitable[Fetched]]


def studio(fetch: Fetch) -> Studio:
    """``fetch`` gets what a provider names by URL; raises Unfetchable."""
    return Studio(to_image, to_chat, partial(picture_in, fetch), text_in)


def to_image(body: bytes) -> bytes:
    """``{model, prompt | inputs}`` as a request of ``/v1/images/generations`` for one picture. Raises BadRequest."""
    source = parse(body)
    if source.get("prompt") is None:
        source["prompt"] = a_text(required(source.pop("inputs", None), "$.prompt"), "$.inputs")
    source.pop("inputs", None)
    # One picture is answered, whole.
    for name in ("n", "stream", "partial_images"):
        source.pop(name, None)
    return orjson.dumps(source)


def to_chat(body: bytes) -> bytes:
    """``{model, image_url | image, prompt?}`` as a request of Chat. Raises BadRequest."""
    source = parse(body)
    url = source.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    if url is None:
        url = _as_url(a_text(required(source.get("image"), "$.image_url"), "$.image"))
    content = [
        {"type": "text", "text": opt_text(source, "prompt", "$") or PROMPT},
        {"type": "image_url", "image_url": {"url": a_text(url, "$.image_url")}},
    ]
    return orjson.dumps(
        {
            "model": source.get("model"),
            "messages": [{"role": "user", "content": content}],
            **{name: source[name] for name in FOR_CHAT if name in source},
        }
    )


def _as_url(image: str) -> str:
    """A URL for ``image``, which may be one already, or base64."""
    if image.startswith(("data:", "http://", "https://")):
        return image
    try:
        data = base64.b64decode(media_types.standard_base64(image), validate=True)
    except ValueError as exc:
        raise BadRequest("Expected a URL, a data URL, or base64", "$.image") from exc
    kind = sniff(data)
    if not kind.startswith("image/"):
        raise BadRequest("Expected an image", "$.image")
    return data_url(data, kind)


async def picture_in(fetch: Fetch, answer: bytes) -> Picture:
    """The first picture of an answer of ``/v1/images/generations``. Raises UpstreamBroken where there is none, or it cannot be had."""
    entry = _first(answer)
    coded, url = entry.get("b64_json"), entry.get("url")
    if isinstance(coded, str):
        data = from_data_url(coded if coded.startswith("data:") else f"data:;base64,{coded}")
    elif isinstance(url, str) and url.startswith("data:"):
        data = from_data_url(url)
    elif isinstance(url, str):
        try:
            data = (await fetch(url)).data
        except Unfetchable as exc:
            raise UpstreamBroken(f"the picture of the answer: {exc}") from exc
    else:
        data = None
    if not data:
        raise UpstreamBroken("an answer without a picture")
    return Picture(data, sniff(data))


def _first(answer: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(answer)
        entry = told["data"][0]
    except (ValueError, LookupError, TypeError) as exc:
        raise UpstreamBroken("an answer without a picture") from exc
    return entry if isinstance(entry, dict) else {}


def _plain(content: object) -> str:
    """The text of a message, which some providers send in parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def text_in(answer: bytes) -> bytes:
    """``{"text", "model", "usage"}`` out of a whole completion. Raises UpstreamBroken where it says nothing."""
    try:
        told = orjson.loads(answer)
        message = told["choices"][0]["message"]
        text = _plain(message.get("content")) or message.get("refusal") or ""
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise UpstreamBroken("an answer without a message") from exc
    return orjson.dumps({"text": text, "model": told.get("model"), "usage": told.get("usage")})
