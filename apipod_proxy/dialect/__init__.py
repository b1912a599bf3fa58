"""The languages: one codec module for each dialect, each a row of three mirrored pairs.

    bytes → ours                                     ours → bytes
    decode_request(body) -> Call                     encode_request(Call, Target) -> Encoded
    Decoder.feed(bytes) / eof() -> list[Event]       Encoder.send(Event) -> bytes
    decode_error(status, headers, body)              encode_error(error, …) / error_event(error)

What a feed can give is written down here once. ``Decoder.feed`` takes any split of the bytes and gives a list of events; empty means that
more is needed. ``Decoder.eof`` gives the closing events, ``End`` among them, or raises ``Truncated``: a cut stream is never a normal end.
``b""`` from an encoder means that there is nothing to send yet. What breaks the protocol raises ``ProtocolError``, nothing else.
A unary answer is decoded to the same events (``decode_unary``) and folded to bytes from them (``fold``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from apipod_proxy.dialect.vocabulary import Call, Event
from apipod_proxy.errors import ProxyError, UpstreamStatus


class ProtocolError(Exception):
    """The bytes break the rules of the dialect; the text names how."""


class Truncated(ProtocolError):
    """The answer ended before it was whole."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """What differs between two providers of one dialect, as data; a field is named after what it does to a request or an answer."""

    drop: frozenset[str] = frozenset()
    """Top-level request fields that the provider refuses."""
    max_tokens_field: str = ""
    """Chat: ``max_tokens`` or ``max_completion_tokens``; empty: as the client had it, else ``max_completion_tokens``."""
    developer_role: bool = True
    """Chat: the role ``developer`` is known; else it becomes ``system``."""
    stream_usage: bool = True
    """Chat: ``stream_options.include_usage`` is understood."""
    reasoning_field: str = "reasoning_content"
    """Chat: the member of an assistant message in history that holds its reasoning; empty: none may be sent."""
    cache_control: bool = False
    """Chat: content parts may carry ``cache_control`` (OpenRouter)."""
    fetches_urls: bool = True
    """The provider loads images by URL itself."""
    reasoning_details: bool = False
    """Chat: ``reasoning`` takes an object and history may hold ``reasoning_details`` with signatures (OpenRouter)."""
    tool_signatures: bool = False
    """Chat: tool calls carry ``extra_content.google.thought_signature`` (Gemini's OpenAI surface)."""
    inline_thinking: bool = False
    """Chat: reasoning comes within the text, between ``<think>`` marks."""
    content_lists: bool = True
    """Chat: the content of any message may be a list of text parts; else the texts are joined."""
    reasoning_always: bool = False
    """Chat: every assistant message in history must have its reasoning, if only an empty one (DeepSeek)."""
    short_tool_ids: bool = False
    """Chat: the id of a tool call has exactly nine letters and digits (Mistral)."""
    custom_tools: bool = False
    """Chat: tools that take free text are known; else they become functions with one parameter."""
    keeps_responses: bool = True
    """Responses: the provider keeps them, so that ``previous_response_id`` is known there."""
    extra: Mapping[str, object] = field(default_factory=dict)


NO_QUIRKS = Quirks()


@dataclass(frozen=True, slots=True)
class Aim:
    """Where an encoded request goes: the model's name there, the most output tokens it takes (None: unknown), the provider's quirks.

    ``thinks``: whether the model reasons, None where nobody said. ``signs``: whose signed thinking the target takes back; empty: its dialect's.
    """

    model: str
    max_output: int | None = None
    quirks: Quirks = NO_QUIRKS
    thinks: bool | None = None
    signs: str = ""


class Encoded(NamedTuple):
    """The request's bytes, and the knobs that were dropped or clamped, for ``x-apipod-dropped``."""

    body: bytes
    dropped: Sequence[str] = ()


class Decoder(Protocol):
    def feed(self, data: bytes) -> list[Event]: ...
    def eof(self) -> list[Event]: ...


class Encoder(Protocol):
    """One answer to one client. ``dropped`` grows with what could not be said."""

    def send(self, event: Event) -> bytes: ...
    def fold(self, events: Sequence[Event]) -> bytes:
        """The whole answer as the body of a unary response."""
        ...


class AnswerInfo(NamedTuple):
    """What an encoder needs beside the events: the name the client asked for, and ids and a time where the provider gives none."""

    model: str
    request_id: str
    created: int
    include_usage: bool = False
    call: Call | None = None


IdMaker = Callable[[str], str]
"""Makes a fresh id with the given prefix (``call_``)."""


class Dialect(NamedTuple):
    """One row of ``DIALECTS``."""

    name: str
    decode_request: Callable[..., Call]
    """(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Call; BadRequest names the path.

    Gemini's model and mode stand in the URL, so they are arguments.
    """
    encode_request: Callable[[Call, Aim], Encoded]
    """Raises errors.BadRequest for content that cannot be carried."""
    decoder: Callable[..., Decoder]
    """(IdMaker, quirks: Quirks = NO_QUIRKS) -> the decoder of one stream."""
    decode_unary: Callable[..., list[Event]]
    """(body: bytes, IdMaker, quirks: Quirks = NO_QUIRKS) -> events; raises ProtocolError for what is no answer."""
    encoder: Callable[[AnswerInfo], Encoder]
    decode_error: Callable[[int, Mapping[str, str], bytes], UpstreamStatus]
    encode_error: Callable[[ProxyError, str], bytes]
    """(error, request id) -> the body of an error response."""
    error_event: Callable[[ProxyError, str], bytes]
    """(error, request id) -> the frame that ends a started stream."""
    ping: bytes
    """The frame that keeps an idle stream open; empty where clients cannot take one."""
    done: bytes
    """What closes a whole stream, where the provider left it out (``data: [DONE]``); else empty."""


class Tongue(NamedTuple):
    """A row for a language that only providers speak: the halves of ``Dialect`` that face them."""

    name: str
    encode_request: Callable[[Call, Aim], Encoded]
    decoder: Callable[..., Decoder]
    decode_unary: Callable[..., list[Event]]
    decode_error: Callable[[int, Mapping[str, str], bytes], UpstreamStatus]
