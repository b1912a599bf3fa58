"""The simulator's HTTP side: its routes, and the way of one request through it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from apipod_proxy.simulator import others
from apipod_proxy.simulator.answers.scene import Failure, Scene, dumps, pretty
from apipod_proxy.simulator.ask import JSON, Refusal, is_object
from apipod_proxy.simulator.control import add_control
from apipod_proxy.simulator.ids import Ids
from apipod_proxy.simulator.ledger import Ledger, Recorded, Visit
from apipod_proxy.simulator.pace import ClientGone, Sender, drop
from apipod_proxy.simulator.reply import compose
from apipod_proxy.simulator.requests import anthropic, gemini, openai_responses
from apipod_proxy.simulator.script import Script, UnknownKnob, read_script
from apipod_proxy.simulator.surfaces import (
    ANTHROPIC,
    CHAT,
    COMPLETIONS,
    GEMINI,
    GEMINI_ARRAY,
    LEDGER,
    RESPONSES,
    Surface,
    items_of,
)

_IDS = web.AppKey("simulator_ids", Ids)
_MAX_BODY = 1 << 28
_HTML = b"<html>\r\n<head><title>%d</title></head>\r\n<body>\r\n<center><h1>%d</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, read and counted."""

    request: web.Request
    surface: Surface
    raw: bytes
    body: JSON
    script: Script
    visit: Visit
    request_id: str

    @property
    def headers(self) -> dict[str, str]:
        return self.surface.headers | {self.surface.id_header: self.request_id}


Handle = Callable[[Arrival], Awaitable[web.StreamResponse]]


def _key(request: web.Request) -> str:
    headers = request.headers
    bearer = headers.get("authorization", "").partition(" ")[2]
    return headers.get("x-api-key") or headers.get("x-goog-api-key") or bearer or request.query.get("key", "")


def _endpoint(surface: Surface, handle: Handle) -> Handler:
    """A route's handler: records and counts the request, applies what goes before the answer, and turns refusals into errors."""

    async def handler(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        ledger = request.app[LEDGER]
        ledger.requests.append(
            Recorded(request.method, request.path, request.query_string, request.headers, raw)
        )
        try:
            body = orjson.loads(raw) if raw and not request.content_type.startswith("multipart/") else {}
        except ValueError:
            body = None
        model = request.match_info.get("model") or (body.get("model") if is_object(body) else None)
        model = model if isinstance(model, str) else ""
        key = _key(request)
        with ledger.stats.visit(request.path, model, key) as visit:
            arrival = Arrival(
                request,
                surface,
                raw,
                body if is_object(body) else {},
                Script(),
                visit,
                request.app[_IDS].request(),
            )
            try:
                script = read_script(
                    model, request.headers.get("x-sim"), ledger.faults.find(request.path, model, key)
                )
                arrival = replace(arrival, script=script)
                return await _before(arrival) or await _checked(handle, arrival, is_json=is_object(body))
            except Refusal as exc:
                return _failure(arrival, Failure(exc.status, exc.message, exc.code, exc.param))
            except UnknownKnob as exc:
                return _failure(arrival, Failure(400, f"x-sim: {exc}"))
            except ClientGone:
                visit.abort()
                return web.Response()  # for nobody
            except asyncio.CancelledError:
                visit.abort()
                raise

    return handler


async def _before(arrival: Arrival) -> web.StreamResponse | None:
    """What a script wants instead of an answer."""
    script = arrival.script
    if script.delay:
        await asyncio.sleep(script.delay / 1000)
    if script.drop:
        return drop(arrival.request)
    if script.status and not (script.error_first or script.error_mid is not None):
        return _failure(arrival, _scripted(script, script.status))
    return None


async def _checked(handle: Handle, arrival: Arrival, *, is_json: bool) -> web.StreamResponse:
    if not is_json:
        raise Refusal("We could not parse the JSON body of your request.")
    return await handle(arrival)


def _scripted(script: Script, status: int) -> Failure:
    return Failure(status, script.message, script.code or None, None, script.retry_after)


def _failure(arrival: Arrival, failure: Failure) -> web.Response:
    headers = dict(arrival.headers)
    if failure.retry_after and arrival.surface not in (GEMINI, GEMINI_ARRAY):
        headers["retry-after"] = failure.retry_after
    if arrival.script.html:
        return web.Response(
            status=failure.status, body=_HTML % (failure.status, failure.status), content_type="text/html"
        )
    headers["content-type"] = arrival.surface.json_type
    return web.Response(
        status=failure.status, body=arrival.surface.error(failure, arrival.request_id), headers=headers
    )


async def _converse(arrival: Arrival) -> web.StreamResponse:
    request, surface, script = arrival.request, arrival.surface, arrival.script
    ask = surface.read(request, arrival.body)
    scene = Scene(arrival.body, ask, script, compose(ask, script), request.app[_IDS], int(time.time()))
    if scene.script.finish == "blocked" and surface is CHAT:
        raise Refusal("Your request was rejected by the safety system.", code="content_policy_violation")

    failure = _scripted(script, script.status or surface.fails_with)
    sender = Sender(
        request,
        script,
        failed=lambda first: surface.failed(scene, failure, first),
        malformed=surface.malformed,
    )
    if ask.stream:
        arrival.visit.start_stream()
        headers = arrival.headers | {"content-type": surface.stream_type, "cache-control": "no-cache"}
        response = await sender.stream(surface.stream(scene), headers)
        _store(arrival, scene)
        return response
    body = surface.unary(scene)
    _store(arrival, scene)
    return await sender.whole(body, arrival.headers | {"content-type": surface.json_type})


def _store(arrival: Arrival, scene: Scene) -> None:
    """Keeps a response, so that a later request can name it as the one before."""
    ended = scene.notes.get("ended")
    if ended is None or arrival.body.get("store") is False:
        return
    memory = arrival.request.app[LEDGER].memory
    before = memory.stored(str(arrival.body.get("previous_response_id"))) or []
    memory.store(ended["id"], [*before, *items_of(arrival.body.get("input")), *ended["output"]])


async def _whole(arrival: Arrival, body: bytes, kind: str) -> web.StreamResponse:
    return await Sender(arrival.request, arrival.script).whole(body, arrival.headers | {"content-type": kind})


def _plain(answer: Callable[[Arrival], bytes]) -> Handle:
    """An endpoint that answers with JSON and nothing else."""

    async def handle(arrival: Arrival) -> web.StreamResponse:
        return await _whole(arrival, answer(arrival), arrival.surface.json_type)

    return handle


async def _images(arrival: Arrival) -> web.StreamResponse:
    now = int(time.time())
    whole = others.images(arrival.body, now)
    if arrival.body.get("stream") is not True:
        return await _whole(arrival, whole, arrival.surface.json_type)
    arrival.visit.start_stream()
    headers = arrival.headers | {"content-type": arrival.surface.stream_type}
    return await Sender(arrival.request, arrival.script).stream(
        others.image_stream(arrival.body, now), headers
    )


async def _speech(arrival: Arrival) -> web.StreamResponse:
    body, kind = others.speech(arrival.body)
    return await _whole(arrival, body, kind)


async def _transcription(arrival: Arrival) -> web.StreamResponse:
    form = others.read_form(arrival.request.headers.get("content-type", ""), arrival.raw)
    body, kind = others.transcription(form)
    return await _whole(arrival, body, kind)


def _count_anthropic(arrival: Arrival) -> bytes:
    headers = arrival.request.headers
    ask = anthropic.read(
        arrival.body,
        version=headers.get("anthropic-version", ""),
        betas=headers.get("anthropic-beta", ""),
        counting=True,
    )
    return dumps({"input_tokens": compose(ask, Script()).usage.prompt})


def _count_responses(arrival: Arrival) -> bytes:
    tokens = compose(openai_responses.read(arrival.body), Script()).usage.prompt
    return pretty({"object": "response.input_tokens", "input_tokens": tokens})


def _count_gemini(arrival: Arrival) -> bytes:
    ask = gemini.read_count(arrival.request.match_info["model"], arrival.body)
    tokens = compose(ask, Script()).usage.prompt
    return pretty(
        {"totalTokens": tokens, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}]}
    )


_GEMINI_VERBS: dict[str, Handler] = {
    "generateContent": _endpoint(GEMINI, _converse),
    "countTokens": _endpoint(GEMINI, _plain(_count_gemini)),
    "embedContent": _endpoint(
        GEMINI, _plain(lambda a: others.embed_content(a.request.match_info["model"], a.body))
    ),
    "batchEmbedContents": _endpoint(
        GEMINI, _plain(lambda a: others.batch_embed_contents(a.request.match_info["model"], a.body))
    ),
}
_GEMINI_SSE = _endpoint(GEMINI, _converse)
_GEMINI_ARRAY = _endpoint(GEMINI_ARRAY, _converse)


async def _gemini(request: web.Request) -> web.StreamResponse:
    verb = request.match_info["verb"]
    if verb == "streamGenerateContent":
        return await (_GEMINI_SSE if request.query.get("alt") == "sse" else _GEMINI_ARRAY)(request)
    if verb not in _GEMINI_VERBS:
        raise web.HTTPNotFound
    return await _GEMINI_VERBS[verb](request)


def _surface_of(request: web.Request) -> Surface:
    """The dialect of a caller whose path does not tell it."""
    if "x-goog-api-key" in request.headers or request.path.startswith("/v1beta/models"):
        return GEMINI
    return ANTHROPIC if "anthropic-version" in request.headers else CHAT


async def _models(request: web.Request) -> web.StreamResponse:
    surface = _surface_of(request)
    body = (
        others.gemini_models
        if surface is GEMINI
        else others.anthropic_models
        if surface is ANTHROPIC
        else others.openai_models
    )
    return await _endpoint(surface, _plain(lambda _: body()))(request)


async def _model(request: web.Request) -> web.StreamResponse:
    surface = _surface_of(request)
    one = (
        others.gemini_model
        if surface is GEMINI
        else others.anthropic_model
        if surface is ANTHROPIC
        else others.openai_model
    )
    return await _endpoint(surface, _plain(lambda arrival: pretty(one(arrival.request.match_info["model"]))))(
        request
    )


@web.middleware
async def _unknown(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Unknown paths and wrong methods get an error in the caller's dialect."""
    try:
        return await handler(request)
    except web.HTTPException as exc:
        surface = _surface_of(request)
        failure = Failure(exc.status, f"Invalid URL ({request.method} {request.path})")
        body = surface.error(failure, request.app[_IDS].request())
        return web.Response(status=exc.status, body=body, headers={"content-type": surface.json_type})


def _openai_routes() -> dict[str, Handler]:
    return {
        "chat/completions": _endpoint(CHAT, _converse),
        "responses": _endpoint(RESPONSES, _converse),
        "responses/input_tokens": _endpoint(RESPONSES, _plain(_count_responses)),
        "completions": _endpoint(COMPLETIONS, _converse),
        "embeddings": _endpoint(CHAT, _plain(lambda a: others.embeddings(a.body))),
        "images/generations": _endpoint(CHAT, _images),
        "moderations": _endpoint(
            CHAT, _plain(lambda a: others.moderations(a.body, f"modr-{a.request_id[4:]}"))
        ),
        "audio/speech": _endpoint(CHAT, _speech),
        "audio/transcriptions": _endpoint(CHAT, _transcription),
        "audio/translations": _endpoint(CHAT, _transcription),
    }


def make_app(*, seed: int | None = None) -> web.Application:
    """The simulator as an application; with a `seed` it makes the same ids in every run."""
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[_unknown])
    app[LEDGER] = Ledger()
    app[_IDS] = Ids(random.Random(seed))
    add_control(app.router)
    for path, handler in _openai_routes().items():
        # Some providers serve OpenAI's paths below one of their own, as /openai/v1 or /api/v1.
        for route in (f"/v1/{path}", f"/{path}", f"/{{prefix:.+}}/{path}"):
            app.router.add_post(route, handler)
    app.router.add_post("/v1/messages", _endpoint(ANTHROPIC, _converse))
    app.router.add_post("/v1/messages/count_tokens", _endpoint(ANTHROPIC, _plain(_count_anthropic)))
    for version in ("v1beta", "v1", "v1alpha"):
        app.router.add_post(f"/{version}/models/{{model:[^:]+}}:{{verb}}", _gemini)
        app.router.add_get(f"/{version}/models", _models)
        app.router.add_get(f"/{version}/models/{{model:.+}}", _model)
    app.router.add_get("/models", _models)
    app.router.add_get("/{prefix:.+}/models", _models)
    return app
