"""Reasoning in the history of a Chat conversation, both ways: ``reasoning_content``, ``reasoning`` and ``reasoning_details``."""

from __future__ import annotations

from apipod_proxy.dialect.fields import Object, opt_list, opt_text
from apipod_proxy.dialect.openai_chat.names import FORMAT_OF, FORMATS, NAME
from apipod_proxy.dialect.vocabulary import Json, Opaque, Thinking, ToolCall


def read_reasoning(message: Object, calls: list[ToolCall], path: str) -> list[Thinking]:
    """The thinking of an assistant message. Signatures that belong to one of ``calls`` are put there."""
    details = opt_list(message, "reasoning_details", path)
    found: list[Thinking] = []
    for detail in details:
        if isinstance(detail, dict):
            _read_detail(detail, calls, found)
    text = opt_text(message, "reasoning_content", path) or opt_text(message, "reasoning", path)
    if text and not any(thinking.text for thinking in found):
        return [Thinking(text), *found]
    return found


def _read_detail(detail: Object, calls: list[ToolCall], found: list[Thinking]) -> None:
    text = _str(detail.get("text")) or _str(detail.get("summary"))
    signature = _str(detail.get("signature")) or None
    data = _str(detail.get("data")) or None
    signed_by = FORMATS.get(_str(detail.get("format")), NAME)
    identity = detail.get("id")
    if data is None and found and _goes_on(detail, found[-1]):
        found[-1].text += text
        if signature:
            found[-1].signature, found[-1].signed_by = signature, signed_by
        told = found[-1].extra.payload if found[-1].extra else {}
        found[-1].extra = Opaque(NAME, {**told, **detail, "text": found[-1].text}, "reasoning_details")
        return
    if data is not None and signed_by == "gemini":
        for call in calls:
            if identity is not None and call.id == identity:
                call.signature, call.signed_by = data, signed_by
                return
    if data is not None and identity is not None:
        for thinking in found:
            if thinking.signature is None and thinking.extra and thinking.extra.payload.get("id") == identity:
                # A summary and its encrypted text are two details of one item.
                thinking.signature, thinking.signed_by = data, signed_by
                return
    thinking = Thinking(
        text, signature or data, signed_by if signature or data else None, redacted=data is not None
    )
    thinking.extra = Opaque(NAME, detail, "reasoning_details")
    found.append(thinking)


def _goes_on(detail: Object, last: Thinking) -> bool:
    """Whether a detail is the next piece of the last one: streams tell one in pieces of the same number, and clients keep them so."""
    told = last.extra.payload if last.extra else {}
    return (
        detail.get("type") == told.get("type") == "reasoning.text"
        and detail.get("index") is not None
        and detail["index"] == told.get("index")
        and last.signature is None
    )


def _str(value: Json) -> str:
    return value if isinstance(value, str) else ""


def write_details(thoughts: list[Thinking], calls: list[ToolCall], with_calls: bool) -> list[Object]:
    """``reasoning_details`` for a provider that takes them. ``with_calls``: signatures of calls stand there as well."""
    details: list[Object] = []
    for thinking in thoughts:
        own = thinking.extra is not None and thinking.extra.dialect == NAME
        if own and thinking.extra is not None and "type" in thinking.extra.payload:
            details.append(thinking.extra.payload)
        elif thinking.signature is not None:
            details.append(detail_of(thinking, len(details)))
        elif thinking.text:
            details.append({"type": "reasoning.text", "text": thinking.text, "index": len(details)})
    for call in calls:
        if with_calls and call.signature is not None:
            details.append(call_detail(call.id, call.signature, call.signed_by, len(details)))
    return details


def detail_of(thinking: Thinking, index: int) -> Object:
    """One signed or hidden piece of thinking."""
    form = FORMAT_OF.get(thinking.signed_by or "", "unknown")
    if thinking.redacted:
        return {"type": "reasoning.encrypted", "data": thinking.signature, "format": form, "index": index}
    return {
        "type": "reasoning.text",
        "text": thinking.text,
        "signature": thinking.signature,
        "format": form,
        "index": index,
    }


def call_detail(call_id: str, signature: str, signed_by: str | None, index: int) -> Object:
    """The signature of a tool call, which names the call that it belongs to."""
    form = FORMAT_OF.get(signed_by or "", "unknown")
    return {"type": "reasoning.encrypted", "data": signature, "id": call_id, "format": form, "index": index}
