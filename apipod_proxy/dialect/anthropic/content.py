"""Content blocks of Messages, both ways."""

from __future__ import annotations

import re
from collections.abc import Callable

from apipod_proxy.dialect import custom_tools, lenient, media_types
from apipod_proxy.dialect.anthropic.names import NAME
from apipod_proxy.dialect.fields import (
    Object,
    a_list,
    a_text,
    an_object,
    opt_bool,
    opt_list,
    opt_object,
    opt_text,
    required,
)
from apipod_proxy.dialect.signatures import CALL, TEXT, unwrap_placed
from apipod_proxy.dialect.vocabulary import (
    Json,
    Media,
    Opaque,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

_BAD_ID = re.compile(r"[^A-Za-z0-9_-]")


# Messages → ours


def read_blocks(value: Json, path: str) -> list[Part]:
    """The parts of ``content``: a string, or a list of blocks."""
    if isinstance(value, str):
        return [Text(value)] if value else []
    if not isinstance(value, list):
        raise BadRequest("Expected a string or an array of blocks", path)
    parts: list[Part] = []
    place: tuple[str, str] | None = None
    for index, item in enumerate(value):
        # Nearly every block is plain text; its path is only put together where it is needed.
        if (
            type(item) is dict
            and len(item) == 2
            and item.get("type") == "text"
            and type(item.get("text")) is str
        ):
            place = None
            parts.append(Text(item["text"]))
            continue
        at = f"{path}[{index}]"
        block = an_object(item, at)
        kind = a_text(required(block.get("type"), f"{at}.type"), f"{at}.type")
        if kind == "thinking":
            place = _read_thinking(block, parts, at)
            continue
        reader = _READERS.get(kind)
        part = reader(block, at) if reader is not None else Opaque(NAME, block, at)
        if place is not None and isinstance(part, ToolCall):
            part.signature, part.signed_by = place
        place = None
        parts.append(part)
    return parts


def _read_thinking(block: Object, parts: list[Part], path: str) -> tuple[str, str] | None:
    """A thinking block. Gives the signature in it that belongs to the tool call behind it, if it holds one."""
    text = opt_text(block, "thinking", path) or ""
    signed = unwrap_placed(opt_text(block, "signature", path) or "")
    if signed.signed_by is not None and signed.place in (CALL, TEXT):
        if text:
            parts.append(Thinking(text))
        if signed.place == CALL:
            return signed.signature, signed.signed_by
        last = parts[-1] if parts else None
        if isinstance(last, Text):
            last.signature, last.signed_by = signed.signature, signed.signed_by
        return None
    signer = signed.signed_by or (NAME if signed.signature else None)
    parts.append(Thinking(text, signed.signature or None, signer))
    return None


def _cache(block: Object, path: str) -> Json:
    return opt_object(block, "cache_control", path)


def read_text(block: Object, path: str) -> Text:
    text = Text(
        a_text(required(block.get("text"), f"{path}.text"), f"{path}.text"), cache=_cache(block, path)
    )
    for item in opt_list(block, "citations", path):
        # Without its index the API does not take a citation back; those of other providers have none.
        if not (isinstance(item, dict) and item.get("encrypted_index") == ""):
            text.citations.append(Opaque(NAME, item, "citations"))
    return text


def _redacted(block: Object, path: str) -> Part:
    data = a_text(required(block.get("data"), f"{path}.data"), f"{path}.data")
    signed = unwrap_placed(data)
    return Thinking("", signed.signature, signed.signed_by or NAME, redacted=True)


def _image(block: Object, path: str) -> Part:
    return _sourced("image", block, path)


def _document(block: Object, path: str) -> Part:
    source = block.get("source")
    if isinstance(source, dict) and _holds_pictures(source.get("content")):
        # Of its blocks only the texts could be told to others.
        return Opaque(NAME, block, path)
    media = _sourced("document", block, path)
    media.name = opt_text(block, "title", path)
    media.context = opt_text(block, "context", path)
    cites = opt_object(block, "citations", path)
    media.citations = cites is not None and cites.get("enabled") is True
    return media


def _holds_pictures(content: Json) -> bool:
    return isinstance(content, list) and any(
        isinstance(item, dict) and item.get("type") != "text" for item in content
    )


def _search_result(block: Object, path: str) -> Part:
    """What a client found itself: a document of text, to those who know no such block."""
    at = f"{path}.content"
    cites = opt_object(block, "citations", path)
    return Media(
        "document",
        "text/plain",
        text=_text_of(required(block.get("content"), at), at),
        name=opt_text(block, "title", path),
        context=opt_text(block, "source", path),
        citations=cites is not None and cites.get("enabled") is True,
        cache=_cache(block, path),
        extra=Opaque(NAME, {"block": block}),
    )


def _tool_reference(block: Object, path: str) -> Part:
    """What a search for tools found. Others are offered every tool in full, so that its name is all they have to be told."""
    at = f"{path}.tool_name"
    name = a_text(required(block.get("tool_name"), at), at)
    return Media(
        "document",
        "text/plain",
        text=name,
        cache=_cache(block, path),
        extra=Opaque(NAME, {"block": block}),
    )


def _sourced(kind: str, block: Object, path: str) -> Media:
    at = f"{path}.source"
    source = an_object(required(block.get("source"), at), at)
    form = a_text(required(source.get("type"), f"{at}.type"), f"{at}.type")
    media = Media(kind, opt_text(source, "media_type", at), cache=_cache(block, path))
    if form == "base64":
        media.data = a_text(required(source.get("data"), f"{at}.data"), f"{at}.data")
    elif form == "url":
        media.url = a_text(required(source.get("url"), f"{at}.url"), f"{at}.url")
    elif form == "file":
        media.file_id = a_text(required(source.get("file_id"), f"{at}.file_id"), f"{at}.file_id")
    elif form == "text" and kind == "document":
        media.text = a_text(required(source.get("data"), f"{at}.data"), f"{at}.data")
    elif form == "content" and kind == "document":
        media.text = _text_of(source.get("content"), f"{at}.content")
        media.extra = Opaque(NAME, {"source": source})
    else:
        raise BadRequest(f"Expected base64, url, file, text or content, got {form!r}", f"{at}.type")
    return media


def _text_of(value: Json, path: str) -> str:
    """The text of a document that is given as blocks."""
    if isinstance(value, str):
        return value
    parts = read_blocks(a_list(required(value, path), path), path)
    return "\n\n".join(part.text for part in parts if isinstance(part, Text))


def _tool_use(block: Object, path: str) -> Part:
    given = block.get("input")
    call = ToolCall(
        a_text(required(block.get("id"), f"{path}.id"), f"{path}.id"),
        a_text(required(block.get("name"), f"{path}.name"), f"{path}.name"),
        lenient.dumps({} if given is None else an_object(given, f"{path}.input")).decode(),
        cache=_cache(block, path),
    )
    if block.get("caller") is not None:
        call.extra = Opaque(NAME, {"caller": block["caller"]})
    return call


def _tool_result(block: Object, path: str) -> Part:
    at = f"{path}.tool_use_id"
    content = block.get("content")
    return ToolResult(
        a_text(required(block.get("tool_use_id"), at), at),
        [] if content is None else read_blocks(content, f"{path}.content"),
        is_error=opt_bool(block, "is_error", path) is True,
        cache=_cache(block, path),
    )


_READERS: dict[str, Callable[[Object, str], Part]] = {
    "text": read_text,
    "redacted_thinking": _redacted,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _tool_reference,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
}


# Ours → Messages


def tool_id(identity: str) -> str:
    """An id as Claude takes it: letters, digits, ``_`` and ``-``."""
    return _BAD_ID.sub("_", identity) or "_"


def write_text(text: Text) -> Object:
    block: Object = {"type": "text", "text": text.text}
    cites = [cite.payload for cite in text.citations if cite.dialect == NAME]
    if cites:
        block["citations"] = cites
    return block


def write_media(media: Media, own: bool, path: str) -> Object:
    """The block of an image or a document; BadRequest for what Messages cannot hold."""
    if media.extra is not None and media.extra.dialect == NAME and "block" in media.extra.payload:
        return dict(media.extra.payload["block"])
    if media.kind not in ("image", "document"):
        raise BadRequest(f"This model takes no {media.kind}", path)
    block: Object = {"type": media.kind, "source": _source(media, own, path)}
    if media.kind == "document":
        if media.name is not None:
            block["title"] = media.name
        if media.context is not None:
            block["context"] = media.context
        if media.citations:
            block["citations"] = {"enabled": True}
    return block


def _source(media: Media, own: bool, path: str) -> Object:
    if media.extra is not None and media.extra.dialect == NAME and "source" in media.extra.payload:
        kept: Object = media.extra.payload["source"]
        return kept
    if media.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": media.text}
    if media.url is not None:
        return {"type": "url", "url": media.url}
    if media.data is not None:
        return _bytes_source(media, own, path)
    if media.file_id is not None and own:
        return {"type": "file", "file_id": media.file_id}
    raise BadRequest("A file kept by another provider cannot be sent to this model", path)


def _bytes_source(media: Media, own: bool, path: str) -> Object:
    kind = media.media_type or media_types.guess(media.name, media.kind) or "application/octet-stream"
    if kind == "image/jpg" and not own:
        # A common misspelling, which the API refuses.
        kind = "image/jpeg"
    if media.kind == "image" or own or kind == "application/pdf":
        return {"type": "base64", "media_type": kind, "data": media.data}
    try:
        text = media_types.text_in(media)
    except ValueError as exc:
        raise BadRequest(str(exc), path) from exc
    if text is not None:
        return {"type": "text", "media_type": "text/plain", "data": text}
    raise BadRequest(f"This model takes no documents of type {kind}, only PDF and text", path)


def write_call(call: ToolCall, identity: str) -> Object:
    block: Object = {
        "type": "tool_use",
        "id": identity,
        "name": call.name,
        "input": {custom_tools.INPUT: call.arguments}
        if call.custom
        else lenient.arguments_object(call.arguments),
    }
    if call.extra is not None and call.extra.dialect == NAME:
        block |= call.extra.payload
    return block
