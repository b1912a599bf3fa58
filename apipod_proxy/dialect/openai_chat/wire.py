"""Pieces of a Chat answer that streams and unary answers have in common."""

from __future__ import annotations

from typing import Any

from apipod_proxy.dialect.openai_chat.content import data_url
from apipod_proxy.dialect.openai_chat.names import FORMAT_OF, NAME, WORDS
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    Finish,
    Json,
    MediaDelta,
    Opaque,
    SignatureDelta,
    StopReason,
    ToolOpen,
)

Object = dict[str, Any]


def own(extra: Opaque | None) -> Object:
    """Fields of this dialect; none where they are another's."""
    return extra.payload if extra is not None and extra.dialect == NAME else {}


def created_at(given: int | None, now: int) -> int:
    """The provider's time, where it is one."""
    return given if given is not None and 0 < given < 2**53 else now


def is_legacy(event: ToolOpen) -> bool:
    return "function_call" in own(event.extra)


def tool_call(event: ToolOpen, index: int, arguments: str) -> Object:
    """A tool call's first piece, or the whole of it."""
    call: Object = {"index": index, "id": event.id}
    if event.custom:
        call |= {"type": "custom", "custom": {"name": event.name, "input": arguments}}
    else:
        call |= {"type": "function", "function": {"name": event.name, "arguments": arguments}}
    if event.signature is not None and event.signed_by == "gemini":
        call["extra_content"] = {"google": {"thought_signature": event.signature}}
    return call


def signature_detail(event: SignatureDelta, text: str, index: int) -> Object:
    """A detail in OpenRouter's form."""
    form = FORMAT_OF.get(event.signed_by, "unknown")
    if event.redacted:
        return {"type": "reasoning.encrypted", "data": event.signature, "format": form, "index": index}
    return {
        "type": "reasoning.text",
        "text": text,
        "signature": event.signature,
        "format": form,
        "index": index,
    }


def media_delta(event: MediaDelta) -> Object | None:
    """What the model made, beside the text: audio as OpenAI has it, images as OpenRouter has them."""
    media = event.media
    known = own(media.extra)
    if known:
        return known
    if media.kind == "image" and (media.data is not None or media.url is not None):
        url = media.url if media.data is None else data_url(media)
        return {"images": [{"type": "image_url", "image_url": {"url": url}}]}
    if media.kind == "audio" and media.data is not None:
        return {"audio": {"data": media.data}}
    return None


def annotation(event: Annotation) -> Json:
    """A citation; None where it names no address."""
    if event.citation.dialect == NAME:
        return event.citation.payload
    if event.url is None:
        return None
    return {
        "type": "url_citation",
        "url_citation": {
            "url": event.url,
            "title": event.title or "",
            "start_index": event.start or 0,
            "end_index": event.end or 0,
        }
        | ({"content": event.quote} if event.quote else {}),
    }


def finish_word(event: Finish, legacy: bool) -> str:
    return "function_call" if legacy and event.reason is StopReason.TOOL_USE else WORDS[event.reason]
