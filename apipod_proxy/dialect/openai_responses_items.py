"""The items of the Responses API: a conversation as a flat list, to messages and back.

Where Responses and the vocabulary differ:

* Reasoning, text and calls of one turn are separate items. Neighbours of one side become one message; where an item of text begins, and with
  which id and phase, is kept in the message's ``extra``.
* A reasoning item's ``encrypted_content`` may hold another provider's signature with its label. One that stood on a call or a text is put
  back there.
* Functions may stand in a namespace. Elsewhere there are none, so the name becomes ``namespace__name``, and is told apart again by the
  tools of the request.
* The result of a call may come after other messages. Elsewhere it has to follow its call, so that is where it is put.
* Items that are run by the provider travel as they are; other dialects refuse them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from apipod_proxy.dialect import media_types
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.fields import Object, a_list, a_text, an_object, opt_text, required
from apipod_proxy.dialect.places import place_of
from apipod_proxy.dialect.signatures import CALL, TEXT, unwrap_placed
from apipod_proxy.dialect.vocabulary import (
    Call,
    Json,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

NAME = "openai_responses"
"""The name of the dialect, also in signatures and opaque parts."""
Where = Callable[[], str]
"""The place of a part, looked for only where it has to be told: it takes a walk through the conversation."""
REDACTED = "redacted"
"""The place in a label that says: the opaque data of a redacted thinking block."""

ROLES = {"user": Role.USER, "system": Role.SYSTEM, "developer": Role.DEVELOPER, "assistant": Role.ASSISTANT}
OUTPUTS = ("_output", "_response")
"""How the types of items end that the client contributes; all other opaque items are the model's."""
AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^,]*)?;base64,", re.IGNORECASE)


# Responses → ours


@dataclass(slots=True)
class ItemsReader:
    """Reads the items of one request. ``tools`` gathers those that stand among the items."""

    messages: list[Message] = field(default_factory=list)
    tools: list[tuple[Json, str]] = field(default_factory=list)
    _call_signature: tuple[str, str | None] | None = None
    _callers: dict[str, Message] = field(default_factory=dict)
    """The message that holds a call, by the call's id."""
    _late: dict[int, list[Part]] = field(default_factory=dict)
    """Results that came after other messages, by the identity of the message that holds their calls."""

    def read(self, value: Json, path: str) -> None:
        """``input``: a plain string, or items."""
        if isinstance(value, str):
            self.messages.append(Message(Role.USER, [Text(value)]))
            return
        for index, raw in enumerate(a_list(value, path)):
            at = f"{path}[{index}]"
            item = an_object(raw, at)
            kind = opt_text(item, "type", at) or ("message" if "role" in item else "item_reference")
            reader = _READERS.get(kind)
            if reader is not None:
                reader(self, item, at)
            elif kind == "additional_tools":
                for number, tool in enumerate(a_list(item.get("tools") or [], f"{at}.tools")):
                    self.tools.append((tool, f"{at}.tools[{number}]"))
            else:
                if kind.endswith(OUTPUTS):
                    self.messages.append(Message(Role.USER, [Opaque(NAME, raw, at)]))
                else:
                    self._parts(Role.ASSISTANT).append(Opaque(NAME, raw, at))
        if self._late:
            self._put_late_results()

    def _parts(self, role: Role) -> list[Part]:
        """The parts of the message that an item of this side belongs to."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role is not role:
            last = Message(role, [])
            self.messages.append(last)
        return last.parts

    def message(self, item: Object, path: str) -> None:
        name = a_text(required(item.get("role"), f"{path}.role"), f"{path}.role")
        role = ROLES.get(name)
        if role is None:
            raise BadRequest(f"Expected one of {', '.join(ROLES)}, got '{name}'", f"{path}.role")
        content = item.get("content")
        parts: list[Part] = []
        if isinstance(content, str):
            parts = [Text(content)]
        else:
            for index, part in enumerate(a_list(content if content is not None else [], f"{path}.content")):
                parts.append(read_content(part, f"{path}.content[{index}]"))
        if role is not Role.ASSISTANT:
            self.messages.append(Message(role, parts))
            return
        target = self._parts(role)
        kept = {key: value for key, value in item.items() if key not in ("type", "role", "content")}
        owner = self.messages[-1]
        marks = owner.extra.payload["items"] if owner.extra else []
        owner.extra = Opaque(NAME, {"items": [*marks, [len(target), kept]]})
        target += parts

    def reasoning(self, item: Object, path: str) -> None:
        texts = [
            _reasoning_text(part, f"{path}.{key}[{index}]")
            for key in ("summary", "content")
            for index, part in _listed(item, key, path)
        ]
        text = "\n\n".join(texts)
        sealed = opt_text(item, "encrypted_content", path)
        parts = self._parts(Role.ASSISTANT)
        if not sealed:
            parts.append(Thinking(text, extra=Opaque(NAME, item)))
            return
        signature, signed_by, place = unwrap_placed(sealed)
        if place == CALL:
            self._call_signature = (signature, signed_by)
        elif place == TEXT:
            last = parts[-1] if parts else None
            if not isinstance(last, Text):
                last = Text("")
                parts.append(last)
            last.signature, last.signed_by = signature, signed_by
        elif signed_by in (None, NAME):
            parts.append(Thinking(text, signature, NAME, redacted=not text, extra=Opaque(NAME, item)))
        else:
            parts.append(Thinking(text, signature, signed_by, redacted=place == REDACTED))

    def call(self, item: Object, path: str) -> None:
        custom = item["type"] == "custom_tool_call"
        name = a_text(required(item.get("name"), f"{path}.name"), f"{path}.name")
        namespace = opt_text(item, "namespace", path)
        said = "input" if custom else "arguments"
        text = item.get(said)
        call = ToolCall(
            a_text(required(item.get("call_id"), f"{path}.call_id"), f"{path}.call_id"),
            flat_name(namespace, name),
            "" if text is None else a_text(text, f"{path}.{said}"),
            custom=custom,
        )
        kept = {key: value for key, value in item.items() if key not in ("type", "call_id", "name", said)}
        if namespace:
            kept["name"] = name
        call.extra = Opaque(NAME, kept) if kept else None
        if self._call_signature:
            call.signature, call.signed_by = self._call_signature
            self._call_signature = None
        self._parts(Role.ASSISTANT).append(call)
        self._callers[call.id] = self.messages[-1]

    def picture(self, item: Object, path: str) -> None:
        """An image that the model made, which other models can be shown, too."""
        data = opt_text(item, "result", path)
        form = opt_text(item, "output_format", path) or "png"
        self._parts(Role.ASSISTANT).append(
            Media("image", f"image/{form}", data, extra=Opaque(NAME, item))
            if data
            else Opaque(NAME, item, path)
        )

    def result(self, item: Object, path: str) -> None:
        output = item.get("output")
        content: list[Part] = []
        if isinstance(output, str):
            content = [Text(output)]
        elif output is not None:
            for index, part in enumerate(a_list(output, f"{path}.output")):
                content.append(read_content(part, f"{path}.output[{index}]"))
        kept = {key: value for key, value in item.items() if key not in ("type", "call_id", "output")}
        result = ToolResult(
            a_text(required(item.get("call_id"), f"{path}.call_id"), f"{path}.call_id"),
            content,
            custom=item["type"] == "custom_tool_call_output",
            extra=Opaque(NAME, kept) if kept else None,
        )
        last = self.messages[-1] if self.messages else None
        more = last is not None and _is_results(last)
        caller = self.messages[-2] if more and len(self.messages) > 1 else last
        owner = self._callers.get(result.call_id)
        if owner is not None and owner is not caller:
            self._late.setdefault(id(owner), []).append(result)
        elif last is not None and more:
            last.parts.append(result)
        else:
            self.messages.append(Message(Role.USER, [result]))

    def _put_late_results(self) -> None:
        """Behind their calls and the results that stand there already."""
        ordered: list[Message] = []
        late: list[Part] | None = None
        for message in self.messages:
            if late and _is_results(message):
                message.parts += late
            elif late:
                ordered.append(Message(Role.USER, late))
            ordered.append(message)
            late = self._late.get(id(message))
        self.messages = ordered


def _is_results(message: Message) -> bool:
    return message.role is Role.USER and bool(message.parts) and isinstance(message.parts[-1], ToolResult)


_READERS = {
    "message": ItemsReader.message,
    "reasoning": ItemsReader.reasoning,
    "function_call": ItemsReader.call,
    "custom_tool_call": ItemsReader.call,
    "image_generation_call": ItemsReader.picture,
    "function_call_output": ItemsReader.result,
    "custom_tool_call_output": ItemsReader.result,
}


def _listed(item: Object, key: str, path: str) -> list[tuple[int, Json]]:
    return list(enumerate(a_list(item.get(key) or [], f"{path}.{key}")))


def _reasoning_text(part: Json, path: str) -> str:
    return a_text(an_object(part, path).get("text") or "", f"{path}.text")


def flat_name(namespace: str | None, name: str) -> str:
    """The name of a function in a namespace where there are no namespaces; one namespace for one function of that name is not repeated."""
    return name if not namespace or namespace == name else f"{namespace}__{name}"


_TEXTS = ("input_text", "output_text", "text", "summary_text")


def read_content(value: Json, path: str) -> Part:
    """One part of a message's content or of a tool's output."""
    part = an_object(value, path)
    # Nearly every part is plain text; paths of its fields are only put together where they are needed.
    if len(part) == 2 and part.get("type") in _TEXTS and type(text := part.get("text")) is str:
        return Text(text)
    kind = a_text(required(part.get("type"), f"{path}.type"), f"{path}.type")
    if kind in _TEXTS:
        text = Text(a_text(required(part.get("text"), f"{path}.text"), f"{path}.text"))
        notes = a_list(part.get("annotations") or [], f"{path}.annotations")
        text.citations = [Opaque(NAME, note, "annotations") for note in notes]
        if part.get("prompt_cache_breakpoint") is not None:
            text.cache = {"type": "ephemeral"}
        return text
    if kind == "refusal":
        return Refusal(a_text(required(part.get("refusal"), f"{path}.refusal"), f"{path}.refusal"))
    if kind in ("input_image", "input_file", "input_audio"):
        return _read_media(part, kind, path)
    return Opaque(NAME, value, path)


def _read_media(part: Object, kind: str, path: str) -> Media:
    if kind == "input_audio":
        audio = an_object(part.get("input_audio", part), f"{path}.input_audio")
        form = opt_text(audio, "format", path) or "wav"
        data = a_text(required(audio.get("data"), f"{path}.input_audio.data"), f"{path}.input_audio.data")
        return Media("audio", AUDIO.get(form, f"audio/{form}"), data)
    kept = {key: value for key, value in part.items() if key == "prompt_cache_breakpoint"}
    media = Media("image" if kind == "input_image" else "document", file_id=opt_text(part, "file_id", path))
    media.extra = Opaque(NAME, kept) if kept else None
    media.name = opt_text(part, "filename", path)
    media.detail = opt_text(part, "detail", path)
    if media.file_id is not None:
        return media
    image = part.get("image_url")
    if isinstance(image, dict):
        # The form of Chat, which some clients send here.
        image = image.get("url")
    key = (
        "image_url"
        if kind == "input_image"
        else "file_data"
        if part.get("file_data") is not None
        else "file_url"
    )
    source = a_text(
        required(image if kind == "input_image" else part.get(key), f"{path}.{key}"), f"{path}.{key}"
    )
    found = _DATA_URL.match(source)
    if found:
        media.media_type = found[1] or media_types.guess(media.name, media.kind)
        media.data = source[found.end() :]
    elif key == "file_data":
        media.media_type = media_types.guess(media.name, media.kind)
        media.data = source
    else:
        media.url = source
        media.media_type = media_types.guess(source)
    if kind == "input_file" and media.media_type:
        media.kind = media_types.kind_of(media.media_type)
    return media


# Ours → Responses


@dataclass(slots=True)
class ItemsWriter:
    """Writes the items of one request. ``dropped`` grows with what could not be said, ``fields`` with top-level fields among the parts."""

    call: Call
    fetches_urls: bool = True
    signs: str = NAME
    dropped: Dropped = field(default_factory=Dropped)
    items: list[Object] = field(default_factory=list)
    fields: Object = field(default_factory=dict)

    _tools: Mapping[str, Tool] = field(default_factory=dict)

    def write(self) -> None:
        """All messages; afterwards ``items`` and ``fields`` hold them."""
        self._tools = {tool.name: tool for tool in self.call.tools}
        for index, message in enumerate(self.call.messages):
            if (
                index == 0
                and message.extra
                and message.extra.dialect == NAME
                and message.extra.payload.get("instructions")
            ):
                self.fields["instructions"] = "\n\n".join(
                    part.text for part in message.parts if isinstance(part, Text)
                )
            elif message.role is Role.ASSISTANT:
                self._assistant(message)
            else:
                self._other(message)

    def _other(self, message: Message) -> None:
        content: list[Object] = []
        for part in message.parts:
            where = partial(place_of, self.call, message, part)
            if isinstance(part, ToolResult):
                self.items.append(self._result(part, where))
            elif isinstance(part, Opaque) and part.dialect == NAME and set(part.payload) == {"field"}:
                self.fields.update(part.payload["field"])
            elif (
                isinstance(part, Opaque)
                and part.dialect == NAME
                and str(part.payload.get("type")).endswith(OUTPUTS)
            ):
                self.items.append(part.payload)
            else:
                content.append(self.content(part, where))
        if content:
            self.items.append({"type": "message", "role": message.role.value, "content": content})

    def _assistant(self, message: Message) -> None:
        own = (
            message.extra.payload.get("items", []) if message.extra and message.extra.dialect == NAME else []
        )
        begins = dict(own)
        open_item: Object | None = None
        for number, part in enumerate(message.parts):
            if number in begins:
                open_item = None
            if isinstance(part, (Text, Refusal)) or (isinstance(part, Opaque) and _is_content(part)):
                if isinstance(part, Text) and not part.text:
                    continue
                if open_item is None:
                    open_item = {
                        "type": "message",
                        "role": "assistant",
                        "content": [],
                        **begins.get(number, {}),
                    }
                    self.items.append(open_item)
                open_item["content"].append(self._said(part))
                continue
            open_item = None
            if isinstance(part, Thinking):
                self._thinking(part)
            elif isinstance(part, ToolCall):
                self.items.append(self._call(part))
            elif isinstance(part, Opaque) and part.dialect == NAME:
                self.items.append(part.payload)
            elif isinstance(part, Media) and part.extra and part.extra.dialect == NAME:
                self.items.append(part.extra.payload)
            else:
                what = place_of(self.call, message, part)
                raise BadRequest("This model cannot take such content in a message of its own", what)

    def _said(self, part: Text | Refusal | Opaque) -> Object:
        if isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        if isinstance(part, Opaque):
            payload: Object = part.payload
            return payload
        self._note_marks(part)
        notes = [note.payload for note in part.citations if note.dialect == NAME]
        if len(notes) < len(part.citations):
            self.dropped.add("citations")
        return {"type": "output_text", "text": part.text, "annotations": notes}

    def _note_marks(self, part: Text | Media | ToolCall | ToolResult) -> None:
        if part.cache is not None:
            self.dropped.add("cache_control")
        if isinstance(part, (Text, ToolCall)) and part.signature:
            # Only other providers sign texts and calls.
            self.dropped.add("thinking")

    def _thinking(self, part: Thinking) -> None:
        if part.extra and part.extra.dialect == NAME:
            item = part.extra.payload
            if isinstance(item, dict) and item.get("type") == "reasoning":
                self.items.append(item)
                return
        if part.signed_by != self.signs or not part.signature:
            self.dropped.add("thinking")
            return
        summary = [{"type": "summary_text", "text": part.text}] if part.text else []
        known = part.extra.payload if part.extra and part.extra.dialect == NAME else {}
        self.items.append(
            {"type": "reasoning", **known, "summary": summary, "encrypted_content": part.signature}
        )

    def _call(self, part: ToolCall) -> Object:
        self._note_marks(part)
        kept = dict(part.extra.payload) if part.extra and part.extra.dialect == NAME else {}
        tool = self._tools.get(part.name)
        named = {"name": part.name, **kept}
        if tool and tool.extra and tool.extra.dialect == NAME and "namespace" in tool.extra.payload:
            named |= {"name": tool.extra.payload["name"], "namespace": tool.extra.payload["namespace"]}
        if part.custom:
            return {"type": "custom_tool_call", "call_id": part.id, **named, "input": part.arguments}
        return {"type": "function_call", "call_id": part.id, **named, "arguments": part.arguments or "{}"}

    def _result(self, part: ToolResult, where: Where) -> Object:
        self._note_marks(part)
        kind = "custom_tool_call_output" if part.custom else "function_call_output"
        item: Object = {"type": kind, "call_id": part.call_id}
        # There is no flag for errors here; the model has to be told in words.
        told = "Error: " if part.is_error else ""
        if all(isinstance(piece, Text) for piece in part.content) and len(part.content) <= 1:
            item["output"] = told + "".join(piece.text for piece in part.content if isinstance(piece, Text))
        else:
            item["output"] = [{"type": "input_text", "text": told}] if told else []
            item["output"] += [
                self.content(piece, partial(_within, where, number))
                for number, piece in enumerate(part.content)
            ]
        return item | (part.extra.payload if part.extra and part.extra.dialect == NAME else {})

    def content(self, part: Part, where: Where) -> Object:
        """One part of a message that the client contributes."""
        if isinstance(part, Text):
            self._note_marks(part)
            return {"type": "input_text", "text": part.text}
        if isinstance(part, Refusal):
            return {"type": "input_text", "text": part.text}
        if isinstance(part, Media):
            return self._media(part, where)
        if isinstance(part, Opaque) and part.dialect == NAME:
            payload: Object = part.payload
            return payload
        raise BadRequest("This model cannot take such content", where())

    def _media(self, media: Media, where: Where) -> Object:
        self._note_marks(media)
        if media.citations:
            self.dropped.add("citations")
        kept = media.extra.payload if media.extra and media.extra.dialect == NAME else {}
        if media.url is not None and not self.fetches_urls:
            raise BadRequest("This model does not load URLs; send the content as base64", where())
        if media.kind == "image":
            out: Object = {"type": "input_image"}
            if media.detail is not None:
                out["detail"] = media.detail
            if media.data is not None:
                out["image_url"] = f"data:{media.media_type or 'image/png'};base64,{media.data}"
            elif media.url is not None:
                out["image_url"] = media.url
            else:
                out["file_id"] = self._file_id(media, where)
            return out | kept
        if media.kind == "audio" and media.data is not None:
            form = (media.media_type or "audio/wav").partition("/")[2]
            form = {"mpeg": "mp3", "x-wav": "wav"}.get(form, form)
            return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}
        if media.text is not None:
            heading = "\n".join(text for text in (media.name, media.context) if text)
            return {"type": "input_text", "text": f"{heading}\n\n{media.text}" if heading else media.text}
        if media.context:
            self.dropped.add("context")
        out = {"type": "input_file"}
        if media.data is not None:
            out["filename"] = media.name or _file_name(media.media_type)
            out["file_data"] = f"data:{media.media_type or 'application/pdf'};base64,{media.data}"
        elif media.url is not None:
            out["file_url"] = media.url
        else:
            out["file_id"] = self._file_id(media, where)
        return out | kept

    def _file_id(self, media: Media, where: Where) -> str:
        if media.file_id is None or "://" in media.file_id:
            raise BadRequest("A file stored at another provider cannot be sent to this model", where())
        return media.file_id


def choice_of(tool: Tool) -> Object:
    """A tool as a choice names it."""
    if tool.hosted is not None:
        return {"type": tool.hosted.payload.get("type", tool.name)}
    kept = tool.extra.payload if tool.extra and tool.extra.dialect == NAME else {}
    out: Object = {"type": "custom" if tool.custom else "function", "name": kept.get("name", tool.name)}
    if "namespace" in kept:
        out["namespace"] = kept["namespace"]
    return out


def _within(where: Where, number: int) -> str:
    return f"{where()}.content[{number}]"


def _is_content(part: Opaque) -> bool:
    """Whether an opaque part stood within a message's content, not among the items."""
    return part.dialect == NAME and ".content[" in part.what


def _file_name(media_type: str | None) -> str:
    ending = next((suffix for suffix, known in media_types.SUFFIXES.items() if known == media_type), "pdf")
    return f"document.{ending}"
