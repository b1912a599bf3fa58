"""Parts of a message's content, both ways: text, images, audio, files."""

from __future__ import annotations

import base64
from collections.abc import Callable

from apipod_proxy.dialect import lenient, media_types
from apipod_proxy.dialect.fields import Object, a_list, a_text, an_object, opt_object, opt_text, required
from apipod_proxy.dialect.openai_chat.names import NAME
from apipod_proxy.dialect.vocabulary import (
    Json,
    Media,
    Opaque,
    Part,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

_WAV = base64.b64encode(b"RIFF").decode()[:5]
"""How base64 of a WAV file begins."""
AUDIO_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav"}
AUDIO_FORMATS = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
}


# Chat → ours


def read_content(value: Json, path: str) -> list[Part]:
    """The parts of a message's ``content``: a string, a list of parts, or null."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [Text(value)]
    if not isinstance(value, list):
        raise BadRequest("Expected a string or an array of parts", path)
    parts: list[Part] = []
    for index, part in enumerate(value):
        # Nearly every part is plain text; its path is only put together where it is needed.
        if (
            type(part) is dict
            and len(part) == 2
            and part.get("type") == "text"
            and type(part.get("text")) is str
        ):
            parts.append(Text(part["text"]))
        else:
            parts.append(read_part(part, f"{path}[{index}]"))
    return parts


def read_part(value: Json, path: str) -> Part:
    """One part. What is of no known type is kept as it is."""
    if isinstance(value, str):
        return Text(value)
    part = an_object(value, path)
    kind = a_text(part.get("type", "text"), f"{path}.type")
    reader = _READERS.get(kind)
    return reader(part, path) if reader is not None else Opaque(NAME, part, path)


def _text(part: Object, path: str) -> Part:
    return Text(a_text(required(part.get("text"), f"{path}.text"), f"{path}.text"), cache=_cache(part, path))


def _cache(part: Object, path: str) -> Json:
    mark = opt_object(part, "cache_control", path)
    if mark is None and part.get("prompt_cache_breakpoint"):
        return {"type": "ephemeral"}
    return mark


def _refusal(part: Object, path: str) -> Part:
    return Refusal(a_text(required(part.get("refusal"), f"{path}.refusal"), f"{path}.refusal"))


def _image(part: Object, path: str) -> Part:
    return _located(part, "image_url", "image", path)


def _video(part: Object, path: str) -> Part:
    return _located(part, "video_url", "video", path)


def _document(part: Object, path: str) -> Part:
    media = _located(part, "document_url" if "document_url" in part else "file_url", "document", path)
    media.name = opt_text(part, "document_name", path)
    return media


def _located(part: Object, name: str, kind: str, path: str) -> Media:
    """``{name: {"url": …}}``, or the URL itself."""
    at = f"{path}.{name}"
    value = required(part.get(name), at)
    holder = {"url": value} if isinstance(value, str) else an_object(value, at)
    url = a_text(required(holder.get("url"), f"{at}.url"), f"{at}.url")
    media = from_url(url, kind, f"{at}.url")
    media.detail = opt_text(holder, "detail", at)
    media.cache = _cache(part, path)
    return media


def from_url(url: str, kind: str, path: str) -> Media:
    """Media behind a URL, or in it."""
    if not url:
        raise BadRequest("Expected a URL, got an empty string", path)
    if not url.startswith("data:") and "://" not in url and kind == "document":
        # Perplexity takes bare base64 where others want a URL.
        return Media(kind, data=url)
    if not url.startswith("data:"):
        return Media(kind, media_types.guess(url) if kind == "document" else None, url=url)
    head, comma, data = url[5:].partition(",")
    media_type, *flags = head.split(";")
    if not comma or "base64" not in flags:
        raise BadRequest("Expected a data URL in base64: data:<media type>;base64,<data>", path)
    return Media(kind, media_type or media_types.guess(None, kind), data=data)


def _audio(part: Object, path: str) -> Part:
    at = f"{path}.input_audio"
    given = part.get("input_audio")
    if isinstance(given, str):
        # Mistral takes the data, or a URL, without saying what it is.
        if given.startswith("data:") or "://" in given:
            return from_url(given, "audio", at)
        return Media("audio", "audio/wav" if given.startswith(_WAV) else "audio/mpeg", data=given)
    audio = an_object(required(given, at), at)
    form = a_text(required(audio.get("format"), f"{at}.format"), f"{at}.format")
    data = a_text(required(audio.get("data"), f"{at}.data"), f"{at}.data")
    if data.startswith("data:"):
        data = data.partition(",")[2]
    return Media("audio", AUDIO_TYPES.get(form, f"audio/{form}"), data=data, cache=_cache(part, path))


def _file(part: Object, path: str) -> Part:
    at = f"{path}.file"
    file = an_object(required(part.get("file"), at), at)
    name = opt_text(file, "filename", at)
    data = opt_text(file, "file_data", at)
    identity = opt_text(file, "file_id", at)
    if data is None:
        if identity is None:
            raise BadRequest("Either file_data or file_id is required", at)
        return Media("document", file_id=identity, name=name, cache=_cache(part, path))
    is_url = data.startswith(("data:", "http://", "https://"))
    media = from_url(data, "document", f"{at}.file_data") if is_url else Media("document", data=data)
    media.kind = media_types.kind_of(media.media_type) if media.data else "document"
    media.media_type = media.media_type or media_types.guess(name, "document")
    media.name = name
    media.cache = _cache(part, path)
    return media


def _thinking(part: Object, path: str) -> Part:
    """Mistral's: a list of texts."""
    value = part.get("thinking")
    if isinstance(value, str):
        return Thinking(value)
    at = f"{path}.thinking"
    texts = [an_object(item, f"{at}[{index}]") for index, item in enumerate(a_list(value or [], at))]
    return Thinking("".join(opt_text(item, "text", at) or "" for item in texts))


def _call(part: Object, path: str) -> Part:
    """A call as a part of content, as Cursor sends it; so the next two."""
    given = part.get("input")
    return ToolCall(
        a_text(required(part.get("id"), f"{path}.id"), f"{path}.id"),
        a_text(required(part.get("name"), f"{path}.name"), f"{path}.name"),
        lenient.dumps({} if given is None else an_object(given, f"{path}.input")).decode(),
        cache=_cache(part, path),
    )


def _result(part: Object, path: str) -> Part:
    at = f"{path}.tool_use_id"
    return ToolResult(
        a_text(required(part.get("tool_use_id"), at), at),
        read_content(part.get("content"), f"{path}.content"),
        is_error=part.get("is_error") is True,
        cache=_cache(part, path),
    )


def _sourced(part: Object, path: str) -> Part:
    at = f"{path}.source"
    source = an_object(required(part.get("source"), at), at)
    media = Media("image", opt_text(source, "media_type", at), cache=_cache(part, path))
    if source.get("type") == "url":
        media.url = a_text(required(source.get("url"), f"{at}.url"), f"{at}.url")
    else:
        media.data = a_text(required(source.get("data"), f"{at}.data"), f"{at}.data")
    return media


_READERS: dict[str, Callable[[Object, str], Part]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "video_url": _video,
    "document_url": _document,
    "file_url": _document,
    "input_audio": _audio,
    "file": _file,
    "thinking": _thinking,
    "tool_use": _call,
    "tool_result": _result,
    "image": _sourced,
}


# Ours → Chat


def data_url(media: Media) -> str:
    """The bytes of ``media`` as a URL."""
    return f"data:{media.media_type or media_types.guess(media.name, media.kind)};base64,{media.data}"


def write_media(media: Media, path: str) -> Object:
    """The part of one image, document, sound or video; BadRequest where Chat has none for it."""
    if media.text is not None:
        return {"type": "text", "text": media_types.headed(media, media.text)}
    if media.kind == "image" and (media.data is not None or media.url is not None):
        image: Object = {"url": media.url if media.data is None else data_url(media)}
        if media.detail is not None:
            image["detail"] = media.detail
        return {"type": "image_url", "image_url": image}
    if media.kind == "audio" and media.data is not None:
        form = AUDIO_FORMATS.get(media.media_type or "", (media.media_type or "audio/mp3").partition("/")[2])
        return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}
    if media.kind == "video" and (media.data is not None or media.url is not None):
        return {
            "type": "video_url",
            "video_url": {"url": media.url if media.data is None else data_url(media)},
        }
    if media.kind == "document":
        return {"type": "file", "file": _write_file(media)}
    raise BadRequest(f"This {media.kind} cannot be sent to this model in this form", path)


def _write_file(media: Media) -> Object:
    file: Object = {}
    if media.file_id is not None:
        file["file_id"] = media.file_id
    else:
        file["filename"] = media.name or _file_name(media.media_type)
        file["file_data"] = media.url if media.data is None else data_url(media)
    return file


def _file_name(media_type: str | None) -> str:
    """OpenAI wants a name, and reads the type of the file from its end."""
    ending = next((end for end, known in media_types.SUFFIXES.items() if known == media_type), "pdf")
    return f"document.{ending}"
