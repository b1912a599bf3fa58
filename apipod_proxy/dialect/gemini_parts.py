"""Gemini's ``contents``: turns and their parts, to messages and back.

Where Gemini and the vocabulary differ:

* Ids of function calls are optional. A call without one gets an id made of its position, the same on each turn of the conversation; its
  response is found by name, in the order of the calls.
* Signatures stand on text and call parts. A foreign one travels in ``thoughtSignature`` with its label, in base64, because SDKs decode it.
* System text is only known in front. Later system messages become user text between ``<system>`` marks, at their place.
* A tool result is an object: ``{"output": …}`` or ``{"error": …}`` for text; media stand in ``functionResponse.parts`` from Gemini 3 on,
  before that as parts behind the responses.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from apipod_proxy.dialect import custom_tools, lenient, media_types
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.fields import Object, a_list, a_text, an_object, opt_text, required
from apipod_proxy.dialect.gemini_names import NAME, SKIP_VALIDATION, camel_keys, generation, stands_in
from apipod_proxy.dialect.places import place_of
from apipod_proxy.dialect.signatures import Signed, unwrap_base64
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

Where = Callable[[], str]
"""The place of a part, looked for only where it has to be told: it takes a walk through the conversation."""

REDACTED = "redacted"
"""The place in a label that says: the opaque data of a redacted thinking block."""

ROLES = {
    "user": Role.USER,
    "model": Role.ASSISTANT,
    "function": Role.USER,
    "tool": Role.USER,
    "assistant": Role.ASSISTANT,
}
MODIFIERS = frozenset({"videoMetadata", "mediaResolution", "partMetadata"})


# Gemini → ours


class ContentsReader:
    """Reads the turns of one request; remembers calls until their responses come."""

    def __init__(self) -> None:
        self._open: list[ToolCall] = []
        """Calls that have no response yet, oldest first."""

    def read(self, contents: Json, path: str) -> list[Message]:
        """``contents``: a list of turns; a single turn, a single part and a plain string are taken too, as SDKs do."""
        if isinstance(contents, (str, dict)):
            contents = [contents]
        messages = []
        for index, content in enumerate(a_list(contents, path)):
            if message := self._content(content, index, f"{path}[{index}]"):
                messages.append(message)
        return messages

    def _content(self, content: Json, index: int, path: str) -> Message | None:
        if isinstance(content, str):
            return Message(Role.USER, [Text(content)])
        turn = camel_keys(an_object(content, path), path)
        if "parts" not in turn and "role" not in turn:
            turn = {"parts": [turn]}
        role_name = turn.get("role") or "user"
        role = ROLES.get(role_name) if isinstance(role_name, str) else None
        if role is None:
            raise BadRequest(f"Expected 'user' or 'model', got {role_name!r}", f"{path}.role")
        raw = turn.get("parts")
        if isinstance(raw, (dict, str)):
            raw = [raw]
        if raw is None:
            return None
        parts: list[Part] = []
        for number, item in enumerate(a_list(raw, f"{path}.parts")):
            part = {"text": item} if isinstance(item, str) else item
            # Nearly every part is plain text.
            if type(part) is dict and len(part) == 1 and type(text := part.get("text")) is str and text:
                parts.append(Text(text))
                continue
            self._part(part, parts, f"{index}_{number}", f"{path}.parts[{number}]")
        if role is Role.USER:
            parts.sort(key=lambda part: not isinstance(part, ToolResult))
        return Message(role, parts) if parts else None

    def _part(self, value: Json, parts: list[Part], place: str, path: str) -> None:
        part = camel_keys(an_object(value, path), path)
        signature = part.get("thoughtSignature")
        signed = None
        if signature and not stands_in(a_text(signature, f"{path}.thoughtSignature")):
            signed = unwrap_base64(signature)
        if part.get("functionCall") is not None:
            parts.append(self._call(part["functionCall"], signed, place, f"{path}.functionCall"))
        elif part.get("functionResponse") is not None:
            parts.append(self._response(part["functionResponse"], place, f"{path}.functionResponse"))
        elif part.get("inlineData") is not None or part.get("fileData") is not None:
            parts.append(read_media(part, path))
        elif part.get("text") is not None or set(part) <= {"thoughtSignature", "thought", *MODIFIERS}:
            _read_text(part, signed, parts, path)
        else:
            known = next((key for key in part if key not in ("thought", "thoughtSignature")), "part")
            parts.append(Opaque(NAME, value, f"{path}.{known}"))

    def _call(self, value: Json, signed: Signed | None, place: str, path: str) -> ToolCall:
        call = camel_keys(an_object(value, path), path)
        name = a_text(required(call.get("name"), f"{path}.name"), f"{path}.name")
        args = call.get("args")
        given = opt_text(call, "id", path)
        made = ToolCall(
            given or f"call_{place}",
            name,
            lenient.dumps({} if args is None else an_object(args, f"{path}.args")).decode(),
            signature=signed.signature if signed else None,
            signed_by=(signed.signed_by or NAME) if signed else None,
            extra=None if given else Opaque(NAME, {"id": None}),
        )
        self._open.append(made)
        return made

    def _response(self, value: Json, place: str, path: str) -> ToolResult:
        response = camel_keys(an_object(value, path), path)
        name = opt_text(response, "name", path)
        given = opt_text(response, "id", path)
        call = next((call for call in self._open if (call.id == given if given else call.name == name)), None)
        if call:
            self._open.remove(call)
        result = ToolResult(
            call.id if call else given or f"call_{place}",
            [],
            name or (call.name if call else None),
            extra=None if given else Opaque(NAME, {"id": None}),
        )
        _read_result(response.get("response"), result)
        for number, item in enumerate(a_list(response.get("parts") or [], f"{path}.parts")):
            at = f"{path}.parts[{number}]"
            result.content.append(read_media(camel_keys(an_object(item, at), at), at))
        return result


def _read_result(value: Json, result: ToolResult) -> None:
    if isinstance(value, dict) and len(value) == 1:
        key, said = next(iter(value.items()))
        texts = (
            said
            if isinstance(said, list) and said and all(isinstance(text, str) for text in said)
            else [said]
        )
        if key in ("output", "error") and all(isinstance(text, str) for text in texts):
            result.is_error = key == "error"
            result.content = [Text(text) for text in texts]
            return
        result.is_error = key == "error"
    result.json = value
    if value is not None and value != {}:
        result.content = [Text(lenient.dumps(value).decode())]


def _read_text(part: Object, signed: Signed | None, parts: list[Part], path: str) -> None:
    text = a_text(part.get("text") or "", f"{path}.text")
    if not part.get("thought"):
        if text or signed:
            parts.append(Text(text, signature=signed.signature if signed else None, signed_by=_maker(signed)))
        return
    if signed and signed.place == REDACTED:
        parts.append(Thinking("", signed.signature, signed.signed_by, redacted=True))
        return
    last = parts[-1] if parts else None
    # A streamed thought comes back in the pieces it came in, its signature on the last one.
    if isinstance(last, Thinking) and not last.signature and not last.redacted:
        last.text += text
    elif text or signed:
        last = Thinking(text)
        parts.append(last)
    if signed and isinstance(last, Thinking):
        last.signature, last.signed_by = signed.signature, _maker(signed)


def _maker(signed: Signed | None) -> str | None:
    return (signed.signed_by or NAME) if signed else None


def read_media(part: Object, path: str) -> Media:
    """An ``inlineData`` or ``fileData`` part."""
    kept = {key: item for key, item in part.items() if key not in ("inlineData", "fileData")}
    extra = Opaque(NAME, kept) if kept else None
    if part.get("inlineData") is not None:
        at = f"{path}.inlineData"
        blob = camel_keys(an_object(part["inlineData"], at), at)
        media_type = opt_text(blob, "mimeType", at)
        data = a_text(required(blob.get("data"), f"{at}.data"), f"{at}.data")
        media = Media(
            media_types.kind_of(media_type), media_type, name=opt_text(blob, "displayName", at), extra=extra
        )
        if media_type == "text/plain" and (text := _plain(data)) is not None:
            media.text = text
        else:
            media.data = media_types.standard_base64(data)
        return media
    at = f"{path}.fileData"
    file = camel_keys(an_object(required(part.get("fileData"), at), at), at)
    uri = a_text(required(file.get("fileUri"), f"{at}.fileUri"), f"{at}.fileUri")
    media_type = opt_text(file, "mimeType", at) or media_types.guess(uri)
    kind = "video" if media_type is None and _is_film(uri) else media_types.kind_of(media_type)
    media = Media(kind, media_type, name=opt_text(file, "displayName", at), extra=extra)
    if _is_stored(uri):
        media.file_id = uri
    else:
        media.url = uri
    return media


def _plain(data: str) -> str | None:
    try:
        return base64.b64decode(media_types.standard_base64(data), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _is_film(uri: str) -> bool:
    """Whether a URI is one of YouTube's, which the API plays and which has no type."""
    return "://www.youtube.com/" in uri or "://youtu.be/" in uri


def _is_empty_ask(message: Message) -> bool:
    return message.role is Role.USER and all(
        isinstance(part, Text) and not part.text for part in message.parts
    )


def _is_stored(uri: str) -> bool:
    """Whether a URI names a file kept by Google, which nobody else can load."""
    return not uri.startswith(("http://", "https://")) or ".googleapis.com/v" in uri.partition("?")[0]


# Ours → Gemini


@dataclass(slots=True)
class ContentsWriter:
    """Writes the turns of one request. ``dropped`` grows with what could not be said. ``signs``: whose signatures the target takes back."""

    call: Call
    model: str
    fetches_urls: bool = True
    response_parts: bool | None = None
    signs: str = NAME
    dropped: Dropped = field(default_factory=Dropped)
    contents: list[Object] = field(default_factory=list)
    system: list[Object] = field(default_factory=list)
    cached_content: str | None = None
    _calls: dict[str, ToolCall] = field(default_factory=dict)

    def write(self) -> None:
        """All messages; afterwards ``contents``, ``system`` and ``cached_content`` hold them."""
        for message in self.call.messages:
            if message.role in (Role.SYSTEM, Role.DEVELOPER):
                self._system(message)
                continue
            parts = self._assistant(message) if message.role is Role.ASSISTANT else self._user(message)
            self._add("model" if message.role is Role.ASSISTANT else "user", parts)
        if not self.contents and any(map(_is_empty_ask, self.call.messages)):
            self._add("user", [{"text": ""}])
        if not self.contents and self.system:
            # The API wants a turn; an instruction alone is asked as one.
            self._add("user", self.system)
            self.system = []

    def _add(self, role: str, parts: list[Object]) -> None:
        if not parts:
            return
        if self.contents and self.contents[-1]["role"] == role:
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _system(self, message: Message) -> None:
        texts = []
        for part in message.parts:
            if not isinstance(part, (Text, Refusal)):
                raise BadRequest(
                    "Only text can stand in a system message of this model",
                    place_of(self.call, message, part),
                )
            if isinstance(part, Text) and part.cache is not None:
                self.dropped.add("cache_control")
            if part.text:
                texts.append(part.text)
        if not self.contents:
            self.system += [{"text": text} for text in texts]
        else:
            self._add("user", [{"text": f"<system>\n{text}\n</system>"} for text in texts])

    def _user(self, message: Message) -> list[Object]:
        parts: list[Object] = []
        behind: list[Object] = []
        for part in message.parts:
            where = partial(place_of, self.call, message, part)
            if isinstance(part, ToolResult):
                parts.append(self._result(part, behind, where))
            else:
                behind += self._any(part, where)
        return parts + behind

    def _assistant(self, message: Message) -> list[Object]:
        parts: list[Object] = []
        first_call = True
        for number, part in enumerate(message.parts):
            if isinstance(part, Thinking):
                self._thinking(part, message.parts[number + 1 :], parts)
            elif isinstance(part, ToolCall):
                parts.append(self._call(part, parts, first_call))
                first_call = False
            else:
                parts += self._any(part, partial(place_of, self.call, message, part))
        return parts

    def _thinking(self, part: Thinking, rest: list[Part], parts: list[Object]) -> None:
        if part.signed_by not in (None, self.signs) or part.redacted:
            self.dropped.add("thinking")
            return
        out: Object = {"text": part.text, "thought": True}
        if part.signature and part.signed_by == self.signs:
            out["thoughtSignature"] = part.signature
            following = rest[0] if rest else None
            if isinstance(following, ToolCall) and not following.signature:
                # A client that knows signatures on thinking alone moved it here; the API wants it on the call.
                del out["thoughtSignature"]
                if part.text:
                    parts.append(out)
                parts.append({"thoughtSignature": part.signature})
                return
        if part.text or "thoughtSignature" in out:
            parts.append(out)

    def _call(self, part: ToolCall, parts: list[Object], first: bool) -> Object:
        self._calls[part.id] = part
        if part.cache is not None:
            self.dropped.add("cache_control")
        arguments = custom_tools.to_arguments(part.arguments) if part.custom else part.arguments
        call: Object = {"name": part.name, "args": lenient.arguments_object(arguments)}
        if not _is_nameless(part.extra):
            call["id"] = part.id
        out: Object = {"functionCall": call}
        if part.signature and part.signed_by == self.signs:
            out["thoughtSignature"] = part.signature
        elif parts and set(parts[-1]) == {"thoughtSignature"}:
            out["thoughtSignature"] = parts.pop()["thoughtSignature"]
        elif first and wants_signatures(self.model):
            out["thoughtSignature"] = SKIP_VALIDATION
        return out

    def _result(self, part: ToolResult, behind: list[Object], where: Where) -> Object:
        call = self._calls.get(part.call_id)
        name = part.name or (call.name if call else None)
        if name is None:
            raise BadRequest(f"No tool call with the id '{part.call_id}' precedes this result", where())
        if part.cache is not None:
            self.dropped.add("cache_control")
        content = part.content
        if self.call.dialect != NAME:
            content = [media_types.as_text(item) for item in content]
        response: Object = {"name": name, "response": _result_object(part, content)}
        if not _is_nameless(part.extra):
            response["id"] = part.call_id
        media: list[Object] = []
        for number, item in enumerate(content):
            if isinstance(item, Media):
                media += self.media(item, partial(_within, where, number))
            elif not isinstance(item, (Text, Refusal)):
                raise BadRequest(
                    "This model cannot take such content in a tool result", _within(where, number)
                )
        inside = self.response_parts
        if media and (inside if inside is not None else (generation(self.model) or 0) >= 3):
            # Only files can stand there.
            behind += [item for item in media if "text" in item]
            if files := [item for item in media if "text" not in item]:
                response["parts"] = files
        else:
            behind += media
        return {"functionResponse": response}

    def _any(self, part: Part, where: Where) -> list[Object]:
        if isinstance(part, Text):
            return self._text(part)
        if isinstance(part, Refusal):
            return [{"text": part.text}] if part.text else []
        if isinstance(part, Media):
            return self.media(part, where)
        if isinstance(part, Opaque):
            if part.dialect != NAME:
                raise BadRequest("This model cannot take such content", where())
            if isinstance(part.payload, dict) and set(part.payload) == {"cachedContent"}:
                self.cached_content = part.payload["cachedContent"]
                return []
            return [part.payload]
        raise BadRequest("Such content cannot stand in a message of this role", where())

    def _text(self, part: Text) -> list[Object]:
        if part.cache is not None:
            self.dropped.add("cache_control")
        if part.citations:
            self.dropped.add("citations")
        out: Object = {"text": part.text}
        if part.signature and part.signed_by == self.signs:
            out["thoughtSignature"] = part.signature
        elif part.signature:
            self.dropped.add("thinking")
        return [out] if part.text or "thoughtSignature" in out else []

    def media(self, media: Media, where: Where) -> list[Object]:
        """The parts for one medium: what is said of it as text, if there is anything, and itself."""
        for set_, what in ((media.cache, "cache_control"), (media.citations, "citations")):
            if set_:
                self.dropped.add(what)
        if media.detail not in (None, "auto"):
            self.dropped.add("detail")
        out: Object = {}
        media_type = media.media_type or media_types.guess(media.name or media.url, media.kind)
        if media.text is not None:
            out["inlineData"] = {
                "mimeType": media.media_type or "text/plain",
                "data": base64.b64encode(media.text.encode()).decode(),
            }
        elif media.data is not None:
            out["inlineData"] = {"mimeType": media_type, "data": media.data}
        elif media.url is not None:
            if not self.fetches_urls:
                raise BadRequest("This model does not load URLs; send the content as base64", where())
            out["fileData"] = {"fileUri": media.url}
            if media_type and (media.media_type or not _is_film(media.url)):
                out["fileData"]["mimeType"] = media_type
        elif media.file_id is not None and "://" in media.file_id:
            out["fileData"] = {"fileUri": media.file_id}
            if media.media_type:
                out["fileData"]["mimeType"] = media.media_type
        else:
            raise BadRequest("A file stored at another provider cannot be sent to this model", where())
        if media.name and self.call.dialect == NAME:
            next(iter(out.values()))["displayName"] = media.name
        elif media.name and media.text is None:
            # Only Vertex has a place for it.
            self.dropped.add("filename")
        if media.extra and media.extra.dialect == NAME:
            out.update(media.extra.payload)
        head = media.context
        if media.text is not None and media.name and self.call.dialect != NAME:
            head = f"{media.name}\n{head}" if head else media.name
        return [{"text": head}, out] if head else [out]


def _within(where: Where, number: int) -> str:
    return f"{where()}.content[{number}]"


def wants_signatures(model: str) -> bool:
    """Whether calls without a signature are refused: from the third generation on, to which an unknown name is taken to belong."""
    age = generation(model)
    return "gemma" not in model if age is None else age >= 3


def _is_nameless(extra: Opaque | None) -> bool:
    """Whether a call came from Gemini without an id: then none is sent back."""
    return extra is not None and extra.dialect == NAME and extra.payload.get("id", "") is None


def _result_object(part: ToolResult, content: list[Part]) -> Object:
    if isinstance(part.json, dict):
        return part.json
    texts = [item.text for item in content if isinstance(item, (Text, Refusal))]
    key = "error" if part.is_error else "output"
    if not texts:
        return {key: ""} if part.is_error or not content else {}
    return {key: texts[0] if len(texts) == 1 else texts}
