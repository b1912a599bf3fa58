"""The endpoints through which tests look into the simulator and break it: /stats, /requests, /faults."""

from __future__ import annotations

import orjson
from aiohttp import web

from apipod_proxy.simulator.answers.scene import dumps
from apipod_proxy.simulator.ask import is_object
from apipod_proxy.simulator.script import KNOBS, UnknownKnob
from apipod_proxy.simulator.surfaces import LEDGER

_HELP = {
    "service": "apipod-proxy simulator",
    "speaks": [
        "/v1/chat/completions",
        "/v1/messages",
        "/v1beta/models/{model}:generateContent",
        "/v1/responses",
    ],
    "models": "sim-<events>-<gap in ms>, or any other name; knobs after a plus sign or in the header x-sim",
    "knobs": sorted(KNOBS),
    "control": ["/stats", "/stats/reset", "/requests", "/faults"],
}


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type="application/json")


async def _index(_: web.Request) -> web.StreamResponse:
    return _json(_HELP)


async def _stats(request: web.Request) -> web.StreamResponse:
    return _json(request.app[LEDGER].stats.as_dict())


async def _reset(request: web.Request) -> web.StreamResponse:
    ledger = request.app[LEDGER]
    ledger.stats.reset()
    ledger.requests.clear()
    return _json(ledger.stats.as_dict())


async def _requests(request: web.Request) -> web.StreamResponse:
    recorded = list(request.app[LEDGER].requests)
    last = request.query.get("last", "")
    return _json(
        [one.as_dict() for one in recorded[-int(last) :]]
        if last.isdecimal()
        else [one.as_dict() for one in recorded]
    )


async def _forget(request: web.Request) -> web.StreamResponse:
    request.app[LEDGER].requests.clear()
    return _json([])


async def _faults(request: web.Request) -> web.StreamResponse:
    return _json(request.app[LEDGER].faults.as_list())


async def _set_fault(request: web.Request) -> web.StreamResponse:
    """Body: ``{"fault": "status=500", "key", "model", "path", "share"}``; an empty fault takes the one with these names away."""
    faults = request.app[LEDGER].faults
    try:
        body = orjson.loads(await request.read())
    except ValueError:
        body = None
    if (
        not is_object(body)
        or not isinstance(body.get("fault"), str)
        or not body.keys() <= {"fault", "key", "model", "path", "share"}
    ):
        return _json({"error": "a JSON object with fault, and key, model, path or share, is expected"}, 400)
    try:
        faults.set(
            body["fault"],
            key=body.get("key"),
            model=body.get("model"),
            path=body.get("path"),
            share=float(body.get("share", 1)),
        )
    except UnknownKnob as exc:
        return _json({"error": str(exc)}, 400)
    return _json(faults.as_list())


async def _clear_faults(request: web.Request) -> web.StreamResponse:
    request.app[LEDGER].faults.clear()
    return _json([])


def add_control(router: web.UrlDispatcher) -> None:
    """Adds the routes."""
    router.add_get("/", _index)
    router.add_get("/stats", _stats)
    router.add_post("/stats/reset", _reset)
    router.add_get("/requests", _requests)
    router.add_delete("/requests", _forget)
    router.add_get("/faults", _faults)
    router.add_post("/faults", _set_fault)
    router.add_delete("/faults", _clear_faults)
