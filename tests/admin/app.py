"""The admin API on a real server over a real store, with the edge's rendering of errors."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from apipod_proxy.administration import Office, admin_api
from apipod_proxy.auth import KeyIndex
from apipod_proxy.auth.keys import new_key
from apipod_proxy.catalog.keys import Makers
from apipod_proxy.catalog.loader import CatalogWatcher
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.edge.body import BodyReader
from apipod_proxy.edge.cors import Cors
from apipod_proxy.edge.ids import RequestIds
from apipod_proxy.edge.middleware import Guard
from apipod_proxy.edge.render import Renderer
from apipod_proxy.store import Store
from tests.catalog.cases import NOW, TYPES, make_vault

SECRET = "the admin's secret"

Client = TestClient[web.Request, web.Application]


@dataclass
class Fixture:
    """A served admin API; ``states`` is what it is told of accounts."""

    store: Store
    watcher: CatalogWatcher
    client: Client
    states: list[Mapping[str, object]] = field(default_factory=list)

    async def ask(
        self,
        method: str,
        path: str,
        status: int = 200,
        *,
        secret: str | None = SECRET,
        key: str | None = None,
        **keywords: Any,
    ) -> Any:
        """The JSON of an answer, whose status must be ``status``."""
        headers = {} if secret is None else {"x-admin-secret": secret}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        async with self.client.request(method, path, headers=headers, **keywords) as response:
            text = await response.text()
            assert response.status == status, text
            return await response.json() if response.content_type == "application/json" else text


async def start(store: Store, secret: str | None = SECRET) -> Fixture:
    watcher = CatalogWatcher(store, make_vault())
    await watcher.start()
    states: list[Mapping[str, object]] = []

    async def told() -> Sequence[Mapping[str, object]]:
        return states

    client = TestClient(TestServer(_application(store, watcher, secret, told)))
    await client.start_server()
    return Fixture(store, watcher, client, states)


def _application(
    store: Store,
    watcher: CatalogWatcher,
    secret: str | None,
    states: Callable[[], Awaitable[Sequence[Mapping[str, object]]]],
) -> web.Application:
    makers = Makers(lambda: new_key(os.urandom), lambda: os.urandom(8).hex(), lambda: NOW)
    api = admin_api(
        secret,
        Office(store, make_vault(), watcher, makers, TYPES),
        index=lambda: KeyIndex(watcher.snapshot),
        read_body=BodyReader(1).read,
        account_states=states,
        explain=lambda asked: {"asked": asked},
    )
    renderer = Renderer({name: dialect.encode_error for name, dialect in DIALECTS.items()})
    guard = Guard(renderer, RequestIds(os.urandom), time.monotonic, lambda seen, request: None, Cors(()))
    app = web.Application(middlewares=[guard.middleware])
    app.router.add_routes(api.routes())
    return app
