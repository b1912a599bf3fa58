"""The messages of a Chat request, both ways."""

from __future__ import annotations

import re
from hashlib import blake2b

import orjson

from apipod_proxy.dialect import Aim, custom_tools, media_types
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.fields import (
    Object,
    a_list,
    a_text,
    an_object,
    opt_list,
    opt_object,
    opt_text,
    required,
)
from apipod_proxy.dialect.openai_chat.content import read_content, write_media
from apipod_proxy.dialect.openai_chat.names import NAME
from apipod_proxy.dialect.openai_chat.reasoning import read_reasoning, write_details
from apipod_proxy.dialect.places import place_of
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
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")
LEGACY = Opaque(NAME, {"function_call": True})
"""Marks a call of the older ``functions`` interface, whose calls have no ids."""

_READ = {
    "system": frozenset(("role", "content", "name", "cache_control")),
    "developer": frozenset(("role", "content", "name", "cache_control")),
    "user": frozenset(("role", "content", "name", "cache_control")),
    "assistant": frozenset(
        (
            "role",
            "content",
            "name",
            "refusal",
            "tool_calls",
            "function_call",
            "audio",
            "images",
            "annotations",
            "reasoning",
            "reasoning_content",
            "reasoning_details",
            "cache_control",
            "extra_content",
        )
    ),
}


# Chat → ours


class MessagesReader:
    """Reads the messages of one request. Results of tools are gathered into one user message for each run of them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._open: list[ToolCall] = []
        """Calls of the older interface that have no result yet."""
        self._results: Message | None = None

    def read(self, value: Json) -> list[Message]:
        items = a_list(required(value, "$.messages"), "$.messages")
        if not items:
            raise BadRequest("At least one message is required", "$.messages")
        for index, item in enumerate(items):
            path = f"$.messages[{index}]"
            self._message(an_object(item, path), index, path)
        return self.messages

    def _message(self, source: Object, index: int, path: str) -> None:
        role = a_text(required(source.get("role"), f"{path}.role"), f"{path}.role")
        if len(source) == 2 and "content" in source and role in _READ:
            self._results = None
            parts = read_content(source["content"], f"{path}.content")
            if role == "user" and len(parts) > 1:
                parts.sort(key=_is_no_result)
            self.messages.append(Message(Role(role), parts))
            return
        if role in ("tool", "function"):
            self._result(source, role, path)
            return
        self._results = None
        if role not in _READ:
            raise BadRequest(f"Expected one of {', '.join(ROLES)}, got {role!r}", f"{path}.role")
        parts = read_content(source.get("content"), f"{path}.content")
        _mark_last(parts, opt_object(source, "cache_control", path))
        if role == "user":
            parts.sort(key=_is_no_result)
        message = Message(Role(role), parts, opt_text(source, "name", path))
        if role == "assistant":
            self._assistant(message, source, index, path)
        kept = {key: value for key, value in source.items() if value is not None and key not in _READ[role]}
        if kept:
            message.extra = Opaque(NAME, kept)
        self.messages.append(message)

    def _assistant(self, message: Message, source: Object, index: int, path: str) -> None:
        refusal = opt_text(source, "refusal", path)
        if refusal:
            message.parts.append(Refusal(refusal))
        audio = opt_object(source, "audio", path)
        if audio is not None:
            message.parts.append(Opaque(NAME, {"audio": audio}, f"{path}.audio"))
        signature = google_signature(source)
        if signature is not None and message.parts and isinstance(message.parts[-1], Text):
            message.parts[-1].signature, message.parts[-1].signed_by = signature, "gemini"
        if isinstance(source.get("images"), list):
            message.parts += read_content(source["images"], f"{path}.images")
        calls = []
        for number, item in enumerate(opt_list(source, "tool_calls", path)):
            at = f"{path}.tool_calls[{number}]"
            calls.append(_read_call(an_object(item, at), at))
        legacy = opt_object(source, "function_call", path)
        if legacy is not None:
            at = f"{path}.function_call"
            name = a_text(required(legacy.get("name"), f"{at}.name"), f"{at}.name")
            call = ToolCall(f"call_{index}", name, _arguments(legacy.get("arguments"), at), extra=LEGACY)
            calls.append(call)
            self._open.append(call)
        message.parts[:0] = read_reasoning(source, calls, path)
        message.parts += calls

    def _result(self, source: Object, role: str, path: str) -> None:
        content = read_content(source.get("content"), f"{path}.content")
        _mark_last(content, opt_object(source, "cache_control", path))
        name = opt_text(source, "name", path)
        if role == "function":
            name = a_text(required(name, f"{path}.name"), f"{path}.name")
            call = next((call for call in self._open if call.name == name), None)
            if call is not None:
                self._open.remove(call)
            result = ToolResult(call.id if call else f"call_{name}", content, name, extra=LEGACY)
        else:
            at = f"{path}.tool_call_id"
            result = ToolResult(a_text(required(source.get("tool_call_id"), at), at), content, name)
        if self._results is None:
            self._results = Message(Role.USER, [])
            self.messages.append(self._results)
        self._results.parts.append(result)


def _is_no_result(part: Part) -> bool:
    """Results come first, also where they stand among the parts of a user's message."""
    return not isinstance(part, ToolResult)


def _mark_last(parts: list[Part], mark: Json) -> None:
    """A cache mark on the message counts for its last part."""
    if mark is not None and parts and isinstance(parts[-1], (Text, Media)) and parts[-1].cache is None:
        parts[-1].cache = mark


def _read_call(source: Object, path: str) -> ToolCall:
    kind = opt_text(source, "type", path) or "function"
    if kind not in ("function", "custom"):
        raise BadRequest(f"Expected 'function' or 'custom', got {kind!r}", f"{path}.type")
    at = f"{path}.{kind}"
    inner = an_object(required(source.get(kind), at), at)
    call = ToolCall(
        a_text(required(source.get("id"), f"{path}.id"), f"{path}.id"),
        a_text(required(inner.get("name"), f"{at}.name"), f"{at}.name"),
        a_text(required(inner.get("input"), f"{at}.input"), f"{at}.input")
        if kind == "custom"
        else _arguments(inner.get("arguments"), at),
        custom=kind == "custom",
    )
    call.signature = google_signature(source)
    call.signed_by = "gemini" if call.signature else None
    return call


def google_signature(source: Object) -> str | None:
    """The thought signature that Gemini's OpenAI surface puts beside a call or a text."""
    extra = source.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else None
    return found if isinstance(found, str) and found else None


def _arguments(value: Json, path: str) -> str:
    """The arguments' JSON text; objects are taken too, as some servers do."""
    if value is None or value == "":
        return "{}"
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return a_text(value, f"{path}.arguments")


# Ours → Chat


class MessagesWriter:
    """Writes the messages for one target."""

    def __init__(self, call: Call, aim: Aim, dropped: Dropped) -> None:
        self._call = call
        self._quirks = aim.quirks
        self._dropped = dropped
        self._out: list[Object] = []
        self._legacy: set[str] = set()

    def write(self) -> list[Object]:
        for message in self._call.messages:
            if message.role is Role.ASSISTANT:
                self._assistant(message)
            elif message.role is Role.USER:
                self._user(message)
            else:
                self._system(message)
        return self._out

    def _add(self, role: str, message: Message, content: Json) -> Object:
        out: Object = {"role": role, "content": content}
        if message.name is not None:
            out["name"] = message.name
        if message.extra is not None:
            if message.extra.dialect == NAME:
                out |= message.extra.payload
            else:
                self._dropped.add(message.extra.what)
        self._out.append(out)
        return out

    def _system(self, message: Message) -> None:
        role = "developer" if message.role is Role.DEVELOPER and self._quirks.developer_role else "system"
        self._add(role, message, self._content(message, message.parts))

    def _user(self, message: Message) -> None:
        results = [part for part in message.parts if isinstance(part, ToolResult)]
        rest: list[Part] = [part for part in message.parts if not isinstance(part, ToolResult)]
        shown: list[Part] = []
        for result in results:
            shown += self._result(message, result)
        if shown or rest or not results:
            self._add("user", message, self._content(message, shown + rest))

    def _result(self, message: Message, result: ToolResult) -> list[Part]:
        """Writes a result's text; gives what a tool's message cannot hold, to be shown in the user message behind it."""
        content: list[Part] = [media_types.as_text(part) for part in result.content]
        texts: list[Part] = [part for part in content if isinstance(part, Text)]
        shown: list[Part] = []
        for part in content:
            if isinstance(part, Media):
                shown.append(part)
            elif not isinstance(part, Text):
                raise BadRequest(
                    "This content of a tool's result cannot be sent to this model",
                    place_of(self._call, message, result),
                )
        if shown and not texts:
            texts.append(Text("The result follows in the next message."))
        if shown:
            shown.insert(0, Text(f"Part of the result of the tool call {result.call_id}:"))
        if result.is_error:
            # Chat has no flag for it; the model has to be told in words.
            texts.insert(0, Text("Error: "))
        said = self._content(message, texts, joint="" if result.is_error and len(texts) == 2 else "\n\n")
        if result.cache is not None:
            self._dropped.add("cache_control")
        if result.extra is LEGACY or result.call_id in self._legacy:
            self._out.append({"role": "function", "name": result.name or "function", "content": said})
        else:
            out: Object = {"role": "tool", "tool_call_id": self._id(result.call_id), "content": said}
            if result.name is not None and result.name and self._call.dialect == NAME:
                out["name"] = result.name
            self._out.append(out)
        return shown

    def _content(self, message: Message, parts: list[Part], joint: str = "\n\n") -> Json:
        """A string where there is only plain text, else a list of parts."""
        marked = self._quirks.cache_control and any(
            getattr(part, "cache", None) is not None for part in parts
        )
        if not marked and all(isinstance(part, Text) for part in parts):
            texts = [part.text for part in parts if isinstance(part, Text)]
            if any(isinstance(part, Text) and part.cache is not None for part in parts):
                self._dropped.add("cache_control")
            if len(texts) <= 1 or not self._quirks.content_lists or joint == "":
                return joint.join(texts)
            return [{"type": "text", "text": text} for text in texts]
        return [self._part(message, piece) for part in parts for piece in _explained(part)]

    def _part(self, message: Message, part: Part) -> Object:
        if isinstance(part, Text):
            out: Object = {"type": "text", "text": part.text}
        elif isinstance(part, Media):
            out = self._media(message, part)
        elif isinstance(part, Refusal):
            return {"type": "refusal", "refusal": part.text}
        elif isinstance(part, Opaque) and part.dialect == NAME:
            return part.payload if isinstance(part.payload, dict) else {}
        else:
            raise BadRequest("This content cannot be sent to this model", place_of(self._call, message, part))
        if part.cache is not None:
            if self._quirks.cache_control:
                out["cache_control"] = part.cache
            else:
                self._dropped.add("cache_control")
        return out

    def _media(self, message: Message, media: Media) -> Object:
        path = place_of(self._call, message, media)
        if media.citations:
            self._dropped.add("citations")
        if media.data is None and media.text is None:
            if media.file_id is not None and self._call.dialect != NAME:
                raise BadRequest("A file kept by another provider cannot be sent to this model", path)
            if media.url is not None and media.kind == "document" and not self._quirks.extra.get("file_urls"):
                raise BadRequest("A document behind a URL cannot be sent to this model; send its bytes", path)
            if media.url is not None and not self._quirks.fetches_urls:
                raise BadRequest("This model's provider loads no URLs; send the bytes", path)
        if self._call.dialect != NAME and media.kind == "document":
            # Files other than PDF are refused.
            try:
                text = media_types.text_in(media)
            except ValueError as exc:
                raise BadRequest(str(exc), path) from exc
            if text is not None:
                return {"type": "text", "text": media_types.headed(media, text)}
        return write_media(media, path)

    def _assistant(self, message: Message) -> None:
        thoughts = [part for part in message.parts if isinstance(part, Thinking)]
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        images = [part for part in message.parts if isinstance(part, Media)]
        audio = [part for part in message.parts if isinstance(part, Opaque) and _is_audio(part)]
        said: list[Part] = [
            part
            for part in message.parts
            if not isinstance(part, (Thinking, ToolCall, Media)) and part not in audio
        ]
        refusals = [part for part in said if isinstance(part, Refusal)]
        if refusals and len(refusals) == len(said):
            out = self._add("assistant", message, None)
            out["refusal"] = "".join(part.text for part in refusals)
        else:
            content = self._content(message, said, joint="\n\n")
            out = self._add("assistant", message, content if said or not (calls or audio) else None)
        if images:
            out["images"] = [self._part(message, part) for part in images]
        for part in audio:
            out |= part.payload
        self._sign_text(out, said)
        self._think(out, thoughts, calls)
        self._calls(out, calls)

    def _sign_text(self, out: Object, said: list[Part]) -> None:
        for part in said:
            if isinstance(part, Text) and part.citations:
                self._dropped.add("citations")
            if isinstance(part, Text) and part.signature is not None:
                if self._quirks.tool_signatures and part.signed_by == "gemini":
                    out["extra_content"] = {"google": {"thought_signature": part.signature}}
                else:
                    self._dropped.add("thinking.signature")

    def _think(self, out: Object, thoughts: list[Thinking], calls: list[ToolCall]) -> None:
        quirks = self._quirks
        text = "\n\n".join(part.text for part in thoughts if part.text)
        if quirks.reasoning_field and (text or quirks.reasoning_always):
            out[quirks.reasoning_field] = text
        elif text and not quirks.reasoning_details:
            self._dropped.add("thinking")
        if quirks.reasoning_details:
            details = write_details(thoughts, calls, True)
            if details:
                out["reasoning_details"] = details
        elif any(part.signature for part in thoughts) or (
            not quirks.tool_signatures and any(call.signature for call in calls)
        ):
            self._dropped.add("thinking.signature")

    def _calls(self, out: Object, calls: list[ToolCall]) -> None:
        written = []
        for call in calls:
            if call.cache is not None:
                self._dropped.add("cache_control")
            if call.extra is LEGACY:
                self._legacy.add(call.id)
                out["function_call"] = {"name": call.name, "arguments": call.arguments}
                continue
            item: Object = {"id": self._id(call.id), "type": "function"}
            if call.custom and (self._quirks.custom_tools or self._call.dialect == NAME):
                item |= {"type": "custom", "custom": {"name": call.name, "input": call.arguments}}
            else:
                arguments = custom_tools.to_arguments(call.arguments) if call.custom else call.arguments
                item["function"] = {"name": call.name, "arguments": arguments}
            if call.signature is not None and self._quirks.tool_signatures and call.signed_by == "gemini":
                item["extra_content"] = {"google": {"thought_signature": call.signature}}
            written.append(item)
        if written:
            out["tool_calls"] = written

    def _id(self, call_id: str) -> str:
        if not self._quirks.short_tool_ids or _SHORT_ID.fullmatch(call_id):
            return call_id
        # The same id on each turn, so that calls and results find each other.
        return blake2b(call_id.encode("utf-8", "replace"), digest_size=5).hexdigest()[:9]


def _explained(part: Part) -> list[Part]:
    """A file behind what is said of it, for which a part of its kind has no place."""
    if isinstance(part, Media) and part.context and part.text is None:
        return [Text(part.context), part]
    return [part]


def _is_audio(part: Opaque) -> bool:
    return part.dialect == NAME and isinstance(part.payload, dict) and part.payload.keys() == {"audio"}
