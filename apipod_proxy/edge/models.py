"""The list of what a key may ask for, in the dialect of the caller: the OpenAI, the Anthropic or the Gemini form."""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from apipod_proxy.edge.render import ANTHROPIC, GEMINI, dialect_of
from apipod_proxy.errors import BadRequest, UnknownModel

ANTHROPIC_PAGE = 20
GEMINI_PAGE = 50
LARGEST_PAGE = 1000
GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")

Json = dict[str, Any]


class Offered(NamedTuple):
    """A name that this caller may ask for. Sizes in tokens, None where not known; ``created`` in epoch seconds."""

    name: str
    owner: str
    created: int = 0
    context_window: int | None = None
    max_output: int | None = None
    capabilities: frozenset[str] = frozenset()


OfferedTo = Callable[[web.Request], Awaitable[Sequence[Offered]]]
"""Who is asking and what may they see, sorted by name. Raises Unauthenticated or Forbidden."""


class Models:
    """Handlers for the list and for one entry of it."""

    def __init__(self, offered_to: OfferedTo) -> None:
        self._offered_to = offered_to

    async def list(self, request: web.Request) -> web.Response:
        models = await self._offered_to(request)
        dialect = dialect_of(request.path, request.headers)
        if dialect == GEMINI:
            return _json(_gemini_list(models, request))
        if dialect == ANTHROPIC:
            return _json(_anthropic_list(models, request))
        return _json({"object": "list", "data": [_openai(model) for model in models]})

    async def one(self, request: web.Request) -> web.Response:
        models = await self._offered_to(request)
        dialect = dialect_of(request.path, request.headers)
        name = request.match_info["id"]
        if dialect == GEMINI:
            name = name.removeprefix("models/")
        found = next((model for model in models if model.name == name), None)
        if found is None:
            raise UnknownModel(name)
        shape = {GEMINI: _gemini, ANTHROPIC: _anthropic}.get(dialect, _openai)
        return _json(shape(found))


def _openai(model: Offered) -> Json:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owner,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output,
        # The client of Mistral reads the same path and demands these.
        "type": "base",
        "capabilities": {
            "completion_chat": True,
            "completion_fim": False,
            "fine_tuning": False,
            "function_calling": "tools" in model.capabilities,
            "vision": "vision" in model.capabilities,
        },
    }


def _anthropic(model: Offered) -> Json:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "deprecated_at": None,
        "line": None,
        "max_input_tokens": model.context_window,
        "max_tokens": model.max_output,
    }


def _gemini(model: Offered) -> Json:
    shape: Json = {
        "name": f"models/{model.name}",
        "version": "001",
        "displayName": model.name,
        "description": f"Served by {model.owner}.",
        "supportedGenerationMethods": list(GEMINI_METHODS),
    }
    if model.context_window is not None:
        shape["inputTokenLimit"] = model.context_window
    if model.max_output is not None:
        shape["outputTokenLimit"] = model.max_output
    return shape


def _anthropic_list(models: Sequence[Offered], request: web.Request) -> Json:
    query = request.query
    limit = _page_size(query.get("limit"), ANTHROPIC_PAGE, "limit")
    names = [model.name for model in models]
    more = False
    if "before_id" in query:
        end = _position(names, query["before_id"], "before_id")
        start = max(0, end - limit)
        more = start > 0
    else:
        start = _position(names, query["after_id"], "after_id") + 1 if "after_id" in query else 0
        end = start + limit
        more = end < len(models)
    page = models[start:end]
    return {
        "data": [_anthropic(model) for model in page],
        "has_more": more,
        "first_id": page[0].name if page else None,
        "last_id": page[-1].name if page else None,
    }


def _gemini_list(models: Sequence[Offered], request: web.Request) -> Json:
    query = request.query
    size = _page_size(query.get("pageSize") or query.get("page_size"), GEMINI_PAGE, "pageSize")
    token = query.get("pageToken") or query.get("page_token")
    start = 0
    if token:
        after = _token_name(token)
        start = next((at for at, model in enumerate(models) if model.name > after), len(models))
    page = models[start : start + size]
    answer: Json = {"models": [_gemini(model) for model in page]}
    if start + size < len(models):
        answer["nextPageToken"] = urlsafe_b64encode(page[-1].name.encode()).decode()
    return answer


def _page_size(text: str | None, default: int, name: str) -> int:
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= LARGEST_PAGE):
        raise BadRequest(f"Expected a whole number from 1 to {LARGEST_PAGE}.", f"$.{name}")
    return int(text)


def _position(names: Sequence[str], name: str, parameter: str) -> int:
    if name not in names:
        raise BadRequest("Expected the id of a model in this list.", f"$.{parameter}")
    return names.index(name)


def _token_name(token: str) -> str:
    try:
        return b64decode(token.encode(), b"-_", validate=True).decode()
    except (Base64Error, ValueError) as exc:
        raise BadRequest("Expected the nextPageToken of the page before.", "$.pageToken") from exc


def _json(value: Json) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
