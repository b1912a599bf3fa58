"""The identity path of a request: a typed pass over the top level, and a rewrite that leaves every other byte as it was.

``read_request`` builds no objects below the top level: what a message holds is skipped over, with its syntax checked. ``rewrite`` replaces, adds
and drops top-level members. ``for_upstream`` is what a candidate of the same dialect gets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from apipod_proxy.dialect import Quirks
from apipod_proxy.dialect.abridged import LONG, without_list, without_strings
from apipod_proxy.dialect.lenient import mended
from apipod_proxy.dialect.members import DECODER, Members, Span, dumps, duplicates, edited, is_compact, spans
from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.dialect.words import Words
from apipod_proxy.errors import BadRequest


class Anything(Struct, gc=False):
    """Any object; its members are skipped."""


Objects = Annotated[list[Anything], Meta(min_length=1)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]
Count = int | float | None
"""Some write whole numbers as 100.0."""


class StreamOptions(Struct, gc=False):
    include_usage: bool | None = None


class ChatTop(Struct, gc=False):
    """The members of a Chat request that are read."""

    model: Name
    messages: Objects
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count = None
    max_completion_tokens: Count = None
    n: Count = None


class MessagesTop(Struct, gc=False):
    """The members of a Messages request that are read."""

    model: Name
    messages: Objects
    max_tokens: int | float
    stream: bool | None = None


class CountTop(Struct, gc=False):
    """The members of a token count of Messages that are read."""

    model: Name
    messages: Objects


class ResponsesTop(Struct, gc=False):
    """The members of a Responses request that are read."""

    model: Name
    input: str | list[Anything] | None = None
    stream: bool | None = None
    max_output_tokens: Count = None
    previous_response_id: str | None = None


class GenerationConfig(
    Struct, gc=False, rename={"max_output_tokens": "maxOutputTokens", "candidate_count": "candidateCount"}
):
    max_output_tokens: Count = None
    candidate_count: Count = None


class SnakeGenerationConfig(Struct, gc=False):
    max_output_tokens: Count = None
    candidate_count: Count = None


class GeminiTop(Struct, gc=False, rename={"camel": "generationConfig", "snake": "generation_config"}):
    """The members of a Gemini request that are read; its model and its mode stand in the URL."""

    contents: Objects
    camel: GenerationConfig | None = None
    snake: SnakeGenerationConfig | None = None


_READERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "openai_chat": msgspec.json.Decoder(ChatTop),
    "anthropic": msgspec.json.Decoder(MessagesTop),
    "anthropic:count": msgspec.json.Decoder(CountTop),
    "openai_responses": msgspec.json.Decoder(ResponsesTop),
    "gemini": msgspec.json.Decoder(GeminiTop),
}
_READ = {
    "openai_chat": frozenset(ChatTop.__struct_fields__),
    "anthropic": frozenset(MessagesTop.__struct_fields__),
    "anthropic:count": frozenset(CountTop.__struct_fields__),
    "openai_responses": frozenset(ResponsesTop.__struct_fields__),
    "gemini": frozenset(("contents", "generationConfig", "generation_config", "model")),
}
_LIMITS: Mapping[type, str] = {
    GeminiTop: "generationConfig.maxOutputTokens",
    ResponsesTop: "max_output_tokens",
}
_CONVERSATION = {"gemini": "contents", "openai_responses": "input"}
_OPENINGS: Mapping[str, re.Pattern[bytes]] = {
    name: re.compile(rb'"%b"[ \t\r\n]*:[ \t\r\n]*(?=\[)' % _CONVERSATION.get(name, "messages").encode())
    for name in ("openai_chat", "anthropic", "openai_responses", "gemini")
}
"""What stands before the list that is most of a long request."""

_MISSING = re.compile(r"Object missing required field `(.+)`")
_CACHE_MARK = re.compile(rb',?\s*"cache_control"\s*:\s*(?:\{[^{}]*\}|null)')
_DEVELOPER = re.compile(rb'("role"\s*:\s*)"developer"')
DEVELOPER = Words(b"developer")
_BEGINNING = 16 * 1024
_USAGE_OPTION = b'{"include_usage":true}'


class _Piece(Struct, gc=False):
    """A turn or a part, as far as it tells what it is."""

    role: str = ""
    type: str = ""
    content: Raw = Raw(b"")
    output: Raw = Raw(b"")


_PIECES = msgspec.json.Decoder(list[_Piece])
_IMAGES = frozenset(("image", "image_url", "input_image", "video_url", "video"))
_DOCUMENTS = frozenset(("document", "file", "input_file", "document_url", "file_url", "container_upload"))
_AUDIO = frozenset(("input_audio", "audio_url", "audio"))
_WORDS = (
    ("image", (b'"image', b"image/", b"video/")),
    ("document", (b'"document"', b'"file"', b'"input_file"', b"application/pdf")),
    ("audio", (b'"input_audio"', b'"audio_url"', b'"audio/')),
    ("assistant", (b'"assistant"', b'"model"')),
)


class Hints(NamedTuple):
    """What a request holds, told from cheap tests. A hint may be wrong in one direction only: it can see what is not there."""

    tools: bool
    images: bool
    documents: bool
    audio: bool
    structured: bool
    reasoning: bool
    assistant: bool
    """A turn of the model is part of the conversation."""


class TopLevel:
    """The top level of one request. ``max_tokens``: what the client asks for at most, None where it says nothing usable."""

    __slots__ = (
        "brief",
        "choices",
        "compact",
        "dialect",
        "include_usage",
        "max_tokens",
        "members",
        "model",
        "places",
        "stream",
        "usage_option",
    )

    def __init__(self, dialect: str, model: str, members: Members, brief: bytes = b"") -> None:
        self.dialect = dialect
        self.model = model
        self.members = members
        self.brief = brief
        """The request, with its long strings cut short where they are most of it: enough for who looks for names and types."""
        self.stream = False
        self.include_usage = False
        self.usage_option = False
        """Whether ``stream_options`` ask for it, as every provider understands."""
        self.max_tokens: int | None = None
        self.choices = 1
        self.compact = True
        self.places: list[Span] | None = None
        """Where the members stand, once somebody had to know."""

    def hints(self) -> Hints:
        """Scans the conversation; only worth its time where candidates differ in what they can serve."""
        members = self.members
        raw = members.get(_CONVERSATION.get(self.dialect, "messages"))
        held = _kinds(raw) if raw is not None and self.dialect != "gemini" else None
        if held is None:
            held = _marks(b"" if raw is None else bytes(raw))
        return Hints(
            tools=_holds(members, "tools") or _holds(members, "functions"),
            images=not held.isdisjoint(_IMAGES),
            documents=not held.isdisjoint(_DOCUMENTS),
            audio=not held.isdisjoint(_AUDIO),
            structured=_structured(members),
            reasoning=any(_asks(members, name) for name in ("reasoning_effort", "reasoning", "thinking")),
            assistant="assistant" in held,
        )

    def beginning(self) -> bytes:
        """The conversation up to its first user message: the same bytes on every turn of it, so that turns can be told to belong together.

        Cache marks wander from turn to turn and are left out.
        """
        raw = self.members.get(_CONVERSATION.get(self.dialect, "messages"))
        if raw is None:
            return b""
        text = bytes(raw)
        if not text.startswith(b"["):
            return text[:_BEGINNING]
        first = []
        for message in msgspec.json.decode(raw, type=list[Raw]):
            piece = bytes(message)
            first.append(piece[:_BEGINNING])
            if b'"user"' in piece or b'"role"' not in piece:
                break
        return _CACHE_MARK.sub(b"", b"".join(first))[:_BEGINNING]


def _kinds(raw: Raw) -> set[str] | None:
    """Roles of the turns, and types of their parts and of what stands in these; None where they are of another form."""
    found: set[str] = set()
    nested = [raw]
    try:
        while nested:
            piece = nested.pop()
            if bytes(memoryview(piece)[:1]) != b"[":
                continue
            for item in _PIECES.decode(piece):
                found.add(item.role)
                found.add(item.type)
                if len(item.content) > 2:
                    nested.append(item.content)
                if len(item.output) > 2:
                    nested.append(item.output)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found


def _marks(conversation: bytes) -> set[str]:
    """The same from a search for words, which may stand elsewhere too."""
    return {kind for kind, words in _WORDS if any(word in conversation for word in words)}


def _asks(members: Members, name: str) -> bool:
    """Whether the member asks for thinking, and not for none."""
    raw = members.get(name)
    return raw is not None and not any(word in bytes(raw) for word in (b'"none"', b'"disabled"', b"null"))


def _holds(members: Members, name: str) -> bool:
    raw = members.get(name)
    return raw is not None and (len(raw) > 4 or bytes(raw) not in (b"null", b"[]", b"{}"))


def _structured(members: Members) -> bool:
    for name in ("response_format", "output_config", "text"):
        raw = members.get(name)
        if raw is not None and b'"json_' in bytes(raw):
            return True
    config = members.get("generationConfig") or members.get("generation_config")
    return config is not None and b"chema" in bytes(config)


def read_request(
    dialect: str, body: bytes, *, model: str = "", stream: bool = False, counting: bool = False
) -> TopLevel:
    """The top level of ``body``; BadRequest names the path. ``model`` and ``stream`` are the URL's where the dialect has them there.

    ``counting``: it is a request to count tokens, which needs fewer fields.
    """
    form = "anthropic:count" if counting and dialect == "anthropic" else dialect
    if len(body) > LONG:
        read = _read_abridged(dialect, form, body, model, stream)
        if read is not None:
            return read
    return read_whole(dialect, form, body, model, stream)


def read_whole(dialect: str, form: str, body: bytes, model: str, stream: bool) -> TopLevel:
    """As ``read_request``, with every byte read where it stands. ``form``: which members the request needs."""
    try:
        top: Any = _READERS[form].decode(body)
        members = DECODER.decode(body)
        if not body.isascii():
            body.decode()
    except msgspec.ValidationError as exc:
        raise invalid(str(exc)) from exc
    except UnicodeDecodeError as exc:
        raise BadRequest(f"The body is no valid UTF-8 (byte {exc.start})") from exc
    except msgspec.DecodeError as exc:
        whole = mended(body) if b"\\u" in body else body
        if whole != body:
            # Half characters in some text are no reason to refuse it; the client's own bytes are what goes up.
            return read_whole(dialect, form, whole, model, stream)
        raise BadRequest(f"The body is no valid JSON: {exc}") from exc
    except RecursionError as exc:
        raise BadRequest("The body is nested too deeply") from exc
    result = TopLevel(dialect, model or getattr(top, "model", ""), members, body)
    if not is_compact(body, members):
        result.compact = False
        result.places = spans(body, members)
        _refuse_duplicates(result.places, members, _READ[form])
    _fill(result, top, stream)
    return result


def _read_abridged(dialect: str, form: str, body: bytes, model: str, stream: bool) -> TopLevel | None:
    """As ``read_whole``, in one pass over what is long. None where that cannot be, or where something is wrong: ``read_whole`` tells what."""
    brief = body
    short = without_strings(body)
    if short is not None:
        brief = short.text
    else:
        short = without_list(body, _OPENINGS[dialect])
        if short is None:
            return None
    text = short.text
    try:
        top: Any = _READERS[form].decode(text)
        members = DECODER.decode(text)
        if not text.isascii():
            text.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = spans(text, members)
    if len(found) > len(members):
        return None
    compact = is_compact(text, members)
    found = short.restored(found)
    short.filled(members, found)
    result = TopLevel(dialect, model or getattr(top, "model", ""), members, brief)
    result.compact = compact
    result.places = found
    _fill(result, top, stream)
    return result


def _wishes_usage(raw: Raw | None) -> bool:
    """Whether the member ``usage`` of a Chat request is the wish of OpenRouter's clients: ``{"include": true}``."""
    if raw is None:
        return False
    try:
        wish = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return isinstance(wish, dict) and wish.get("include") is True


def _fill(result: TopLevel, top: Any, stream: bool) -> None:
    kind = type(top)
    if kind is ChatTop:
        result.stream = top.stream is True
        result.usage_option = top.stream_options is not None and top.stream_options.include_usage is True
        result.include_usage = result.usage_option or _wishes_usage(result.members.get("usage"))
        if top.n is not None:
            result.choices = whole(top.n, "$.n") or 1
        asked = top.max_completion_tokens
        asked = top.max_tokens if asked is None else asked
    elif kind is MessagesTop:
        result.stream = top.stream is True
        asked = top.max_tokens
    elif kind is ResponsesTop:
        result.stream = top.stream is True
        asked = top.max_output_tokens
    elif isinstance(top, GeminiTop):
        result.stream = stream
        config = top.camel if top.camel is not None else top.snake
        if top.camel is not None and top.snake is not None:
            raise BadRequest("This member is given twice, in two spellings", "$.generationConfig")
        asked = None if config is None else config.max_output_tokens
        result.choices = (
            config is not None and whole(config.candidate_count, "$.generationConfig.candidateCount")
        ) or 1
    else:
        asked = None
    if isinstance(asked, float):
        asked = whole(asked, f"$.{_LIMITS.get(kind, 'max_tokens')}")
    # Some clients send -1 for "as many as you like".
    if asked is not None and asked > 0:
        result.max_tokens = asked


def whole(value: int | float | None, path: str) -> int | None:
    """A number of something; BadRequest where it is a fraction."""
    if isinstance(value, float):
        if not value.is_integer():
            raise BadRequest("Expected a whole number", path)
        return int(value)
    return value


def invalid(text: str) -> BadRequest:
    """A BadRequest from msgspec's sentence, which holds the path at its end."""
    problem, _, path = text.partition(" - at `")
    path = path.removesuffix("`")
    missing = _MISSING.fullmatch(problem)
    if missing is not None:
        return BadRequest("This field is required", f"{path or '$'}.{missing[1]}")
    return BadRequest(problem, path or "$")


def _refuse_duplicates(found: list[Span], members: Members, read: Collection[str]) -> None:
    if len(found) > len(members):
        twice = sorted(duplicates(found) & set(read))
        if twice:
            raise BadRequest("This member is given twice", f"$.{twice[0]}")


def rewrite(body: bytes, top: TopLevel, changes: Mapping[str, Json], *, drop: Collection[str] = ()) -> bytes:
    """``body`` with top-level members replaced or added (``changes``: name → value) and left out (``drop``); else byte by byte the same."""
    values = {name: dumps(value) for name, value in changes.items()}
    if top.compact and not drop and "model" in values and "model" in top.members:
        quick = _rewrite_model(body, top.members, values)
        if quick is not None:
            return quick
    if top.places is None:
        top.places = spans(body, top.members)
    return edited(body, top.places, values, frozenset(drop))


def _rewrite_model(body: bytes, members: Members, values: dict[str, bytes]) -> bytes | None:
    """The common case by addition alone: the model replaced, at most one member added. None where more is asked."""
    head = b""
    for name, value in values.items():
        if name != "model":
            if head or name in members:
                return None
            head = b'{"%b":%b,' % (name.encode(), value)
    at = 9
    for name, raw in members.items():
        if name == "model":
            break
        at += len(name) + len(raw) + 4
    return _spliced(body, head, at, values["model"], at + len(members["model"]))


def _spliced(body: bytes, head: bytes, start: int, value: bytes, end: int) -> bytes:
    """``body`` with ``head`` in place of its first brace, if there is one, and ``value`` from ``start`` to ``end``."""
    first = 1 if head else 0
    if len(body) < _BEGINNING:
        return b"".join((head, body[first:start], value, body[end:]))
    # Views, so that a long body is copied once and not three times.
    view = memoryview(body)
    return b"".join((head, view[first:start], value, view[end:]))


class Forwarded(NamedTuple):
    """``dropped`` names the members that the provider does not take."""

    body: bytes
    dropped: tuple[str, ...] = ()


def for_upstream(body: bytes, top: TopLevel, model: str, quirks: Quirks) -> Forwarded:
    """The request for a provider of the client's dialect: its model name, usage asked for, and what the quirks name."""
    members = top.members
    if _needs_only_its_model(top, quirks):
        if body[:9] == b'{"model":':
            # Where it mostly stands.
            return Forwarded(_spliced(body, b"", 9, dumps(model), 9 + len(members["model"])))
        return Forwarded(rewrite(body, top, {"model": model}))
    changes: dict[str, Json] = {"model": model} if "model" in members or top.dialect != "gemini" else {}
    if top.dialect != "openai_chat":
        drop = [name for name in quirks.drop if name in members] if quirks.drop else []
        if top.dialect == "gemini":
            changes.clear()
        return Forwarded(
            rewrite(body, top, changes, drop=drop) if changes or drop else body, tuple(sorted(drop))
        )
    if top.stream and quirks.stream_usage and not top.usage_option:
        changes["stream_options"] = _with_usage(members.get("stream_options"))
    if not quirks.developer_role and DEVELOPER.stand_in(top.brief):
        # An escaped quote cannot end a member's name, so this never matches inside a string.
        changes["messages"] = Raw(_DEVELOPER.sub(rb'\1"system"', bytes(members["messages"])))
    drop = [name for name in quirks.drop if name in members] if quirks.drop else []
    if not quirks.stream_usage and "stream_options" in members:
        drop.append("stream_options")
    dropped = tuple(sorted(drop))
    _rename_max_tokens(members, quirks.max_tokens_field, changes, drop)
    return Forwarded(rewrite(body, top, changes, drop=drop), dropped)


def _needs_only_its_model(top: TopLevel, quirks: Quirks) -> bool:
    """Whether nothing but the model's name has to change for such a provider. It may be False where that is so."""
    members = top.members
    if not top.compact or quirks.drop or "model" not in members or top.dialect == "gemini":
        return False
    if top.dialect != "openai_chat":
        return True
    if not quirks.developer_role or quirks.max_tokens_field:
        return False
    if quirks.stream_usage:
        return top.usage_option or not top.stream
    return "stream_options" not in members


def _with_usage(raw: Raw | None) -> Json:
    """``stream_options`` with usage asked for and its other members kept."""
    if raw is None or bytes(raw) == b"null":
        return Raw(_USAGE_OPTION)
    options: dict[str, Json] = msgspec.json.decode(raw, type=dict[str, Raw])
    return options | {"include_usage": True}


def _rename_max_tokens(members: Members, wanted: str, changes: dict[str, Json], drop: list[str]) -> None:
    """The limit under the one name that the provider knows."""
    other = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}.get(wanted)
    if other is not None and other in members:
        drop.append(other)
        if wanted not in members:
            changes[wanted] = members[other]
