"""Files that a request names by URL: where they stand, and how each becomes part of the request itself.

One walker for each dialect of clients gives ``Link``s into a parsed body; ``put`` replaces what stands there with the bytes, in the form that the
same dialect has for them. In Chat, parts ``{"type": "file_url" | "audio_url", …: {"url", "headers", "filename"}}`` are taken too; no provider
knows them, so they are always replaced.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import orjson

from apipod_proxy.dialect import media_types
from apipod_proxy.dialect.fields import Json, Object, a_text, an_object, opt_text, required
from apipod_proxy.dialect.words import Words, may_hold_url
from apipod_proxy.errors import BadRequest

CHAT = "openai_chat"
EXTENSIONS = ("file_url", "audio_url")
EXTENSION_WORDS = Words(*(name.encode() for name in EXTENSIONS), stems=(b'_url"',))

_AUDIO_FORMATS = {"audio/mpeg": "mp3", "audio/wav": "wav"}

# What each dialect as an upstream loads by URL itself, if the provider loads anything. Gemini reads from its own stores alone.
_LOADED: Mapping[str, frozenset[str]] = {
    CHAT: frozenset({"image", "video"}),
    "anthropic": frozenset({"image", "pdf"}),
    "openai_responses": frozenset({"image", "pdf", "document"}),
    "gemini": frozenset(),
}
_GOOGLES = (
    "generativelanguage.googleapis.com",
    "youtube.com",
    "www.youtube.com",
    "m.youtube.com",
    "youtu.be",
)

Put = Callable[[bytes, str], None]
"""(the file, its media type): put it into the request."""


class Link(NamedTuple):
    """One file. ``kind``: image | document | audio | video | any. ``always``: no provider loads it. ``headers`` are for its server."""

    path: str
    url: str
    kind: str
    put: Put
    always: bool = False
    headers: Mapping[str, str] = {}


def links_in(dialect: str, body: Object) -> list[Link]:
    """Every file that ``body`` names by URL, in order. Raises BadRequest for extensions that are malformed."""
    walk = _WALKERS.get(dialect)
    return [] if walk is None else list(walk(body))


def needed(found: list[Link], spoken: str, *, spliced: bool, fetches_urls: bool) -> list[Link]:
    """Those that a provider cannot load itself. ``spoken`` is its dialect, ``spliced``: it is the client's."""
    return [link for link in found if link.always or not _loads(link, spoken, spliced, fetches_urls)]


def may_hold_links(dialect: str, body: bytes, *, loads: bool) -> bool:
    """A cheap test, which may see what is not there. ``loads``: the provider takes URLs as the client gives them."""
    if dialect == CHAT and EXTENSION_WORDS.stand_in(body):
        return True
    return not loads and may_hold_url(body)


def dumps(body: Object) -> bytes:
    """A body as JSON, with its numbers as they were."""
    try:
        return orjson.dumps(body)
    except TypeError:
        # Integers of more than 64 bits, and halves of surrogate pairs, which only escapes can say.
        return json.dumps(body, separators=(",", ":")).encode()


def data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{_text(data)}"


def from_data_url(url: str) -> bytes | None:
    """What a data URL in base64 holds; None for what is none."""
    head, comma, data = url[5:].partition(",")
    if not comma or not url.startswith("data:") or not head.endswith(";base64"):
        return None
    try:
        return base64.b64decode(media_types.standard_base64(data), validate=True)
    except ValueError:
        return None


def _loads(link: Link, spoken: str, spliced: bool, fetches_urls: bool) -> bool:
    if _host_of(link.url) in _GOOGLES:
        return True
    if spliced or not fetches_urls:
        return fetches_urls
    if spoken == "anthropic" and link.url[:5].lower() == "http:":
        # "Only HTTPS URLs are supported."
        return False
    kind = link.kind
    if kind == "document" and media_types.guess(link.url, kind) == "application/pdf":
        kind = "pdf"
    return kind in _LOADED.get(spoken, frozenset({"image"}))


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname if url.startswith("http") else None
    except ValueError:
        # Malformed, which whoever loads it will say.
        return None


def _is_url(value: Json) -> bool:
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _objects(value: Json, path: str) -> Iterator[tuple[Object, str]]:
    """The objects of a list; what is no list or no object is left to whoever reads the request."""
    if isinstance(value, list):
        for index, one in enumerate(value):
            if isinstance(one, dict):
                yield one, f"{path}[{index}]"


def _setter(holder: Object, name: str) -> Put:
    """Puts a data URL where the URL stood."""

    def put(data: bytes, media_type: str) -> None:
        holder[name] = data_url(data, media_type)

    return put


# Chat


def _chat(body: Object) -> Iterator[Link]:
    for message, path in _objects(body.get("messages"), "$.messages"):
        for part, at in _objects(message.get("content"), f"{path}.content"):
            yield from _chat_part(part, at)


def _chat_part(part: Object, path: str) -> Iterator[Link]:
    kind = part.get("type")
    if kind in EXTENSIONS:
        yield _extension(part, str(kind), path)
    elif kind in ("image_url", "video_url"):
        holder, name, at = part, kind, f"{path}.{kind}"
        if isinstance(part.get(kind), dict):
            holder, name, at = part[kind], "url", f"{at}.url"
        if _is_url(holder.get(name)):
            yield Link(at, holder[name], kind.removesuffix("_url"), _setter(holder, name))
    elif kind == "document_url":
        value = part.get("document_url")
        url = value.get("url") if isinstance(value, dict) else value
        if _is_url(url):
            at = f"{path}.document_url"
            yield Link(at, str(url), "document", _chat_putter(part, part.get("document_name"), str(url)))
    elif kind == "file" and isinstance(part.get("file"), dict) and _is_url(part["file"].get("file_data")):
        file = part["file"]
        yield Link(f"{path}.file.file_data", file["file_data"], "document", _setter(file, "file_data"))


def _extension(part: Object, kind: str, path: str) -> Link:
    at = f"{path}.{kind}"
    value = required(part.get(kind), at)
    holder = {"url": value} if isinstance(value, str) else an_object(value, at)
    if not isinstance(value, str):
        at = f"{at}.url"
    url = a_text(required(holder.get("url"), at), at)
    above = f"{path}.{kind}"
    name = opt_text(holder, "filename", above)
    headers = an_object(holder.get("headers") or {}, f"{above}.headers")
    for header, text in headers.items():
        a_text(text, f"{above}.headers.{header}")
    put = _chat_putter(part, name, url)
    return Link(at, url, "audio" if kind == "audio_url" else "any", put, True, headers)


def _chat_putter(part: Object, name: Json, url: str) -> Put:
    """Makes the part that Chat has for this kind of file."""

    def put(data: bytes, media_type: str) -> None:
        kept = {key: part[key] for key in ("cache_control",) if key in part}
        part.clear()
        if media_type.startswith("image/"):
            part.update({"type": "image_url", "image_url": {"url": data_url(data, media_type)}})
        elif media_type.startswith("audio/"):
            form = _AUDIO_FORMATS.get(media_type, media_type.partition("/")[2])
            part.update({"type": "input_audio", "input_audio": {"data": _text(data), "format": form}})
        elif media_type.startswith("video/"):
            part.update({"type": "video_url", "video_url": {"url": data_url(data, media_type)}})
        else:
            file = {
                "filename": file_name(name, url, media_type),
                "file_data": data_url(data, media_type),
            }
            part.update({"type": "file", "file": file})
        part.update(kept)

    return put


def file_name(name: Json, url: str, media_type: str) -> str:
    """A name for the file, whose end tells its type: the given one, else that in its URL."""
    if isinstance(name, str) and name:
        return name
    last = "" if url.startswith("data:") else unquote(media_types.path_of(url).rpartition("/")[2])
    if media_types.guess(last) == media_type:
        return last
    ending = next((end for end, kind in media_types.SUFFIXES.items() if kind == media_type), "txt")
    return f"document.{ending}"


# Messages


def _messages(body: Object) -> Iterator[Link]:
    for message, path in _objects(body.get("messages"), "$.messages"):
        yield from _blocks(message.get("content"), f"{path}.content")


def _blocks(value: Json, path: str) -> Iterator[Link]:
    for block, at in _objects(value, path):
        kind = block.get("type")
        source = block.get("source")
        if kind == "tool_result":
            yield from _blocks(block.get("content"), f"{at}.content")
        elif (
            kind in ("image", "document")
            and isinstance(source, dict)
            and source.get("type") == "url"
            and _is_url(source.get("url"))
        ):
            yield Link(f"{at}.source.url", source["url"], kind, _source_putter(block, kind))


def _source_putter(block: Object, kind: str) -> Put:
    def put(data: bytes, media_type: str) -> None:
        if kind == "document" and media_type.startswith("text/"):
            text = data.decode("utf-8-sig", "replace")
            block["source"] = {"type": "text", "media_type": "text/plain", "data": text}
        else:
            block["source"] = {"type": "base64", "media_type": media_type, "data": _text(data)}

    return put


# Gemini


def _gemini(body: Object) -> Iterator[Link]:
    for content, path in _objects(body.get("contents"), "$.contents"):
        for part, at in _objects(content.get("parts"), f"{path}.parts"):
            for name, inner in (("fileData", "fileUri"), ("file_data", "file_uri")):
                file = part.get(name)
                if isinstance(file, dict) and _is_url(file.get(inner)):
                    url = file[inner]
                    told = file.get("mimeType") or file.get("mime_type") or media_types.guess(url)
                    kind = media_types.kind_of(told) if told else "any"
                    yield Link(f"{at}.{name}.{inner}", url, kind, _blob_putter(part, name))


def _blob_putter(part: Object, name: str) -> Put:
    def put(data: bytes, media_type: str) -> None:
        del part[name]
        part["inlineData"] = {"mimeType": media_type, "data": _text(data)}

    return put


# Responses


def _responses(body: Object) -> Iterator[Link]:
    for item, path in _objects(body.get("input"), "$.input"):
        for name in ("content", "output"):
            for part, at in _objects(item.get(name), f"{path}.{name}"):
                if part.get("type") == "input_image" and _is_url(part.get("image_url")):
                    yield Link(f"{at}.image_url", part["image_url"], "image", _setter(part, "image_url"))
                elif part.get("type") == "input_file" and _is_url(part.get("file_url")):
                    yield Link(f"{at}.file_url", part["file_url"], "document", _input_putter(part))


def _input_putter(part: Object) -> Put:
    def put(data: bytes, media_type: str) -> None:
        url = part.pop("file_url")
        part["filename"] = file_name(part.get("filename"), url, media_type)
        part["file_data"] = data_url(data, media_type)

    return put


_WALKERS: Mapping[str, Callable[[Object], Iterator[Link]]] = {
    CHAT: _chat,
    "anthropic": _messages,
    "gemini": _gemini,
    "openai_responses": _responses,
}


def check_kind(link: Link, media_type: str) -> None:
    """BadRequest where a file is not of the kind that its place is for."""
    kind = media_types.kind_of(media_type)
    if media_type == "application/octet-stream" or (
        link.kind in ("image", "audio", "video") and kind != link.kind
    ):
        wanted = {"any": "a file of a known kind", "document": "a file of a known kind", "image": "an image"}
        raise BadRequest(f"What is at this URL is not {wanted.get(link.kind, link.kind)}", link.path)
