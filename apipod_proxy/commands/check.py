"""``check``: settings, catalog and database, and whether every provider takes its key."""

from __future__ import annotations

import asyncio
import uuid
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp

from apipod_proxy.app import proxies_of
from apipod_proxy.catalog.loader import load
from apipod_proxy.catalog.model import Account, Provider
from apipod_proxy.catalog.vault import MARK, NotOurs
from apipod_proxy.commands.common import facts, loaded, table
from apipod_proxy.errors import UpstreamBroken
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.preparation import base_urls, open_settings_store, open_vault, read_catalog
from apipod_proxy.settings import Loaded
from apipod_proxy.upstream.oauth import OAuth, basic, read_token
from apipod_proxy.upstream.provider import ProviderType, join_url
from apipod_proxy.upstream.providers import PROVIDER_TYPES
from apipod_proxy.upstream.proxy import Proxies
from apipod_proxy.upstream.tls import Contexts
from apipod_proxy.upstream.wire import credential, fill_options

ASK_SECONDS = 10.0
AT_ONCE = 8
REACHED = "ok"
OPEN = "reached; shows its models to anybody, so that the key is not checked"


class Asked(NamedTuple):
    """One account, and what came of asking its provider; ``well`` is whether it can serve."""

    provider: str
    account: str
    url: str
    said: str
    well: bool


class Way(NamedTuple):
    """How to get to providers: as requests of clients do."""

    proxies: Proxies
    contexts: Contexts


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    return asyncio.run(_run(loaded(arguments, environ), arguments.config))


async def _run(given: Loaded, config: Path | None) -> int:
    print("settings: ok")
    if config is None:
        async with facts(given) as (store, vault):
            print(f"database: ok, {store.place}")
            async with store.reading() as session:
                snapshot = (await load(session, vault, strict=False)).snapshot
        providers: Mapping[str, Provider] = snapshot.providers
        unset = {
            (provider.name, account.name): f"its key cannot be decrypted: {NotOurs()}"
            for provider in providers.values()
            for account in provider.accounts
            if account.api_key.startswith(MARK)
        }
    else:
        providers, unset = await _of_file(given, config)
    asked = await ask_all(providers.values(), unset, given.environment)
    if asked:
        rows = [(one.provider, one.account, one.url, one.said) for one in asked]
        print(table(("PROVIDER", "ACCOUNT", "URL", "RESULT"), rows))
    else:
        print("no providers")
    return 0 if all(one.well for one in asked) else 1


async def _of_file(given: Loaded, config: Path) -> tuple[Mapping[str, Provider], dict[tuple[str, str], str]]:
    """The providers of a catalog file, which is not applied. Raises OperatorMistake, StoreError."""
    # Deferred: only here a file is read and not applied.
    from apipod_proxy.catalog.apply import verify

    # Deferred for the same reason.
    from apipod_proxy.catalog.document import CatalogMistakes, read_document

    found = await asyncio.to_thread(read_catalog, config, given.environment)
    store = await open_settings_store(given.settings)
    try:
        print(f"database: ok, {store.place}")
        vault = await open_vault(given.settings, store, given.environment)
        document = read_document(found.text, str(config), vault, base_urls())
        # Names that nothing has show only beside what the database holds. Its tables are not brought up to date for it.
        await verify(None if await store.pending() else store, vault, document)
    except CatalogMistakes as mistakes:
        raise OperatorMistake(*mistakes.lines) from mistakes
    finally:
        await store.close()
    print("\n".join(found.notes), end="\n" if found.notes else "")
    print(f"catalog: ok, {len(document.providers)} providers, {len(document.models)} models")
    return document.providers, document.unset


async def ask_all(
    providers: Iterable[Provider], unset: Mapping[tuple[str, str], str], environment: Mapping[str, str]
) -> list[Asked]:
    """Ask every account for what costs nothing and takes its key: its list of models, for most."""
    room = asyncio.Semaphore(AT_ONCE)
    way = Way(proxies_of(environment), Contexts())
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as session:

        async def ask(provider: Provider, account: Account) -> Asked:
            missing = unset.get((provider.name, account.name))
            if missing is not None:
                return Asked(provider.name, account.name, provider.base_url, missing, False)
            async with room:
                return await _ask(session, provider, account, way)

        return await asyncio.gather(
            *(ask(provider, account) for provider in providers for account in provider.accounts)
        )


async def _ask(session: aiohttp.ClientSession, provider: Provider, account: Account, way: Way) -> Asked:
    kind = PROVIDER_TYPES[provider.type]
    surface = kind.surfaces.get("key") or kind.surfaces.get("models")
    base = provider.base_url or kind.base_url
    if surface is None:
        return Asked(provider.name, account.name, base, "has no list of models to ask for: not checked", True)
    if kind.needs_key and not account.api_key:
        return Asked(provider.name, account.name, base, "has no key", False)
    path = provider.options.get("models_path", surface.path)
    url = join_url(fill_options(base, provider.options), fill_options(path, provider.options))
    try:
        said, well = await _answer(Asker(session, provider, way), url, kind, account)
    except TimeoutError:
        said, well = f"no answer within {ASK_SECONDS:.0f} s", False
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # The sentence of a failed connection shows the object of its TLS settings; its cause says what happened.
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
        said, well = f"cannot be reached: {str(cause) or type(cause).__name__}", False
    return Asked(provider.name, account.name, url, said, well)


async def _answer(asker: Asker, url: str, kind: ProviderType, account: Account) -> tuple[str, bool]:
    own = {name.lower(): value for name, value in asker.provider.headers.items()}
    headers = {**credential(kind.auth, account.api_key), **kind.headers, **own}
    if kind.oauth is not None:
        said, token = await _buy(asker, kind.oauth, account)
        if token is None:
            return said, False
        headers["authorization"] = f"Bearer {token}"
    status, _ = await asker.ask("GET", url, headers)
    if status < 300:
        return (OPEN if kind.open_models else REACHED), True
    if status in (401, 403):
        return f"refuses the key ({status})", False
    if status in (404, 405):
        return f"reached; has no list of models ({status})", True
    return f"answers {status}", status == 429


async def _buy(asker: Asker, oauth: OAuth, account: Account) -> tuple[str, str | None]:
    """What to say, and the token that the key buys; None where it buys none."""
    options = asker.provider.options
    headers = {"authorization": f"Basic {basic(account.api_key)}", "rquid": str(uuid.uuid4())}
    form = {"scope": options.get("scope") or oauth.scope}
    status, body = await asker.ask("POST", options.get("auth_url") or oauth.url, headers, form)
    if status in (400, 401, 403):
        return f"refuses the key ({status})", None
    try:
        token = read_token(account.api_key, body, 0.0) if status == 200 else None
    except UpstreamBroken:
        token = None
    return (f"gives no token ({status})", None) if token is None else (REACHED, token.text)


class Asker:
    """Requests to one provider, on the way that its requests take."""

    def __init__(self, session: aiohttp.ClientSession, provider: Provider, way: Way) -> None:
        self._session = session
        self._way = way
        self.provider = provider

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body. Raises aiohttp.ClientError, and OSError for authorities that cannot be read too."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        proxy = self._way.proxies.find(parts.scheme, parts.hostname or "", parts.port or (443 if tls else 80))
        through, asking = None, None
        if proxy is not None:
            host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
            through = f"{'https' if proxy.tls else 'http'}://{host}:{proxy.port}"
            if proxy.authorization is not None:
                # Of a tunnel it is for the proxy alone; of a plain request it stands among the others.
                asking = {"proxy-authorization": proxy.authorization}
        async with self._session.request(
            method,
            url,
            headers=headers if tls or asking is None else {**headers, **asking},
            data=form,
            proxy=through,
            proxy_headers=asking if tls else None,
            ssl=await self._way.contexts.get(self.provider.options.get("ca_file")),
            # A redirect would carry the key to another host.
            allow_redirects=False,
        ) as answer:
            return answer.status, await answer.read()
