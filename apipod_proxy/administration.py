"""The admin API put together from the store, the catalog and what the gateway knows of accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from aiohttp import web

from apipod_proxy.admin import AdminApi, AdminServices
from apipod_proxy.auth import KeyIndex, Principal, credential, identify
from apipod_proxy.catalog.accounts import AccountService
from apipod_proxy.catalog.keys import KeyService, Makers
from apipod_proxy.catalog.loader import CatalogWatcher
from apipod_proxy.catalog.vault import Vault
from apipod_proxy.errors import BadRequest
from apipod_proxy.store import GROUPINGS, Store

FILE = "catalog"
"""What a catalog that came over HTTP is called in the lines of its mistakes."""

NO_QUERY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Office:
    """What the admin API is made of. ``provider_types``: those there are, each with its default base URL."""

    store: Store
    vault: Vault
    watcher: CatalogWatcher
    makers: Makers
    provider_types: Mapping[str, str] | None

    async def apply(self, text: str) -> dict[str, object]:
        """The report on a catalog file; raises BadRequest with its mistakes, a line each."""
        # Deferred: reading YAML takes 40 ms to import, and few processes are asked for it.
        from apipod_proxy.catalog.apply import apply

        # Deferred for the same reason.
        from apipod_proxy.catalog.document import CatalogMistakes, read_document

        if not text.strip():
            # A file that its sender did not find. What it means in a catalog, to delete all that files made, takes a word: {}.
            raise BadRequest("The catalog is empty; to delete everything send {}.")
        makers = self.makers
        try:
            # A thread, because a file of ten thousand keys takes a second.
            document = await asyncio.to_thread(read_document, text, FILE, self.vault, self.provider_types)
            report = await apply(self.store, self.vault, document, new_id=makers.id, now_ms=makers.now_ms())
        except CatalogMistakes as mistakes:
            raise BadRequest("\n".join(mistakes.lines)) from mistakes
        await self.watcher.catch_up()
        return report.as_json()

    async def export(self, secrets: bool) -> str:
        # Deferred for the same reason.
        from apipod_proxy.catalog.export import export_yaml

        return await asyncio.to_thread(export_yaml, self.watcher.snapshot, self.vault, secrets=secrets)


def admin_api(
    secret: str | None,
    office: Office,
    *,
    index: Callable[[], KeyIndex],
    read_body: Callable[[web.BaseRequest], Awaitable[bytes]],
    account_states: Callable[[], Awaitable[Sequence[Mapping[str, object]]]],
    explain: Callable[[Mapping[str, object]], Mapping[str, object]],
) -> AdminApi:
    """``index`` gives the keys of now, ``explain`` tells where a request would go."""
    watcher, now_ms = office.watcher, office.makers.now_ms

    def identify_request(request: web.BaseRequest) -> Principal | None:
        key = credential("openai_chat", request.headers, NO_QUERY)
        return None if key is None else identify(index(), key, now_ms())

    services = AdminServices(
        secret=secret,
        identify=identify_request,
        read_body=read_body,
        now_ms=now_ms,
        snapshot=lambda: watcher.snapshot,
        keys=KeyService(office.store, office.makers, watcher.catch_up),
        apply=office.apply,
        export=office.export,
        groupings=GROUPINGS,
        totals=office.store.total_usage,
        account_states=account_states,
        set_account=AccountService(office.store, watcher.catch_up).set_active,
        explain=explain,
    )
    return AdminApi(services)
