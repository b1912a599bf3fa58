"""Where a request would go and why, told without sending anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from apipod_proxy.catalog.model import ApiKey, Snapshot
from apipod_proxy.dialect import Dialect
from apipod_proxy.dialect.identity import read_request
from apipod_proxy.errors import BadRequest, NoSuch
from apipod_proxy.exchange import Exchange
from apipod_proxy.gateway import Gateway, wants
from apipod_proxy.route.explain import explain

MEMBERS = ("model", "key", "user", "subscription", "provider", "dialect", "request")


class Explainer:
    """Answers ``POST /admin/route/explain``."""

    def __init__(self, gateway: Gateway, dialects: Mapping[str, Dialect]) -> None:
        self._gateway = gateway
        self._dialects = dialects

    def explain(self, asked: Mapping[str, Any]) -> dict[str, object]:
        """The ranking of the candidates for ``asked``, with every reason. Raises BadRequest, NoSuch, UnknownModel, Forbidden.

        ``asked``: ``model``, who asks (``key``: its id or prefix, or ``user``, or ``subscription``), ``provider`` where it is narrowed
        to one, and the ``request`` as a client would send it in ``dialect``, for what it needs of a model.
        """
        unknown = next((name for name in asked if name not in MEMBERS), None)
        if unknown is not None:
            raise BadRequest(f"unknown; allowed: {', '.join(MEMBERS)}", f"$.{unknown}")
        x = self._exchange(asked)
        subscription, key = self._who(asked)
        vendor = _text(asked, "provider") or None
        plan = self._gateway.serving.routes.resolve(subscription, x.requested_model, key, vendor)
        self._gateway.reservation(x, plan)
        needs, affinity = wants(x, plan)
        return explain(self._gateway.parts.router, plan, needs, affinity).as_dict()

    def _exchange(self, asked: Mapping[str, Any]) -> Exchange:
        dialect = self._dialects.get(_text(asked, "dialect") or "openai_chat")
        if dialect is None:
            raise BadRequest(f"allowed: {', '.join(self._dialects)}", "$.dialect")
        request = asked.get("request")
        if request is None:
            dialect = self._dialects["openai_chat"]
            request = {"messages": [{"role": "user", "content": ""}]}
        if not isinstance(request, dict):
            raise BadRequest("allowed: an object, the request as a client would send it", "$.request")
        model = _text(asked, "model") or request.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("allowed: the name that a client would ask for", "$.model")
        if dialect.name != "gemini":
            request = {**request, "model": model}
        x = Exchange("", dialect, "", started=0.0, started_at=0)
        x.body = orjson.dumps(request)
        x.top = read_request(dialect.name, x.body, model=model)
        x.requested_model = model
        x.streamed = x.top.stream
        return x

    def _who(self, asked: Mapping[str, Any]) -> tuple[str, ApiKey | None]:
        """The subscription, and the key where one was named."""
        snapshot: Snapshot = self._gateway.serving.snapshot
        name = _text(asked, "key")
        if name:
            key = next((key for key in snapshot.keys.values() if name in (key.id, key.prefix)), None)
            if key is None:
                raise NoSuch("key", name[:12])
            return snapshot.users[key.user].subscription, key
        name = _text(asked, "user")
        if name:
            if name not in snapshot.users:
                raise NoSuch("user", name)
            return snapshot.users[name].subscription, None
        name = _text(asked, "subscription")
        if name:
            if name not in snapshot.subscriptions:
                raise NoSuch("subscription", name)
            return name, None
        if len(snapshot.subscriptions) == 1:
            return next(iter(snapshot.subscriptions)), None
        raise BadRequest("Who would ask? Give key, user or subscription.", "$.subscription")


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    raise BadRequest("allowed: a text", f"$.{name}")
