"""An older apipod database: rows in, a catalog out. Its three generations are told apart by their tables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from apipod_proxy.catalog.document import CatalogMistakes
from apipod_proxy.catalog.model import key_prefix
from apipod_proxy.catalog.takeover.builder import (
    COMPATIBLE,
    KINDS,
    Builder,
    NothingToTake,
    Taken,
    Tree,
    limits,
    literal,
    text_of,
    unused,
    whole,
)

Row = Mapping[str, object]
Tables = Mapping[str, Sequence[Row]]

TABLES = (
    *("subscriptions", "providers", "provider_accounts", "llm_models", "quota_items"),
    *("users", "organizations", "plans", "plan_model", "api_keys", "org_provider_keys", "apipod_state"),
)
"""What is read, where it is there."""

PLATFORM_RPM = 300
"""Requests per minute of an organization whose plan names none."""

ELITE = "elite"
"""The tier of the first generation's keys, unless they say another."""

FIRST_URL = "http://127.0.0.1:8080"
FIRST_ROUTE = {"claude-sonnet-4-5": 20, "gemini-3-flash": 80}


def take_tables(tables: Tables, name: str, types: Mapping[str, str], environment: Mapping[str, str]) -> Taken:
    """The catalog of a database called ``name``; raises CatalogMistakes."""
    try:
        return _take(tables, name, Builder(types, environment))
    except NothingToTake as reason:
        raise CatalogMistakes([f"{name}: {reason.problem}"]) from reason


def _take(tables: Tables, name: str, builder: Builder) -> Taken:
    if "apipod_state" in tables:
        raise NothingToTake("is a database of this program already; see: apipod-proxy export")
    if "users" in tables and "subscriptions" not in tables and _has(tables["users"], "api_key"):
        _first(builder, tables["users"])
        return builder.taken(f"the first generation's database {name}")
    missing = [
        table for table in ("subscriptions", "providers", "llm_models", "quota_items") if table not in tables
    ]
    if missing:
        raise NothingToTake(f"is no apipod database; it lacks the tables {', '.join(missing)}")
    providers = _providers(builder, tables)
    models = _models(builder, tables["llm_models"], providers)
    subscriptions = _subscriptions(builder, tables, models)
    if "organizations" in tables and "api_keys" in tables:
        _organizations(builder, tables, subscriptions)
    _token_users(builder, tables.get("users", ()), subscriptions)
    return builder.taken(f"the apipod database {name}")


# What is served


def _providers(builder: Builder, tables: Tables) -> dict[object, str]:
    """The catalog's name of each provider, by id."""
    accounts: dict[object, list[Row]] = {}
    for row in _sorted(tables.get("provider_accounts", ()), "id"):
        accounts.setdefault(row["provider_id"], []).append(row)
    names: dict[object, str] = {}
    for row in _sorted(tables["providers"], "id"):
        label = text_of(row.get("name")) or f"provider-{row['id']}"
        kind, base = _reach(builder, label, row)
        tree: Tree = {"type": kind, **base}
        own = text_of(row.get("api_key"))
        # Type cliproxy never used the pool.
        pool = [] if text_of(row.get("provider_type")) == "cliproxy" and own else accounts.get(row["id"], [])
        if pool:
            tree["accounts"] = _pool(pool)
        elif own:
            tree["api_key"] = literal(own)
        if not _flag(row.get("is_active")):
            tree["active"] = False
        names[row["id"]] = builder.provider(label, tree)
    return names


def _reach(builder: Builder, label: str, row: Row) -> tuple[str, Tree]:
    """Type and base URL. Its paths were added to the root of the host, with differences by type."""
    given = text_of(row.get("provider_type")) or "anthropic"
    base = text_of(row.get("base_url")).rstrip("/")
    kind = builder.kind_of(given, base)
    if kind == COMPATIBLE and given not in (COMPATIBLE, "openai"):
        builder.note(f"provider {label}: the type {given!r} is not known; taken as {COMPATIBLE}")
    if not base or (urlsplit(base).hostname == builder.host_of(kind) and kind not in KINDS.values()):
        return kind, {}
    if kind == "google_ai_studio" and urlsplit(base).hostname == builder.host_of(kind):
        return kind, {}
    if kind == "groq" and not base.endswith("/openai"):
        base += "/openai"
    return kind, {"base_url": base}


def _pool(rows: Iterable[Row]) -> list[Tree]:
    accounts: list[Tree] = []
    names: list[str] = []
    for row in rows:
        name = unused((text_of(row.get("email")) or f"account-{row['id']}").replace("/", "-"), names)
        names.append(name)
        accounts.append({"name": name, "api_key": literal(text_of(row.get("api_key")))})
    return accounts


def _models(builder: Builder, rows: Sequence[Row], providers: Mapping[object, str]) -> dict[object, str]:
    """The catalog's name of each model, by id."""
    names: dict[object, str] = {}
    for row in _sorted(rows, "llm_model_id"):
        upstream = text_of(row.get("model_name"))
        provider = providers.get(row.get("provider_id"))
        if provider is None or not upstream or "*" in upstream:
            builder.note(f"model {upstream or row['llm_model_id']}: belongs to no provider, left out")
            continue
        taken = upstream in builder.models
        name = unused(f"{provider}/{upstream}" if taken else upstream, builder.models)
        builder.models[name] = {
            "provider": provider,
            "upstream_model": upstream,
            **limits(rpm=row.get("rpm"), tpm=row.get("tpm"), rpd=row.get("rpd")),
            **_price(row),
        }
        context = whole(row.get("max_context"))
        if context is not None:
            builder.models[name]["context_window"] = context
        names[row["llm_model_id"]] = name
    return names


def _price(row: Row) -> Tree:
    """Two zeros, the columns' default, are no price."""
    found = [_money(row.get(f"{way}_cost_per_1m")) for way in ("input", "output")]
    return {"price": {"input": found[0], "output": found[1]}} if any(found) else {}


def _money(value: object) -> float:
    try:
        return float(Decimal(str(value)))
    except InvalidOperation:
        return 0.0


def _subscriptions(builder: Builder, tables: Tables, models: Mapping[object, str]) -> dict[object, str]:
    """The catalog's name of each subscription, by id; its quota items are one route for every name."""
    items: dict[object, list[Row]] = {}
    for item in _sorted(tables["quota_items"], "quota_id"):
        items.setdefault(item["sub_id"], []).append(item)
    names: dict[object, str] = {}
    for row in _sorted(tables["subscriptions"], "sub_id"):
        name = unused(text_of(row.get("sub_name")) or f"subscription-{row['sub_id']}", builder.subscriptions)
        names[row["sub_id"]] = name
        targets = [
            {"model": models[item["llm_model_id"]], "weight": _weight(item)}
            for item in items.get(row["sub_id"], [])
            if item["llm_model_id"] in models
        ]
        if any(whole(item.get("token_limit")) for item in items.get(row["sub_id"], [])):
            builder.note(f"subscription {name}: token limits of single quota items were never kept, left out")
        if whole(row.get("monthly_token_limit")):
            builder.note(f"subscription {name}: its monthly token limit was never kept, left out")
        if text_of(row.get("system_prompt")):
            builder.note(f"subscription {name}: its system prompt was never sent, left out")
        if targets:
            builder.subscriptions[name] = {"routes": {"*": {"targets": targets}}}
        else:
            builder.subscriptions[name] = {"active": False}
            builder.note(f"subscription {name}: has no models, so it is not active")
    return names


def _weight(item: Row) -> int:
    return whole(item.get("percentage_weight")) or 0


# Who may ask


def _organizations(builder: Builder, tables: Tables, subscriptions: Mapping[object, str]) -> None:
    """Each organization is a user with its keys; what its plan allows becomes limits and allowed models."""
    plans = {row["id"]: row for row in tables.get("plans", ())}
    allowed = _allowed(tables)
    keys: dict[object, list[Row]] = {}
    for key in _sorted(tables["api_keys"], "id"):
        keys.setdefault(key["org_id"], []).append(key)
    for row in _sorted(tables["organizations"], "id"):
        label = text_of(row.get("slug")) or text_of(row.get("name")) or f"organization-{row['id']}"
        plan = plans.get(row.get("plan_id"))
        subscription = None if plan is None else subscriptions.get(plan.get("sub_id"))
        reason = _barred(row, plan, subscription)
        if subscription is None:
            # A user has a subscription; keys without one are told apart from unknown ones all the same.
            subscription = "none"
            builder.subscriptions.setdefault(subscription, {"active": False})
        name = unused(label, builder.users)
        user: Tree = {"subscription": subscription, "keys": []}
        if plan is not None:
            user |= limits(
                rpm=whole(plan.get("rate_limit_rpm")) or PLATFORM_RPM,
                tpm=plan.get("rate_limit_tpm"),
                rpd=plan.get("daily_request_cap"),
                tokens_per_month=plan.get("token_quota"),
            )
        if reason:
            user["active"] = False
            builder.note(f"organization {label}: {reason}, so its keys are not active")
        names = allowed.get(row.get("plan_id"))
        for key in keys.get(row["id"], []):
            tree = _hashed_key(builder, label, key)
            if tree is not None:
                user["keys"].append(tree | ({"allowed_models": names} if names else {}))
        builder.users[name] = user
    if any(_number(row.get("token_balance")) for row in tables["organizations"]):
        builder.note("prepaid token balances are left out; a plan's token quota is kept as tokens per month")


def _barred(row: Row, plan: Row | None, subscription: str | None) -> str:
    """Why the old gateway would have refused the organization; "" where it would not."""
    if not _flag(row.get("is_active")):
        return "it is suspended"
    if plan is None:
        return "it has no plan"
    if _flag(plan.get("is_byok"), absent=False):
        return "it brings provider keys of its own, which only the dashboard can decrypt"
    if subscription is None:
        return "its plan has no subscription"
    if not _number(plan.get("token_quota")) and _number(row.get("token_balance")) <= 0:
        return "its token balance is spent, and its plan has no quota per month"
    return ""


def _allowed(tables: Tables) -> dict[object, list[str]]:
    """Names of models that a plan allows; a plan that is not in here allows all."""
    names = {row["llm_model_id"]: text_of(row.get("model_name")) for row in tables["llm_models"]}
    found: dict[object, list[str]] = {}
    for row in tables.get("plan_model", ()):
        name = names.get(row["llm_model_id"])
        if name and name not in found.setdefault(row["plan_id"], []):
            found[row["plan_id"]].append(name)
    return found


def _hashed_key(builder: Builder, label: str, row: Row) -> Tree | None:
    digest = text_of(row.get("key_hash")).lower()
    name = text_of(row.get("name")) or f"key-{row['id']}"
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        builder.note(f"key {name} of {label}: its hash is no SHA-256, left out")
        return None
    if builder.claim_key(digest, f"{name} of {label}"):
        builder.note(f"key {name} of {label}: the same key as {builder.keys[digest]}, left out")
        return None
    tree: Tree = {"sha256": digest, "prefix": literal(text_of(row.get("key_prefix"))), "name": literal(name)}
    limit = whole(row.get("token_limit"))
    spent = limit is not None and _number(row.get("used_tokens")) > limit
    if spent:
        builder.note(f"key {name} of {label}: its token limit is spent, so it is not active")
    elif limit is not None:
        builder.note(f"key {name} of {label}: its token limit for life has no equal here, left out")
    if spent or not _flag(row.get("is_active")):
        tree["active"] = False
    return tree


def _token_users(builder: Builder, rows: Sequence[Row], subscriptions: Mapping[object, str]) -> None:
    """Users of the second generation, whose key stands in their row."""

    def subscription(row: Row) -> str | None:
        return subscriptions.get(row.get("sub_id"))

    _keyed_users(builder, _sorted(rows, "id"), "apitoken", subscription)


def _first(builder: Builder, rows: Sequence[Row]) -> None:
    """The first generation: one Antigravity, and 20/80 behind one name."""
    tree: Tree = {"type": "antigravity", "base_url": FIRST_URL}
    if builder.environment.get("ANTIGRAVITY_URL"):
        tree["base_url"] = "${ANTIGRAVITY_URL}"
    else:
        builder.note(f"ANTIGRAVITY_URL is not in the environment; taken as {FIRST_URL}")
    if builder.environment.get("ANTIGRAVITY_KEY"):
        tree["api_key"] = "${ANTIGRAVITY_KEY}"
    else:
        builder.note("ANTIGRAVITY_KEY is not in the environment; the provider has no key")
    provider = builder.provider("antigravity", tree)
    for model in FIRST_ROUTE:
        builder.models[model] = {"provider": provider}
    routes: Tree = {
        "cursor-pro-sonnet": {
            "targets": [{"model": model, "weight": weight} for model, weight in FIRST_ROUTE.items()]
        },
        "*": {"targets": [{"provider": provider}]},
    }

    def tier(row: Row) -> str:
        name = text_of(row.get("tier")) or ELITE
        builder.subscriptions.setdefault(name, {"routes": routes})
        return name

    builder.subscriptions[ELITE] = {"routes": routes}
    _keyed_users(builder, _sorted(rows, "id"), "api_key", tier)


def _keyed_users(
    builder: Builder,
    rows: Sequence[Row],
    column: str,
    subscription_of: Callable[[Row], str | None],
) -> None:
    """A user with one key for each row that has one in ``column``."""
    for row in rows:
        token = text_of(row.get(column))
        label = text_of(row.get("email")) or text_of(row.get("name")) or f"user-{row.get('id')}"
        if not token:
            continue
        subscription = subscription_of(row)
        if subscription is None:
            builder.note(f"user {label}: has a key, but no subscription, left out")
            continue
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        if builder.claim_key(digest, label):
            builder.note(f"user {label}: the same key as {builder.keys[digest]}, left out")
            continue
        key = {
            "sha256": digest,
            "prefix": literal(key_prefix(token)),
            "name": "taken over",
        }
        user: Tree = {"subscription": subscription, "keys": [key]}
        if not _flag(row.get("active")):
            user["active"] = False
        expires = row.get("expires_at")
        if expires not in (None, ""):
            moment = _moment(expires)
            if moment is None:
                user["active"] = False
                builder.note(
                    f"user {label}: expires_at is {str(expires)[:40]!r}, no time; so it is not active"
                )
            else:
                user["expires_at"] = moment
        name = unused(label, builder.users)
        builder.users[name] = user


# Values of rows


def _has(rows: Sequence[Row], column: str) -> bool:
    return not rows or column in rows[0]


def _sorted(rows: Iterable[Row], column: str) -> list[Row]:
    return sorted(rows, key=lambda row: _number(row.get(column)))


def _number(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0


def _flag(value: object, *, absent: bool = True) -> bool:
    """A boolean of either database; NULL is ``absent``."""
    if value is None:
        return absent
    return str(value).lower() not in ("0", "false", "f", "no", "")


def _moment(value: object) -> str | None:
    """A time as a catalog has it, in UTC unless it says otherwise; None for what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = datetime.fromtimestamp(value, UTC)
    elif isinstance(value, datetime):
        found = value
    else:
        # Go's driver also writes fractions of any length and the zone's name behind its offset.
        match = re.match(
            r"\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?)?\s*(Z|[+-]\d\d:?\d\d)?", str(value)
        )
        if match is None:
            return None
        zone = (match[3] or "").replace("Z", "+00:00")
        try:
            found = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}{zone}")
        except ValueError:
            return None
    aware = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
