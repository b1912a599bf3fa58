"""The endpoints of conversation, as one table: how each reads, answers and fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from aiohttp import web

from apipod_proxy.simulator import others
from apipod_proxy.simulator.answers import anthropic as anthropic_answer
from apipod_proxy.simulator.answers import gemini as gemini_answer
from apipod_proxy.simulator.answers import openai_chat as chat_answer
from apipod_proxy.simulator.answers import openai_errors
from apipod_proxy.simulator.answers import openai_responses as responses_answer
from apipod_proxy.simulator.answers.scene import Failure, Frame, Scene
from apipod_proxy.simulator.ask import JSON, Ask, Refusal
from apipod_proxy.simulator.ledger import Ledger
from apipod_proxy.simulator.requests import anthropic, gemini, openai_chat, openai_responses

LEDGER = web.AppKey("simulator_ledger", Ledger)
_OPENAI_HEADERS = {
    "openai-version": "2020-10-01",
    "openai-processing-ms": "12",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-tokens": "1999990",
    "x-ratelimit-reset-tokens": "0s",
}
_ANTHROPIC_HEADERS = {
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2030-01-01T00:00:00Z",
    "anthropic-ratelimit-tokens-limit": "400000",
    "anthropic-ratelimit-tokens-remaining": "399000",
    "anthropic-ratelimit-tokens-reset": "2030-01-01T00:00:00Z",
}


class Surface(NamedTuple):
    """How one endpoint of conversation reads and answers; the error's second argument is the id of the request."""

    read: Callable[[web.Request, JSON], Ask]
    unary: Callable[[Scene], bytes]
    stream: Callable[[Scene], Iterator[Frame]]
    failed: Callable[[Scene, Failure, bool], Iterator[Frame]]
    error: Callable[[Failure, str], bytes]
    malformed: bytes
    headers: dict[str, str]
    id_header: str
    stream_type: str = "text/event-stream; charset=utf-8"
    json_type: str = "application/json"
    # The status that an error within a stream stands for, unless the script names one.
    fails_with: int = 500


def _failed_with(failed: Callable[..., Iterator[Frame]]) -> Callable[[Scene, Failure, bool], Iterator[Frame]]:
    return lambda scene, failure, first: failed(scene, failure, first=first)


def _read_anthropic(request: web.Request, body: JSON) -> Ask:
    headers = request.headers
    if "anthropic-version" not in headers:
        raise Refusal("anthropic-version: header is required")
    ask = anthropic.read(body, version=headers["anthropic-version"], betas=headers.get("anthropic-beta", ""))
    if ask.cache_write and request.app[LEDGER].memory.knows_prefix(anthropic.cache_prefix(body)):
        ask.cache_read, ask.cache_write = ask.cache_write, 0
    return ask


def _read_responses(request: web.Request, body: JSON) -> Ask:
    previous = body.get("previous_response_id")
    if previous is None:
        return openai_responses.read(body)
    stored = request.app[LEDGER].memory.stored(str(previous))
    if stored is None:
        raise Refusal(
            f"Previous response with id '{previous}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return openai_responses.read(body | {"input": [*stored, *items_of(body.get("input"))]})


def items_of(given: object) -> list[JSON]:
    """The input of a response as a list of items."""
    return (
        [{"role": "user", "content": given}]
        if isinstance(given, str)
        else given
        if isinstance(given, list)
        else []
    )


def _read_gemini(request: web.Request, body: JSON) -> Ask:
    return gemini.read(
        request.match_info["model"], body, stream=request.match_info["verb"] == "streamGenerateContent"
    )


CHAT = Surface(
    read=lambda _, body: openai_chat.read(body),
    unary=chat_answer.unary,
    stream=chat_answer.stream,
    failed=_failed_with(chat_answer.failed),
    malformed=chat_answer.MALFORMED,
    error=lambda failure, _: openai_errors.error(failure),
    headers=_OPENAI_HEADERS,
    id_header="x-request-id",
)
RESPONSES = CHAT._replace(
    read=_read_responses,
    unary=responses_answer.unary,
    stream=responses_answer.stream,
    failed=_failed_with(responses_answer.failed),
    malformed=responses_answer.MALFORMED,
)
COMPLETIONS = CHAT._replace(
    read=lambda _, body: others.read_completion(body),
    unary=others.completion,
    stream=others.completion_stream,
)
ANTHROPIC = Surface(
    read=_read_anthropic,
    unary=anthropic_answer.unary,
    stream=anthropic_answer.stream,
    failed=_failed_with(anthropic_answer.failed),
    error=anthropic_answer.error,
    malformed=anthropic_answer.MALFORMED,
    headers=_ANTHROPIC_HEADERS,
    id_header="request-id",
    fails_with=529,
)
GEMINI = Surface(
    read=_read_gemini,
    unary=gemini_answer.unary,
    stream=gemini_answer.stream,
    failed=_failed_with(gemini_answer.failed),
    error=lambda failure, _: gemini_answer.error(failure),
    malformed=gemini_answer.MALFORMED,
    headers={"vary": "Origin, X-Origin, Referer"},
    id_header="x-request-id",
    stream_type="text/event-stream",
    json_type="application/json; charset=UTF-8",
    fails_with=503,
)
GEMINI_ARRAY = GEMINI._replace(
    stream=gemini_answer.stream_array,
    failed=_failed_with(gemini_answer.failed_array),
    error=lambda failure, _: gemini_answer.error(failure, array=True),
    stream_type="application/json; charset=UTF-8",
)
