"""The composition root: builds every part of a serving process in order, wires them, and closes them in the reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

from aiohttp import web

from apipod_proxy import __version__
from apipod_proxy.admin import AdminApi
from apipod_proxy.administration import Office, admin_api
from apipod_proxy.attempt import Asking
from apipod_proxy.auth import Principal, credential, identify
from apipod_proxy.booking import Booking
from apipod_proxy.burst import Burst
from apipod_proxy.catalog.loader import CatalogWatcher
from apipod_proxy.catalog.model import Account, Candidate, Provider, Snapshot
from apipod_proxy.conversations import Conversations
from apipod_proxy.counting import Counting
from apipod_proxy.dialect.table import DIALECTS, SPOKEN
from apipod_proxy.edge.body import BodyReader
from apipod_proxy.edge.cors import Cors
from apipod_proxy.edge.counting import TokenCounts
from apipod_proxy.edge.door import HotHandle
from apipod_proxy.edge.health import Health, health_routes
from apipod_proxy.edge.ids import RequestIds
from apipod_proxy.edge.logs import LineWriter
from apipod_proxy.edge.loop import LoopLag
from apipod_proxy.edge.metrics import Metrics as MetricsPage
from apipod_proxy.edge.middleware import Guard
from apipod_proxy.edge.models import Models, Offered
from apipod_proxy.edge.passthrough import operation_handles, operation_verbs
from apipod_proxy.edge.peer import Peers
from apipod_proxy.edge.pictures import Describe, Paint
from apipod_proxy.edge.render import ANTHROPIC, GEMINI, OPENAI, RESPONSES, Renderer, dialect_of
from apipod_proxy.edge.routes import GEMINI_PREFIXES, Hot, add_routes, keep_expecting
from apipod_proxy.edge.server import DEFAULT_BOUNDS, Front, Handler, listening_sockets
from apipod_proxy.edge.siblings import Siblings
from apipod_proxy.edge.stored import StoredResponses
from apipod_proxy.edge.surface import Completions, GeminiCompletions, Hall
from apipod_proxy.edge.workers import Seat
from apipod_proxy.errors import StoreError
from apipod_proxy.explaining import Explainer
from apipod_proxy.gateway import Gateway, Parts
from apipod_proxy.inlining import Inliner
from apipod_proxy.levels import Levels
from apipod_proxy.limit.backend import Limits
from apipod_proxy.limit.memory import MemoryLimits
from apipod_proxy.limit.pace import Budget
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.operations import OperationAsking, OperationGateway
from apipod_proxy.overview import Overview
from apipod_proxy.pictures import studio
from apipod_proxy.preparation import apply_config, base_urls, makers, migrate, open_settings_store, open_vault
from apipod_proxy.probes import Prober
from apipod_proxy.route.capabilities import BITS
from apipod_proxy.route.health import Health as UpstreamHealth
from apipod_proxy.route.index import label_of
from apipod_proxy.route.router import Router
from apipod_proxy.serving import Serving
from apipod_proxy.settings import Settings
from apipod_proxy.store import Store
from apipod_proxy.store.responses import ResponseTable
from apipod_proxy.store.upkeep import Upkeep
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.media import MediaFetcher
from apipod_proxy.upstream.pool import Pool
from apipod_proxy.upstream.providers import PROVIDER_TYPES
from apipod_proxy.upstream.proxy import Proxies
from apipod_proxy.upstream.wire import Upstream
from apipod_proxy.usage.access_log import AccessLog
from apipod_proxy.usage.metrics import Metrics
from apipod_proxy.usage.outbox import Ledger
from apipod_proxy.usage.record import UsageRow
from apipod_proxy.usage.spool import Spool

log = logging.getLogger("apipod_proxy.app")

REPEATS, REPEAT_SECONDS = 100, 10.0
"""How often candidates that failed may be asked again, over all requests of a process: a provider that is down is not hammered."""

PROBES, PROBE_SECONDS = 20, 10.0
"""How many active probes a process sends at most."""

CLOSE_SECONDS = 0.5
"""What connections get that outlived the whole shutdown."""


class Launch(NamedTuple):
    """What a process is started with. ``environment`` is what ``${NAME}`` in a catalog reads; ``seat`` is None without siblings.

    Without siblings the process migrates and applies ``config`` itself; with them the parent has done so.
    """

    settings: Settings
    environment: Mapping[str, str]
    lines: LineWriter
    seat: Seat | None = None
    config: Path | None = None
    trusted_media: frozenset[str] = frozenset()
    """Origins outside of the public internet from which files may be fetched by URL."""


class Server:
    """One serving process. ``async with Server(launch)`` opens everything but the port; ``listen`` opens that."""

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.settings = launch.settings
        self.health = Health(__version__, time.monotonic)
        self.metrics = Metrics()
        self.lag = LoopLag()
        self.new_id = RequestIds(os.urandom)
        self.cors = Cors(self.settings.cors_origins)
        self.peers = Peers(self.settings.trusted_proxies)
        self.renderer = Renderer({name: dialect.encode_error for name, dialect in DIALECTS.items()})
        self.overview = Overview(self.health, self.metrics, self._gauges, self._totals, self._states)
        self.ports: list[int] = []
        # Made by ``__aenter__``
        self.store: Store
        self.watcher: CatalogWatcher
        self.limits: Limits
        self.ledger: Ledger
        self.gateway: Gateway
        self.operations: OperationGateway
        self.front: Front
        self.runner: web.ServerRunner
        self._stack = AsyncExitStack()

    # Opening, in order

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._stack = stack
            loop = asyncio.get_running_loop()
            await self._open_facts()
            await self._open_limits()
            await self._open_gateway(loop)
            await self._open_front(loop)
            await self._open_siblings()
            self.lag.start(loop)
            stack.callback(self.lag.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open_facts(self) -> None:
        settings = self.settings
        self.store = await open_settings_store(settings)
        self._stack.push_async_callback(self.store.close)
        if self.launch.seat is None:
            await migrate(self.store)
        upkeep = Upkeep(self.store, secrets.token_hex(8), keep_days=settings.usage_retention_days)
        upkeep.start()
        self._stack.push_async_callback(upkeep.close)
        self.vault = await open_vault(settings, self.store, self.launch.environment)
        if self.launch.config is not None:
            await apply_config(self.store, self.vault, self.launch.config)
        self.watcher = CatalogWatcher(self.store, self.vault)
        await self.watcher.start()
        self._stack.push_async_callback(self.watcher.close)
        self.health.complain(self._catalog_trouble)

    async def _open_limits(self) -> None:
        levels: Levels | None = None
        if self.settings.redis_url:
            self.limits = await self._redis_limits(self.settings.redis_url)
        else:
            self.limits = MemoryLimits(time.time)
            levels = Levels(self.store, self.limits, time.time)
            await levels.restore(self.watcher.snapshot)
        self._stack.push_async_callback(self.limits.close)
        if levels is not None:
            levels.start()
            self._stack.push_async_callback(levels.close)
        self.health.complain(lambda: self.limits.status() or None)
        if not self.settings.redis_url and not self.store.is_sqlite:
            self.health.complain(lambda: "limits are kept per process: REDIS_URL is not set")

    async def _redis_limits(self, url: str) -> Limits:
        # Deferred: only who shares limits pays for the client.
        from apipod_proxy.limit.redis import RedisLimits

        totals = Levels(self.store, MemoryLimits(time.time), time.time)
        workers = self.launch.seat.workers if self.launch.seat else 1
        limits = RedisLimits(
            url,
            reseed=lambda: totals.totals(self.watcher.snapshot),
            processes=workers,
            prefix=self.settings.database_schema,
        )
        await limits.start()
        return limits

    async def _open_gateway(self, loop: asyncio.AbstractEventLoop) -> None:
        spool = await asyncio.to_thread(self._spool)
        self.ledger = Ledger(self._insert, (StoreError,), spool)
        await self.ledger.start()
        self._stack.push_async_callback(self.ledger.close)
        self.burst = Burst(loop)
        pool = Pool(burst=self.burst)
        proxies = proxies_of(self.launch.environment)
        upstream = Upstream(pool, PROVIDER_TYPES, endpoint_maker(proxies), f"apipod-proxy/{__version__}")
        self._stack.push_async_callback(upstream.close)
        self.upstream_health = UpstreamHealth(log_upstream)
        serving = Serving(self.watcher.snapshot, self.limits)
        router = Router(serving.routes, self.upstream_health, random.random, loop.time)
        self.media = MediaFetcher(
            f"apipod-proxy/{__version__}", time.monotonic, trusted=self.launch.trusted_media
        )
        tools = (upstream, SPOKEN, lambda prefix: f"{prefix}{secrets.token_hex(12)}", loop)
        parts = Parts(
            Asking(*tools),
            self.limits,
            router,
            self.upstream_health,
            Budget(REPEATS, REPEAT_SECONDS),
            self.settings.ping_seconds,
            time.time,
            random.random,
            Inliner(self.media.fetch, lambda candidate: upstream.type_of(candidate.provider)),
        )
        self.gateway = Gateway(parts, serving, loop)
        self.operations = OperationGateway(self.gateway, OperationAsking(*tools))
        self.conversations = Conversations(
            self.gateway, ResponseTable(self.store), self.settings.responses_ttl_hours, time.time
        )
        self._stack.push_async_callback(self.conversations.close)
        self.counting = Counting(upstream, DIALECTS, lambda: self.gateway.serving, self.upstream_health)
        self.health.complain(self._upstream_trouble)
        self.prober = Prober(self.gateway, DIALECTS[OPENAI], Budget(PROBES, PROBE_SECONDS))
        self._stack.push_async_callback(self.prober.close)
        self.watcher.subscribe(self._serve_snapshot)

    async def _open_front(self, loop: asyncio.AbstractEventLoop) -> None:
        access = AccessLog(self.launch.lines.write, loop.call_later, self.settings.log_format)
        self._stack.callback(access.flush)
        self.booking = Booking(
            self.ledger,
            self.metrics,
            access,
            time.time,
            self._provider_of,
            loop.call_later,
            log_probes=self.settings.log_level == "DEBUG",
        )
        self._stack.callback(self.booking.flush)
        guard = Guard(
            self.renderer,
            self.new_id,
            time.monotonic,
            lambda seen, request: self.booking.seen(
                seen, self.peers.client_of(request) if request is not None else seen.remote
            ),
            self.cors,
        )
        self.bodies = BodyReader(self.settings.max_body_mb)
        hot = self._hot()
        app = web.Application(middlewares=[guard.middleware])
        self._add_routes(app, hot)
        inner = web.AppRunner(app, handle_signals=False)
        await inner.setup()
        self._stack.push_async_callback(inner.cleanup)
        server = inner.server
        assert server is not None
        self.front = Front(
            server.request_handler,
            server.request_factory,
            guard.refuse,
            guard.refuse_raw,
            hot.find,
            self.bodies.limit,
            burst=self.burst,
        )
        self._stack.callback(self.front.stop_sweeping)
        self.runner = web.ServerRunner(self.front, handle_signals=False, shutdown_timeout=CLOSE_SECONDS)
        await self.runner.setup()
        self._stack.push_async_callback(self.runner.cleanup)

    def _hot(self) -> Hot:
        hall = Hall(
            gateway=self.gateway,
            identify=self._identify,
            catalog=lambda: self.gateway.serving.keys,
            bodies=self.bodies,
            new_id=self.new_id,
            book=self.booking.book,
            clock=time.time,
            now=asyncio.get_running_loop().time,
            remote=self.peers.client_of,
            cors=self.cors.headers,
        )
        chat = Completions(hall, DIALECTS[OPENAI])
        gemini = GeminiCompletions(hall, DIALECTS[GEMINI])
        by_path: dict[str, HotHandle] = {
            "/v1/chat/completions": chat.handle,
            "/chat/completions": chat.handle,
            "/v1/messages": Completions(hall, DIALECTS[ANTHROPIC]).handle,
            "/v1/responses": Completions(
                hall._replace(gateway=self.conversations), DIALECTS[RESPONSES]
            ).handle,
        }
        others = hall._replace(gateway=self.operations)
        by_path |= operation_handles(others, DIALECTS)
        by_path |= {
            "/image": Paint(others, DIALECTS[OPENAI], studio(self.media.fetch)).handle,
            "/v1/images/text": Describe(hall, DIALECTS[OPENAI], studio(self.media.fetch)).handle,
        }
        return Hot(by_path, gemini.run, operation_verbs(others, DIALECTS))

    def _add_routes(self, app: web.Application, hot: Hot) -> None:
        models = Models(self._offered_to)
        page = MetricsPage(self.overview.text, self.settings.admin_secret, self.settings.metrics_token)
        get = {**health_routes(self.health, self.overview.report), "/metrics": page.handle}
        for path in ("/v1/models", "/models", "/v1beta/models"):
            get[path] = models.list
        for path in ("/v1/models/{id:.+}", "/v1beta/models/{id:.+}", "/models/{id:.+}"):
            get[path] = models.one
        kept = self.conversations
        stored = StoredResponses(self._principal, kept.read, kept.delete, kept.input_items)
        get["/v1/responses/{id}"] = stored.one
        get["/v1/responses/{id}/input_items"] = stored.input_items
        add_routes(app, hot, get, self._counts())
        app.router.add_delete("/v1/responses/{id}", stored.forget)
        app.router.add_routes(self._admin().routes(expect_handler=keep_expecting))

    def _counts(self) -> dict[str, Handler]:
        messages, gemini, responses = (
            TokenCounts(name, self._principal, self.bodies, self.counting.count).handle
            for name in (ANTHROPIC, GEMINI, RESPONSES)
        )
        verbs = {f"{prefix}{{model:.+}}:countTokens": gemini for prefix in GEMINI_PREFIXES}
        return {"/v1/messages/count_tokens": messages, "/v1/responses/input_tokens": responses, **verbs}

    def _admin(self) -> AdminApi:
        return admin_api(
            self.settings.admin_secret,
            Office(self.store, self.vault, self.watcher, makers(), base_urls()),
            index=lambda: self.gateway.serving.keys,
            read_body=self.bodies.read,
            account_states=self.overview.accounts,
            explain=Explainer(self.gateway, DIALECTS).explain,
        )

    async def _open_siblings(self) -> None:
        seat = self.launch.seat
        if seat is None or seat.workers == 1:
            return
        siblings = Siblings(seat.folder, seat.number, seat.workers, self.overview.answers())
        await siblings.start()
        self._stack.push_async_callback(siblings.close)
        self.overview.siblings = siblings

    # Listening

    async def listen(self) -> list[str]:
        """Open the port; gives the URLs that are served. OSError where it is taken."""
        settings = self.settings
        share = self.launch.seat is not None
        listeners = await asyncio.to_thread(
            listening_sockets, settings.host, settings.port, DEFAULT_BOUNDS, share=share
        )
        names = []
        for listener in listeners:
            site = web.SockSite(self.runner, listener, backlog=DEFAULT_BOUNDS.backlog)
            await site.start()
            names.append(site.name)
            self.ports.append(listener.getsockname()[1])
        self.health.started = True
        return names

    async def stop_listening(self) -> None:
        for site in list(self.runner.sites):
            await site.stop()

    # What the parts ask of each other

    def _serve_snapshot(self, snapshot: Snapshot) -> None:
        self.gateway.replace(Serving(snapshot, self.limits))
        self.prober.follow(snapshot)
        self.metrics.known(snapshot.models, snapshot.providers)

    def _catalog_trouble(self) -> str | None:
        """Without the reason, which is in the log: where the database is, is not for everybody who may ask for health."""
        wrong = self.watcher.status().error is not None
        return "the catalog cannot be loaded, the last one serves" if wrong else None

    def _upstream_trouble(self) -> str | None:
        """A number only: names of accounts are not for everybody who may ask for health."""
        out = len(self.upstream_health.degraded(asyncio.get_running_loop().time()))
        return f"{out} accounts or models of providers are out of service" if out else None

    def _provider_of(self, model: str) -> str:
        found = self.gateway.serving.snapshot.models.get(model)
        return "" if found is None else found.provider

    async def _insert(self, rows: Sequence[UsageRow]) -> None:
        await self.store.insert_usage(rows)

    def _spool(self) -> Spool:
        folder = self.settings.data_dir / "spool"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise OperatorMistake(
                f"DATA_DIR is '{self.settings.data_dir}': {folder}, for usage that the database does not take,"
                f" cannot be made ({exc.strerror})"
            ) from exc
        return Spool(folder, "usage")

    def _identify(
        self, dialect: str, headers: Mapping[str, str], query: Mapping[str, str], now_ms: int
    ) -> Principal:
        return identify(self.gateway.serving.keys, credential(dialect, headers, query), now_ms)

    def _principal(self, request: web.BaseRequest, dialect: str) -> Principal:
        return self._identify(dialect, request.headers, request.query, int(time.time() * 1000))

    async def _offered_to(self, request: web.Request) -> list[Offered]:
        serving = self.gateway.serving
        principal = self._principal(request, dialect_of(request.path, request.headers))
        listed = serving.routes.names(principal.subscription.name, principal.key)
        return [
            Offered(
                entry.name,
                ", ".join(entry.providers),
                context_window=entry.ability.context_window,
                max_output=entry.ability.max_output,
                capabilities=frozenset(name for name, bit in BITS.items() if entry.ability.mask & bit),
            )
            for entry in listed
        ]

    def _gauges(self) -> dict[str, float]:
        # Figures are asked for with these first: what has ended is counted in them.
        self.booking.flush()
        breakers = self.upstream_health.breakers(asyncio.get_running_loop().time())
        return {
            "open_requests": self.front.busy,
            "open_streams": self.gateway.open_streams,
            "ledger_rows_waiting": self.ledger.depth,
            "event_loop_tasks": len(asyncio.all_tasks()),
            "event_loop_lag_seconds": self.lag.worst(),
            "breakers_open": breakers.get("open", 0),
            "breakers_half_open": breakers.get("half_open", 0),
        }

    def _states(self) -> list[dict[str, object]]:
        return self.upstream_health.status(asyncio.get_running_loop().time())

    def _totals(self) -> dict[str, int]:
        return {
            "ledger_rows_stored": self.ledger.stored,
            "ledger_rows_dropped": self.ledger.dropped,
            "ledger_rows_rejected": self.ledger.rejected,
            "log_lines_dropped": self.launch.lines.dropped,
        }


def proxies_of(environment: Mapping[str, str]) -> Proxies:
    """The forward proxies that the environment names, in either spelling. Raises OperatorMistake."""

    def find(name: str) -> str | None:
        return environment.get(name.lower()) or environment.get(name) or None

    http, https = find("HTTP_PROXY"), find("HTTPS_PROXY")
    for name, url in (("HTTP_PROXY", http), ("HTTPS_PROXY", https)):
        try:
            Proxies(url)
        except ValueError as error:
            # The value may hold a password.
            raise OperatorMistake(
                f"{name} is *** (environment); allowed: http://[user:password@]host:port, or https:// to the proxy"
            ) from error
    return Proxies(http, https, find("NO_PROXY"))


def endpoint_maker(proxies: Proxies) -> Callable[[Provider, Account, str], Endpoint]:
    """Where the requests of an account go, and through which proxy."""

    def make(provider: Provider, account: Account, url: str) -> Endpoint:
        plain = Endpoint.of_url(
            url,
            # Connections are not shared between accounts: a provider may count by connection, and a key belongs to one caller.
            partition=account.id,
            ca_file=provider.options.get("ca_file"),
            max_connections=provider.pool.max_connections,
            keepalive=provider.pool.keepalive,
        )
        return replace(plain, proxy=proxies.find(plain.scheme, plain.host, plain.port))

    return make


def log_upstream(what: str, candidate: Candidate, detail: str) -> None:
    """A breaker opened or closed, an account was parked, disabled or enabled."""
    log.warning(
        "A candidate changed.",
        extra={
            "change": what,
            "provider": candidate.provider.name,
            "account": candidate.account.name,
            "model": label_of(candidate),
            "detail": detail,
        },
    )
