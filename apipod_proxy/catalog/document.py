"""A catalog file as data: what it says, checked field by field."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from apipod_proxy.catalog.fields import LATIN, ONE_LINE, Mistakes, Table, did_you_mean
from apipod_proxy.catalog.model import (
    CAPABILITIES,
    Account,
    ApiKey,
    Breaker,
    LimitTable,
    Model,
    PoolSize,
    Price,
    Provider,
    Retries,
    Role,
    Route,
    Source,
    Strategy,
    Subscription,
    Target,
    Timeouts,
    User,
    key_digest,
    key_prefix,
    no_limits,
)
from apipod_proxy.catalog.references import Unset, has_reference, sole_name
from apipod_proxy.catalog.texts import fits_a_header, is_one_line
from apipod_proxy.catalog.vault import MARK, NotOurs, Vault
from apipod_proxy.catalog.yaml_file import YamlMistake, parse_yaml

TOP = ("limits", "providers", "models", "subscriptions", "users")
PROVIDER = (
    *(
        "type",
        "base_url",
        "api_key",
        "accounts",
        "timeouts",
        "retries",
        "breaker",
        "pool",
        "headers",
        "options",
    ),
    *("limits", "active", "source"),
)
ACCOUNT = ("name", "api_key", "weight", "limits", "active")
MODEL = (
    *("provider", "upstream_model", "limits", "price", "capabilities", "context_window", "max_output"),
    *("active", "source"),
)
PRICE = ("input", "output", "cached_input", "cache_write", "reasoning")
SUBSCRIPTION = ("limits", "user_limits", "routes", "active", "source")
ROUTE = ("strategy", "targets", "max_wait", "hedge")
TARGET = ("model", "provider", "weight", "priority")
USER = ("subscription", "role", "limits", "keys", "active", "expires_at", "source")
KEY = (
    *("key", "sha256", "prefix", "name", "limits", "allowed_models", "allowed_providers", "active"),
    *("expires_at", "source"),
)

DEFAULT_ACCOUNT = "default"
"""The name of the one account of a provider that has an ``api_key`` in place of ``accounts``."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLACE = re.compile(r"\{(\w+)\}")
"""What an option of the provider stands in for in a URL."""
_ENDPOINT = re.compile(r"/(chat/completions|messages|responses|embeddings)$")
"""What requests add to a base URL, and what people paste along with it."""
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
_NUMERAL = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,19}")
_OWN_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"),
        *("accept", "accept-encoding", "content-type"),
    }
)
"""Set for each request as it needs them; a second one beside it would be anybody's guess."""


class CatalogMistakes(Exception):
    """The file cannot be applied; ``lines`` are its mistakes, one each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines)
        self.lines = lines

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(slots=True)
class Document:
    """Everything by name (keys by digest), without ids. ``name`` is the file's, for messages.

    ``unset``: accounts, as (provider, name), whose key refers to something that is not in the environment, and what is wrong about it.
    """

    name: str
    limits: LimitTable = field(default_factory=no_limits)
    providers: dict[str, Provider] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    keys: dict[bytes, ApiKey] = field(default_factory=dict)
    unset: dict[tuple[str, str], str] = field(default_factory=dict)


def read_document(
    text: str, name: str, vault: Vault, provider_types: Mapping[str, str] | None = None
) -> Document:
    """The catalog in ``text``; raises CatalogMistakes with all of them.

    ``provider_types``: the types there are, each with the base URL that it has by default ("": it has none); None allows any.
    """
    try:
        node = parse_yaml(text)
    except YamlMistake as exc:
        raise CatalogMistakes([f"{name}: {exc}"]) from exc
    mistakes = Mistakes()
    top = Table(node, "", TOP, vault.environment, mistakes)
    reader = _Reader(Document(name), vault, mistakes, provider_types)
    reader.read(top)
    if mistakes.lines:
        raise CatalogMistakes([f"{name}: {line}" for line in mistakes.lines])
    return reader.document


class _Reader:
    def __init__(
        self, document: Document, vault: Vault, mistakes: Mistakes, provider_types: Mapping[str, str] | None
    ) -> None:
        self.document = document
        self._vault = vault
        self._mistakes = mistakes
        self._provider_types = provider_types

    def read(self, top: Table) -> None:
        document = self.document
        document.limits = top.limits()
        for name, table in top.table("providers", None).tables(PROVIDER):
            document.providers[name] = self._provider(name, table)
        for name, table in top.table("models", None).tables(MODEL):
            document.models[name] = self._model(name, table)
        for name, table in top.table("subscriptions", None).tables(SUBSCRIPTION):
            document.subscriptions[name] = self._subscription(name, table)
        for name, table in top.table("users", None).tables(USER):
            document.users[name] = self._user(name, table)

    # Providers

    def _provider(self, name: str, table: Table) -> Provider:
        if "/" in name:
            self._mistakes.add(table.path, "a provider's name holds no '/'")
        kind = self._type(table)
        default_url = (self._provider_types or {}).get(kind)
        base_url = self._base_url(table)
        if default_url == "" and not base_url and "base_url" not in table:
            table.mistake("base_url", f"found nothing; allowed: a URL (the type {kind} has none of its own)")
        options = self._options(table, base_url or default_url or "")
        timeouts = table.table("timeouts", Timeouts._fields)
        retries = table.table("retries", Retries._fields)
        breaker = table.table("breaker", Breaker._fields)
        pool = table.table("pool", PoolSize._fields)
        return Provider(
            id="",
            name=name,
            type=kind,
            base_url=base_url,
            accounts=self._accounts(name, table),
            timeouts=Timeouts(
                *(
                    timeouts.number(part, default, high=86400, above=True)
                    for part, default in Timeouts()._asdict().items()
                )
            ),
            retries=Retries(
                _whole(retries, "attempts", Retries().attempts, 1, 100),
                retries.number("base", Retries().base, high=3600),
                retries.number("max", Retries().max, high=3600),
                retries.number("jitter", Retries().jitter, high=1),
            ),
            breaker=Breaker(
                _whole(breaker, "failures", Breaker().failures, 1),
                breaker.number("open", Breaker().open, high=86400),
            ),
            pool=PoolSize(
                _whole(pool, "max_connections", PoolSize().max_connections, 1, 1_000_000),
                pool.number("keepalive", PoolSize().keepalive, high=86400),
            ),
            headers=self._headers(table),
            options=options,
            limits=table.limits(),
            active=table.boolean("active", True),
            source=table.choice("source", Source.FILE),
        )

    def _type(self, table: Table) -> str:
        types = self._provider_types
        kind = table.required("type", "a provider type" if types is None else ", ".join(types))
        if kind and types is not None and kind not in types:
            table.mistake("type", f"found {kind!r}; {did_you_mean(kind, types)}allowed: {', '.join(types)}")
        return kind

    def _base_url(self, table: Table) -> str:
        url = table.text("base_url").rstrip("/")
        raw = table.raw("base_url")
        # What a reference stands for may be a key that was meant for another field.
        shown = str(raw) if isinstance(raw, str) and has_reference(raw) else url
        if url:
            try:
                parts = urlsplit(url)
                good = (
                    parts.scheme in ("http", "https")
                    and _is_host(parts.hostname or "")
                    and not parts.query
                    and not parts.fragment
                    and parts.port != 0
                )
            except ValueError:
                good = False
            if good and is_trap(parts.hostname or ""):
                table.mistake(
                    "base_url",
                    f"found {shown!r}, where no provider is but the machine's own metadata; allowed: another host",
                )
            elif not good or " " in url:
                table.mistake("base_url", f"found {shown!r}; allowed: http(s)://host[:port][/path]")
            elif not url.isascii():
                table.mistake(
                    "base_url", f"found {shown!r}; allowed: ASCII (a host as xn--…, a path percent-encoded)"
                )
            elif parts.username or parts.password:
                table.mistake("base_url", "found a URL with a user or password; allowed: the key as api_key")
            elif (endpoint := _ENDPOINT.search(url)) is not None:
                table.mistake("base_url", f"found {shown!r}; allowed: what stands before {endpoint[0]}")
        return url

    def _options(self, table: Table, base_url: str) -> dict[str, str]:
        options = table.strings("options")
        for name in _PLACE.findall(base_url):
            if not options.get(name) and name != "model":
                table.mistake("options", f"found no '{name}'; allowed: one, for the URL {base_url}")
        return options

    def _headers(self, table: Table) -> dict[str, str]:
        headers = table.strings("headers")
        for name in headers:
            if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
                table.mistake(
                    "headers",
                    f"found {name!r}; allowed: names of headers, but {', '.join(sorted(_OWN_HEADERS))}",
                )
            elif not fits_a_header(headers[name]):
                table.mistake("headers", f"the value of {name} holds something else; allowed: {LATIN}")
        return headers

    def _accounts(self, provider: str, table: Table) -> tuple[Account, ...]:
        if "accounts" not in table:
            if "accounts" in list(table):
                return ()
            key, origin = self._secret(table, provider, DEFAULT_ACCOUNT)
            return (Account("", provider, DEFAULT_ACCOUNT, key, origin=origin),)
        if "api_key" in table:
            table.mistake("api_key", "found beside accounts; allowed: one of both")
        accounts: dict[str, Account] = {}
        for place, entry in enumerate(table.items("accounts", ACCOUNT, secret=True)):
            name = entry.label("name", DEFAULT_ACCOUNT if place == 0 else f"{DEFAULT_ACCOUNT}-{place + 1}")
            if name in accounts:
                entry.mistake("name", f"found {name!r} again; allowed: each name once")
            if "/" in name:
                entry.mistake("name", f"found {name!r}; allowed: a name without '/'")
            key, origin = self._secret(entry, provider, name)
            accounts[name] = Account(
                id="",
                provider=provider,
                name=name,
                api_key=key,
                weight=entry.number("weight", 1),
                limits=entry.limits(),
                active=entry.boolean("active", True),
                origin=origin,
            )
        return tuple(accounts.values())

    def _secret(self, table: Table, provider: str, account: str) -> tuple[str, str]:
        """The key and where it came from."""
        node = table.raw("api_key")
        name = sole_name(node) if isinstance(node, str) else None
        if name is not None:
            # Read anew at each start. What is more than a name (a default, a text around it) may be a secret itself, and is not kept.
            value = self._vault.environment.get(name, "").strip()
            if value and not fits_a_header(value):
                allowed = LATIN if is_one_line(value) else ONE_LINE
                table.mistake("api_key", f"${{{name}}} holds something else; allowed: {allowed}")
                return "", ""
            if value:
                return value, f"${{{name}}}"
            if node == f"${{{name}}}":
                # Not yet a mistake: the database may know this key from when it was set.
                self.document.unset[provider, account] = f"{table.at('api_key')}: {Unset(name)}"
                return "", str(node)
        text = table.text("api_key", secret=True).strip()
        if text.startswith(MARK):
            try:
                return self._vault.decrypt(text), ""
            except NotOurs as exc:
                table.mistake("api_key", f"found an encrypted key, but {exc}; allowed: the key, or ${{NAME}}")
        elif not fits_a_header(text):
            table.mistake("api_key", f"found a text that is not shown; allowed: {LATIN}")
        return text, ""

    # Models

    def _model(self, name: str, table: Table) -> Model:
        if "*" in name:
            self._mistakes.add(
                table.path, "a model's name holds no '*'; stars stand in the routes of a subscription"
            )
        return Model(
            id="",
            name=name,
            provider=table.required("provider", "the name of a provider"),
            upstream_model=table.text("upstream_model") or name,
            limits=table.limits(),
            price=self._price(table),
            capabilities=table.names("capabilities", CAPABILITIES),
            context_window=table.whole("context_window", 1),
            max_output=table.whole("max_output", 1),
            active=table.boolean("active", True),
            source=table.choice("source", Source.FILE),
        )

    def _price(self, table: Table) -> Price | None:
        if "price" not in table:
            return None
        entry = table.table("price", PRICE)
        for name in ("input", "output"):
            entry.required(name, "USD per million tokens")
        known = (name for name in PRICE if name in entry)
        return Price(
            **{
                "input": 0,
                "output": 0,
                **{name: round(entry.number(name, 0, high=1e6) * 1000) for name in known},
            }
        )

    # Subscriptions

    def _subscription(self, name: str, table: Table) -> Subscription:
        routes = {
            requested: self._route(requested, entry)
            for requested, entry in table.table("routes", None).tables(ROUTE)
        }
        return Subscription(
            id="",
            name=name,
            routes=routes,
            limits=table.limits(),
            user_limits=table.limits("user_limits"),
            active=table.boolean("active", True),
            source=table.choice("source", Source.FILE),
        )

    def _route(self, requested: str, table: Table) -> Route:
        if "*" in requested[:-1]:
            self._mistakes.add(table.path, "a star stands at the end of a requested name, nowhere else")
        targets = tuple(
            self._target(entry, starred=requested.endswith("*"))
            for entry in table.items("targets", TARGET, "model")
        )
        if requested != "*" and table.raw("targets") in (None, []):
            table.mistake(
                "targets",
                "found none; allowed: at least one ('*' alone may have none: every model by its own name)",
            )
        return Route(
            id="",
            requested_name=requested,
            strategy=table.choice("strategy", Strategy.WEIGHTED),
            targets=targets,
            max_wait=table.number("max_wait", 0, high=3600),
            hedge=table.boolean("hedge", False),
        )

    def _target(self, table: Table, *, starred: bool) -> Target:
        if ("model" in table) == ("provider" in table):
            table.mistake(
                "model",
                "found " + ("both" if "model" in table else "neither") + "; allowed: model or provider",
            )
        elif "provider" in table and not starred:
            table.mistake(
                "provider", "takes what a star stands for, and the requested name has none; allowed: model"
            )
        model, provider = table.text("model"), table.text("provider")
        for name, text in (("model", model), ("provider", provider)):
            if name in table and not text:
                # Also of a reference that is empty here: what refers to nothing cannot be stored.
                table.mistake(name, f"found an empty text; allowed: the name of a {name}")
        return Target(
            model or None,
            provider or None,
            table.number("weight", 1),
            table.whole("priority") or 0,
        )

    # Users and keys

    def _user(self, name: str, table: Table) -> User:
        user = User(
            id="",
            name=name,
            subscription=table.required("subscription", "the name of a subscription"),
            role=table.choice("role", Role.MEMBER),
            limits=table.limits(),
            active=table.boolean("active", True),
            expires_at=table.time("expires_at"),
            source=table.choice("source", Source.FILE),
        )
        for place, entry in enumerate(table.items("keys", KEY, "key", secret=True)):
            key = self._key(name, entry, place)
            if key is None:
                continue
            other = self.document.keys.setdefault(key.digest, key)
            if other is not key:
                whose = "this user" if other.user == name else f"the user '{other.user}'"
                self._mistakes.add(
                    entry.path, f"the same key as '{other.name}' of {whose}; allowed: each key once"
                )
        return user

    def _key(self, user: str, table: Table, place: int) -> ApiKey | None:
        if ("key" in table) == ("sha256" in table):
            table.mistake(
                "key", "found " + ("both" if "key" in table else "neither") + "; allowed: key or sha256"
            )
            return None
        digest: bytes | None
        if "key" in table:
            text = table.required("key", "the client's key", secret=True).strip()
            digest, prefix = key_digest(text) if text else None, key_prefix(text)
            if "prefix" in table:
                table.mistake("prefix", "follows from the key; allowed: beside sha256")
        else:
            text, prefix = table.text("sha256"), table.text("prefix")[:12]
            digest = bytes.fromhex(text) if re.fullmatch(r"[0-9a-fA-F]{64}", text) else None
            if digest is None:
                table.mistake("sha256", "allowed: the 64 hexadecimal digits of the key's SHA-256")
        key = ApiKey(
            id="",
            user=user,
            name=table.label("name", f"key-{place + 1}"),
            digest=digest or b"",
            prefix=prefix,
            limits=table.limits(),
            allowed_models=table.names("allowed_models"),
            allowed_providers=table.names("allowed_providers"),
            active=table.boolean("active", True),
            expires_at=table.time("expires_at"),
            source=table.choice("source", Source.FILE),
        )
        return key if digest else None


def is_trap(host: str) -> bool:
    """Whether the host is a link-local address (in any notation) or a name of a cloud's metadata service."""
    if host.lower().rstrip(".") in _METADATA_NAMES:
        return True
    parts = host.split(".")
    if len(parts) <= 4 and all(_NUMERAL.fullmatch(part) for part in parts):
        # Resolvers also take 0xa9fe0001, 0251.254.1 and 2852039166 for an address.
        numbers = [
            int(part, 16 if part[:2].lower() == "0x" else 8 if part[0] == "0" else 10) for part in parts
        ]
        value = sum(number << 8 * (3 - place) for place, number in enumerate(numbers[:-1])) + numbers[-1]
        return value >= 1 << 32 or ipaddress.IPv4Address(value).is_link_local
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_link_local)


def _is_host(host: str) -> bool:
    """Whether a resolver takes the name; what it says of it is another matter."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(0 < len(label) <= 63 for label in labels)


def _whole(table: Table, name: str, default: int, low: int, high: int = 10**9) -> int:
    found = table.whole(name, low, high)
    return default if found is None else found
