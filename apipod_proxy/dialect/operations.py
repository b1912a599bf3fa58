"""What is asked of a model beside completions: one typed pass over the top level of a request, as for completions.

An operation is served by the first of its ``ways`` that a provider has; a way is the name of a surface of the provider's type.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from apipod_proxy.dialect.identity import Anything, Hints, Name, Objects, StreamOptions, TopLevel, invalid
from apipod_proxy.dialect.members import DECODER, duplicates, is_compact, spans
from apipod_proxy.dialect.multipart import Form, read_form
from apipod_proxy.errors import BadRequest

EMBEDDINGS = "embeddings"
GEMINI_EMBED = "gemini_embed"
GEMINI_BATCH_EMBED = "gemini_batch_embed"
GIGACHAT_EMBEDDINGS = "gigachat_embeddings"


class Operation(NamedTuple):
    """``dialect`` is the client's; ``word`` says in a refusal what no provider has.

    ``form``: the request is a form with a file. ``raw``: the answer is passed on as it comes, whatever it is.
    """

    name: str
    dialect: str
    word: str
    ways: tuple[str, ...]
    form: bool = False
    raw: bool = False


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        row.name: row
        for row in (
            Operation(
                EMBEDDINGS,
                "openai_chat",
                "embeddings",
                (EMBEDDINGS, GEMINI_BATCH_EMBED, GIGACHAT_EMBEDDINGS),
            ),
            Operation("images", "openai_chat", "image generation", ("images",)),
            Operation("completions", "openai_chat", "text completions", ("completions",)),
            Operation("moderations", "openai_chat", "moderations", ("moderations",)),
            Operation("speech", "openai_chat", "speech synthesis", ("speech",), raw=True),
            Operation("transcriptions", "openai_chat", "transcriptions", ("transcriptions",), form=True),
            Operation("translations", "openai_chat", "audio translations", ("translations",), form=True),
            Operation(GEMINI_EMBED, "gemini", "embeddings", (GEMINI_EMBED, EMBEDDINGS)),
            Operation(GEMINI_BATCH_EMBED, "gemini", "embeddings", (GEMINI_BATCH_EMBED, EMBEDDINGS)),
        )
    }
)


class _Embeddings(Struct, gc=False):
    model: Name
    input: str | list[Any]


class _Images(Struct, gc=False):
    model: Name
    prompt: str
    stream: bool | None = None


class _Completions(Struct, gc=False):
    model: Name
    prompt: str | list[Any]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None


class _Moderations(Struct, gc=False):
    input: str | list[Any]
    model: Name = "omni-moderation-latest"


class _Speech(Struct, gc=False):
    model: Name
    input: str


class _GeminiEmbed(Struct, gc=False):
    content: Anything


class _GeminiBatch(Struct, gc=False):
    requests: Objects


_FORMS: Mapping[str, type[Struct]] = {
    EMBEDDINGS: _Embeddings,
    "images": _Images,
    "completions": _Completions,
    "moderations": _Moderations,
    "speech": _Speech,
    GEMINI_EMBED: _GeminiEmbed,
    GEMINI_BATCH_EMBED: _GeminiBatch,
}
_READERS = {name: msgspec.json.Decoder(form) for name, form in _FORMS.items()}

_NOTHING = Hints(False, False, False, False, False, False, False)


class OperationTop(TopLevel):
    """The top level of a request that is no completion; ``form`` where it is one."""

    __slots__ = ("form", "operation")

    def __init__(self, operation: Operation, model: str, members: dict[str, msgspec.Raw]) -> None:
        super().__init__(operation.dialect, model, members)
        self.operation = operation
        self.form: Form | None = None
        # Only text completions are reserved for; of the others the input is what counts.
        self.max_tokens = 0

    def hints(self) -> Hints:
        return _NOTHING


def read_operation(
    operation: Operation, body: bytes, content_type: str = "", model: str = ""
) -> OperationTop:
    """The top level of ``body``; BadRequest names the path. ``model`` is the URL's where the dialect has it there."""
    if operation.form:
        return _read_form(operation, body, content_type)
    try:
        top: Any = _READERS[operation.name].decode(body)
        members = DECODER.decode(body)
        body.decode()
    except msgspec.ValidationError as exc:
        raise invalid(str(exc)) from exc
    except UnicodeDecodeError as exc:
        raise BadRequest(f"The body is no valid UTF-8 (byte {exc.start})") from exc
    except msgspec.DecodeError as exc:
        raise BadRequest(f"The body is no valid JSON: {exc}") from exc
    except RecursionError as exc:
        raise BadRequest("The body is nested too deeply") from exc
    result = OperationTop(operation, model or getattr(top, "model", ""), members)
    if not is_compact(body, members):
        result.compact = False
        result.places = spans(body, members)
        twice = duplicates(result.places) & set(_FORMS[operation.name].__struct_fields__)
        if twice:
            raise BadRequest("This member is given twice", f"$.{min(twice)}")
    result.stream = operation.raw or getattr(top, "stream", None) is True
    if isinstance(top, _Completions):
        result.include_usage = top.stream_options is not None and top.stream_options.include_usage is True
        result.choices = (top.n or 1) * _prompts(top.prompt)
        result.max_tokens = top.max_tokens if top.max_tokens is not None and top.max_tokens > 0 else None
    return result


def _prompts(prompt: str | list[Any]) -> int:
    """How many prompts there are: a list of texts or of lists of tokens holds several, each with choices of its own."""
    several = isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list)
    return len(prompt) if several else 1


def _read_form(operation: Operation, body: bytes, content_type: str) -> OperationTop:
    form = read_form(content_type, body)
    model = form.text(body, "model")
    if not model:
        raise BadRequest("This field is required", "$.model")
    if not form.has("file"):
        raise BadRequest("This field is required", "$.file")
    result = OperationTop(operation, model, {})
    result.form = form
    result.stream = (form.text(body, "stream") or "").strip().lower() == "true"
    return result
