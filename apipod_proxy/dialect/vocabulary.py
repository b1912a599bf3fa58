"""The neutral vocabulary: a call, its messages, and the events of an answer. Every dialect is translated to and from it.

A request is a ``Call``. An answer, streamed or not, is a sequence of events:

    Start · (Delta events)* · Usage* · Finish per choice · End

Deltas carry the index of their ``choice`` and of the ``block`` they belong to. A block is one run of text, one thinking
block, one tool call or one opaque item; its index is unique within the choice and grows in the order of first
appearance. A decoder numbers blocks; when a block starts and stops on the wire is the encoder's to derive: a block is over when
another one of the same choice begins, except that tool calls may be interleaved.

What only one dialect can express travels as ``Opaque(dialect, payload)`` and comes out where the dialect matches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

Json = Any
"""A value as ``json.loads`` gives it."""


# Requests


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(slots=True)
class Opaque:
    """``payload`` as it stood on the wire of ``dialect``. ``what`` names it for ``x-apipod-dropped``."""

    dialect: str
    payload: Json
    what: str = ""


@dataclass(slots=True)
class Text:
    text: str
    cache: Json = None
    """An Anthropic ``cache_control`` object, or None."""
    citations: list[Opaque] = field(default_factory=list)
    signature: str | None = None
    """Gemini puts thought signatures on text parts too."""
    signed_by: str | None = None


@dataclass(slots=True)
class Refusal:
    text: str


@dataclass(slots=True)
class Media:
    """An image, a document, audio or video: exactly one of ``data`` (base64 text), ``url``, ``file_id``, ``text`` is set."""

    kind: str
    """image | document | audio | video"""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    text: str | None = None
    name: str | None = None
    detail: str | None = None
    context: str | None = None
    citations: bool = False
    cache: Json = None
    extra: Opaque | None = None


@dataclass(slots=True)
class Thinking:
    """Reasoning. ``signature`` is what the provider wants back unaltered; ``signed_by`` the dialect that made it.

    ``redacted``: the text is hidden and ``signature`` holds the provider's opaque data. ``extra``: further wire fields of that dialect
    (as OpenRouter's ``reasoning_details`` or the id of a Responses item).
    """

    text: str
    signature: str | None = None
    signed_by: str | None = None
    redacted: bool = False
    extra: Opaque | None = None


@dataclass(slots=True)
class ToolCall:
    """``arguments`` is the JSON text as it stood (or free text where ``custom``)."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    cache: Json = None
    signature: str | None = None
    signed_by: str | None = None
    extra: Opaque | None = None


@dataclass(slots=True)
class ToolResult:
    """``content`` holds Text and Media (and Opaque). ``name`` is the tool's, where the dialect says it."""

    call_id: str
    content: list[Part]
    name: str | None = None
    is_error: bool = False
    custom: bool = False
    cache: Json = None
    json: Json = None
    """The object of a Gemini ``functionResponse``, which is no text; ``content`` then holds its JSON text."""
    extra: Opaque | None = None


Part = Text | Refusal | Media | Thinking | ToolCall | ToolResult | Opaque


@dataclass(slots=True)
class Message:
    """Tool results stand in USER messages, in front of other parts. ``extra``: further wire fields of one dialect."""

    role: Role
    parts: list[Part]
    name: str | None = None
    extra: Opaque | None = None


@dataclass(slots=True)
class Tool:
    """``parameters`` is a JSON Schema, or None. ``custom``: takes free text, ``format`` its grammar. ``hosted``: run by the provider."""

    name: str
    description: str | None = None
    parameters: Json = None
    strict: bool | None = None
    custom: bool = False
    format: Json = None
    cache: Json = None
    extra: Opaque | None = None
    hosted: Opaque | None = None


@dataclass(slots=True)
class ToolChoice:
    """``mode``: auto | none | required | tool | allowed (``names``: the tool, or those allowed)."""

    mode: str
    names: list[str] = field(default_factory=list)
    required: bool = False
    """With ``allowed``: one of them must be called."""
    parallel: bool | None = None
    """None: as the provider likes; False: at most one call."""


@dataclass(slots=True)
class Reasoning:
    """``effort``: none | minimal | low | medium | high | xhigh | max; ``budget``: tokens (-1: as the model likes); ``show``: summaries wanted."""

    enabled: bool | None = None
    effort: str | None = None
    budget: int | None = None
    adaptive: bool = False
    show: bool | None = None
    summary: str | None = None

    @property
    def off(self) -> bool:
        """Whether no thinking is wanted."""
        return self.enabled is False or self.effort == "none" or self.budget == 0


@dataclass(slots=True)
class OutputFormat:
    """``kind``: text | json_object | json_schema."""

    kind: str
    schema: Json = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


@dataclass(slots=True)
class Sampling:
    """Tuning knobs; None where the client said nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Json = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


@dataclass(slots=True)
class Call:
    """One request for a completion, as the client meant it."""

    dialect: str
    model: str
    messages: list[Message]
    stream: bool = False
    include_usage: bool = False
    """The client wants the usage chunk of a Chat stream."""
    detailed: bool = False
    """The client of Chat reads reasoning in OpenRouter's form: ``reasoning``, and every piece of it among the details."""
    max_tokens: int | None = None
    stop: list[str] = field(default_factory=list)
    choices: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    reasoning: Reasoning | None = None
    output: OutputFormat | None = None
    modalities: list[str] = field(default_factory=list)
    verbosity: str | None = None
    user: str | None = None
    """Who the end user is: Chat's ``user``/``safety_identifier``, ``metadata.user_id`` of Messages."""
    metadata: Json = None
    service_tier: str | None = None
    cache_key: str | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    safety: Opaque | None = None
    extra: list[Opaque] = field(default_factory=list)
    """Top-level fields that only the client's dialect knows: ``payload`` is ``{name: value}``."""


# Answers


class StopReason(StrEnum):
    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"
    PAUSE = "pause"
    CONTEXT_WINDOW = "context_window"
    MALFORMED_CALL = "malformed_call"
    OTHER = "other"
    """The named fallback for what a provider may invent."""


class Usage(NamedTuple):
    """Token counts in classes that do not overlap. None: not reported, which differs from zero; later reports override set fields only.

    ``output`` excludes ``reasoning``; ``input`` excludes what was read from or written to a cache.
    """

    input: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    extra: Opaque | None = None
    """The wire object, for the same dialect's client."""

    def merged(self, later: Usage) -> Usage:
        """This report with every field that ``later`` sets overridden."""
        return Usage._make([old if new is None else new for old, new in zip(self, later, strict=True)])


class Start(NamedTuple):
    """The answer begins. ``extra``: wire fields beside those (as ``system_fingerprint``)."""

    id: str | None = None
    model: str | None = None
    created: int | None = None
    usage: Usage | None = None
    extra: Opaque | None = None


class TextDelta(NamedTuple):
    """A piece of text. ``extra``: further wire fields of the block, on its first piece."""

    text: str
    block: int = 0
    choice: int = 0
    signature: str | None = None
    signed_by: str | None = None
    extra: Opaque | None = None


class RefusalDelta(NamedTuple):
    text: str
    block: int = 0
    choice: int = 0
    extra: Opaque | None = None


class ThinkingDelta(NamedTuple):
    """A piece of reasoning text; ``redacted`` blocks have none, only a ``SignatureDelta``. ``summary``: it is one of Responses."""

    text: str
    block: int = 0
    choice: int = 0
    redacted: bool = False
    extra: Opaque | None = None


class SignatureDelta(NamedTuple):
    """The signature of the thinking block ``block`` (or the data of a redacted one). ``signed_by``: the dialect that made it."""

    signature: str
    signed_by: str
    block: int = 0
    choice: int = 0
    redacted: bool = False
    extra: Opaque | None = None


class ToolOpen(NamedTuple):
    """A tool call begins. ``id`` is never empty: a decoder makes one where the provider sends none."""

    id: str
    name: str
    block: int
    choice: int = 0
    custom: bool = False
    signature: str | None = None
    signed_by: str | None = None
    extra: Opaque | None = None


class ToolArgs(NamedTuple):
    """A fragment of the arguments' JSON text (or free text of a custom tool) of the call opened as ``block``."""

    fragment: str
    block: int
    choice: int = 0


class MediaDelta(NamedTuple):
    """A whole image or a piece of audio that the model made."""

    media: Media
    block: int
    choice: int = 0


class Annotation(NamedTuple):
    """A citation on text block ``block``: as it stood on the wire, and what every dialect can say of it.

    ``start`` and ``end`` count characters of the block's text, ``quote`` is the cited passage of the source.
    """

    citation: Opaque
    block: int
    choice: int = 0
    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None


class Logprobs(NamedTuple):
    """Token log probabilities in Chat's form: ``{"content": [...], "refusal": [...]}``."""

    payload: Json
    choice: int = 0


class OpaqueBlock(NamedTuple):
    """A block that only one dialect knows (server tools and their results …). ``final``: nothing of it follows."""

    payload: Opaque
    block: int
    choice: int = 0


class Finish(NamedTuple):
    reason: StopReason
    choice: int = 0
    stop_sequence: str | None = None
    raw: str | None = None
    """The provider's own word, for the same dialect's client and for the log."""
    extra: Opaque | None = None


class UsageReport(NamedTuple):
    usage: Usage


class Failure(NamedTuple):
    """The provider reported an error within its stream. ``status`` is what HTTP would have said, if known."""

    message: str
    kind: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None


class Heartbeat(NamedTuple):
    """A ping of the provider."""


class Unknown(NamedTuple):
    """A frame that is no JSON or of no known type: skipped and counted."""

    raw: bytes


class End(NamedTuple):
    """The answer is whole."""


Event = (
    Start
    | TextDelta
    | RefusalDelta
    | ThinkingDelta
    | SignatureDelta
    | ToolOpen
    | ToolArgs
    | MediaDelta
    | Annotation
    | Logprobs
    | OpaqueBlock
    | Finish
    | UsageReport
    | Failure
    | Heartbeat
    | Unknown
    | End
)

CONTENT_EVENTS: tuple[type, ...] = (
    TextDelta,
    RefusalDelta,
    ThinkingDelta,
    SignatureDelta,
    ToolOpen,
    MediaDelta,
    OpaqueBlock,
    Finish,
)
"""A stream starts when one of these has arrived."""
