"""The handlers. They raise the errors of the error tree; whoever mounts them renders those."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from apipod_proxy.admin.services import AdminServices, MadeKey, Total
from apipod_proxy.catalog.model import ApiKey
from apipod_proxy.errors import BadRequest, Forbidden, Unauthenticated

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADER = "x-admin-secret"
DEFAULT_TIER = "elite"
DAY_MS = 86_400_000
FIELDS_OF_A_KEY = ("name", "tier", "subscription", "expires_in", "user")
FOREVER = 2**62
YAML = "application/yaml"

CLOSED = "The admin API is closed: ADMIN_SECRET is not set, and only the key of a user with the role admin opens it."
NO_ADMIN = "This needs the admin secret (x-admin-secret) or the key of a user with the role admin."


class AdminApi:
    def __init__(self, services: AdminServices) -> None:
        self._services = services

    def routes(self, **keywords: Any) -> list[web.RouteDef]:
        """For ``app.router.add_routes``. ``keywords`` go to every route (as ``expect_handler``)."""
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/admin/create-key", self.create_key),
            ("GET", "/admin/keys", self.list_keys),
            ("POST", "/admin/keys", self.create_key),
            ("DELETE", "/admin/keys/{key}", self.revoke_key),
            ("POST", "/admin/keys/{key}/revoke", self.revoke_key),
            ("POST", "/admin/keys/{key}/rotate", self.rotate_key),
            ("GET", "/admin/catalog", self.export),
            ("GET", "/admin/export", self.export),
            ("PUT", "/admin/catalog", self.apply),
            ("PUT", "/admin/apply", self.apply),
            ("POST", "/admin/apply", self.apply),
            ("GET", "/admin/usage", self.usage),
            ("POST", "/admin/route/explain", self.explain),
            ("GET", "/admin/accounts", self.accounts),
            ("POST", "/admin/accounts/{provider}/{account}/enable", self.enable_account),
            ("POST", "/admin/accounts/{provider}/{account}/disable", self.disable_account),
        ]
        return [
            web.route(method, path, self._guarded(handler), **keywords) for method, path, handler in table
        ]

    def authorize(self, request: web.BaseRequest) -> None:
        """Raises Unauthenticated or Forbidden unless an admin asks. Nothing of the body has been read."""
        secret = self._services.secret
        given = request.headers.get(HEADER)
        if given is not None and secret is not None:
            if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode()):
                raise Unauthenticated(Unauthenticated.NOT_ADMIN)
            return
        try:
            caller = self._services.identify(request)
        except Unauthenticated:
            if secret is None:
                raise Forbidden(CLOSED) from None
            raise
        if caller is None:
            if secret is None:
                raise Forbidden(CLOSED)
            raise Unauthenticated(Unauthenticated.MISSING)
        if not caller.is_admin:
            raise Forbidden(NO_ADMIN)

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            self.authorize(request)
            return await handler(request)

        return guarded

    # Keys

    async def create_key(self, request: web.Request) -> web.Response:
        """``{name, tier? | subscription?, expires_in?, user?}`` → 201 with the key, which is shown this once."""
        body = await self._json(request)
        for field in body:
            # A misspelt expires_in would be a key for ever.
            if field not in FIELDS_OF_A_KEY:
                raise BadRequest(f"is unknown; allowed: {', '.join(FIELDS_OF_A_KEY)}", f"$.{field}")
        name = _text(body, "name", required=True)
        tier, subscription = _text(body, "tier"), _text(body, "subscription")
        if tier and subscription and tier != subscription:
            raise BadRequest(
                "found beside a subscription of another name; a tier is a subscription's name", "$.tier"
            )
        user = _text(body, "user")
        if user and (tier or subscription):
            raise BadRequest("found beside a tier or subscription; a user who exists keeps the own", "$.user")
        made = await self._services.keys.create(
            name, tier or subscription or DEFAULT_TIER, body.get("expires_in"), user or None
        )
        return _answer(_shown_once(made), 201)

    async def list_keys(self, request: web.Request) -> web.Response:
        """Every key, the oldest first; ``?user=`` narrows."""
        user = request.query.get("user")
        snapshot = self._services.snapshot()
        keys = sorted(snapshot.keys.values(), key=lambda key: (key.created_at, key.id))
        return _answer({"keys": [_key(key) for key in keys if user in (None, key.user)]})

    async def revoke_key(self, request: web.Request) -> web.Response:
        return _answer(_key(await self._services.keys.revoke(request.match_info["key"])))

    async def rotate_key(self, request: web.Request) -> web.Response:
        return _answer(_shown_once(await self._services.keys.rotate(request.match_info["key"])), 201)

    # The catalog

    async def export(self, request: web.Request) -> web.Response:
        """The catalog as YAML; ``?secrets=1`` with provider keys in plain text."""
        secrets = request.query.get("secrets", "").lower() in ("1", "true", "yes")
        text = await self._services.export(secrets)
        return web.Response(text=text, content_type=YAML, headers={"cache-control": "no-store"})

    async def apply(self, request: web.Request) -> web.Response:
        """A catalog file (YAML or JSON) → what it changed, by kind."""
        body = await self._services.read_body(request)
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise BadRequest("The catalog is not UTF-8 text.") from exc
        return _answer(await self._services.apply(text))

    # Usage

    async def usage(self, request: web.Request) -> web.Response:
        """Sums ``?by=`` model, user, key, … ``&since=`` a time or a span as ``7d`` (the last day unless given) ``&until=``."""
        services = self._services
        by = request.query.get("by", "model")
        if by not in services.groupings:
            raise BadRequest(f"found {by!r}; allowed: {', '.join(services.groupings)}", "by")
        now = services.now_ms()
        since = _moment(request, "since", now, now - DAY_MS)
        until = _moment(request, "until", now, FOREVER)
        names = self._names(by)
        found = await services.totals(by, since, until)
        totals = [{"name": names.get(total.owner, total.owner), **total._asdict()} for total in found]
        of_models = found if by == "model" else await services.totals("model", since, until)
        return _answer(
            {
                "by": by,
                "since": _time(since),
                "until": _time(min(until, now)),
                "totals": totals,
                # A cost of nothing may mean that nobody knows the price; sums cannot tell the one from the other.
                "unpriced_models": [total.owner for total in of_models if self._is_unpriced(total)],
            }
        )

    def _is_unpriced(self, total: Total) -> bool:
        used = total.input_tokens + total.cache_read_tokens + total.cache_write_tokens + total.output_tokens
        model = self._services.snapshot().models.get(total.owner)
        return used > 0 and total.cost_nano == 0 and (model is None or model.price is None)

    def _names(self, by: str) -> dict[str, str]:
        """What people call the owners that the usage log knows by id."""
        snapshot = self._services.snapshot()
        if by == "user":
            return {user.id: user.name for user in snapshot.users.values()}
        if by == "key":
            return {key.id: f"{key.user}/{key.name} ({key.prefix})" for key in snapshot.keys.values()}
        if by == "subscription":
            return {subscription.id: subscription.name for subscription in snapshot.subscriptions.values()}
        return {}

    # Routes

    async def explain(self, request: web.Request) -> web.Response:
        """``{model, key | user | subscription, provider?, dialect?, request?}`` → the candidates, best first. Sends nothing."""
        return _answer(self._services.explain(await self._json(request)))

    # Accounts

    async def accounts(self, request: web.Request) -> web.Response:
        """Every account of every provider, and how its models do on it, in every worker."""
        states: dict[tuple[object, object], list[Mapping[str, object]]] = {}
        for row in await self._services.account_states():
            rest = {name: value for name, value in row.items() if name not in ("provider", "account")}
            states.setdefault((row.get("provider"), row.get("account")), []).append(rest)
        found = [
            {
                "provider": provider.name,
                "account": account.name,
                "id": account.id,
                "active": account.active and provider.active,
                "weight": account.weight,
                "states": states.get((provider.name, account.name), []),
            }
            for provider in self._services.snapshot().providers.values()
            for account in provider.accounts
        ]
        return _answer({"accounts": found})

    async def enable_account(self, request: web.Request) -> web.Response:
        return await self._set_account(request, True)

    async def disable_account(self, request: web.Request) -> web.Response:
        return await self._set_account(request, False)

    async def _set_account(self, request: web.Request, active: bool) -> web.Response:
        provider, account = request.match_info["provider"], request.match_info["account"]
        await self._services.set_account(provider, account, active)
        return _answer({"provider": provider, "account": account, "active": active})

    # Helpers

    async def _json(self, request: web.Request) -> dict[str, Any]:
        try:
            body = orjson.loads(await self._services.read_body(request))
        except orjson.JSONDecodeError as exc:
            raise BadRequest("The body is not JSON.") from exc
        if not isinstance(body, dict):
            raise BadRequest("The body is not a JSON object.")
        return body


def _text(body: dict[str, Any], name: str, *, required: bool = False) -> str:
    value = body.get(name)
    if isinstance(value, str) and (value or not required):
        return value
    if value is None and not required:
        return ""
    raise BadRequest("allowed: a text" + (", which must be there" if required else ""), f"$.{name}")


def _shown_once(made: MadeKey) -> dict[str, object]:
    return {
        "api_key": made.text,
        "name": made.key.name,
        "tier": made.subscription,
        "created_at": _time(made.key.created_at),
        "expires_at": _time(made.key.expires_at),
        "id": made.key.id,
        "user": made.key.user,
    }


def _key(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "user": key.user,
        "active": key.active,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "source": key.source.value,
    }


def _time(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    try:
        return (
            datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        )
    except (ValueError, OverflowError, OSError):
        return None


def _moment(request: web.Request, name: str, now: int, default: int) -> int:
    """Epoch milliseconds of a query parameter: a date or time, epoch seconds or milliseconds, or a span before now as ``7d``."""
    text = request.query.get(name, "").strip()
    if not text:
        return default
    unit = {"m": 60_000, "h": 3_600_000, "d": DAY_MS}.get(text[-1])
    if unit is not None and text[:-1].isdecimal() and len(text) < 10:
        return now - int(text[:-1]) * unit
    if text.isdecimal() and len(text) < 16:
        return int(text) if len(text) > 11 else int(text) * 1000
    try:
        # A plus sign in a query string is read as a blank.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as exc:
        raise BadRequest(
            f"found {text[:40]!r}; allowed: 2027-01-31, 2027-01-31T12:00:00Z, epoch seconds, or 7d", name
        ) from exc
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _answer(body: object, status: int = 200) -> web.Response:
    headers = {"cache-control": "no-store"}
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", headers=headers
    )
