"""The plain data of the catalog. Everything is immutable; names are unique within their kind; times are epoch milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class Limit(NamedTuple):
    """``limit`` per period and ``burst``, the most at once (a bucket's capacity; equal to ``limit`` unless given)."""

    limit: int
    burst: int


BUCKETS = ("rpm", "rph", "tpm")
"""The kinds that refill all the time; the others count within a day or month, or what runs."""
LIMIT_KINDS = ("rpm", "rph", "rpd", "tpm", "tpd", "requests_per_month", "tokens_per_month", "concurrency")

CAPABILITIES = ("tools", "vision", "audio", "documents", "thinking", "structured_output", "streaming")

LimitTable = Mapping[str, Limit]
NO_LIMITS: LimitTable = MappingProxyType({})
"""Kind (one of LIMIT_KINDS) → Limit; an absent kind is unlimited."""

NO_STRINGS: Mapping[str, str] = MappingProxyType({})


def no_limits() -> LimitTable:
    """A default for dataclasses, which take no mapping itself."""
    return NO_LIMITS


def no_strings() -> Mapping[str, str]:
    return NO_STRINGS


class Source(StrEnum):
    """Who made a row, and so who may change it."""

    FILE = "file"
    ADMIN = "admin"


class Strategy(StrEnum):
    WEIGHTED = "weighted"
    PRIORITY = "priority"
    EVEN = "even"
    LATENCY = "latency"
    COST = "cost"


class Role(StrEnum):
    MEMBER = "member"
    ADMIN = "admin"


class Timeouts(NamedTuple):
    """Seconds to connect, to the head of the answer, and between two bytes of it. There is no total."""

    connect: float = 5.0
    first_byte: float = 120.0
    idle: float = 120.0


class Retries(NamedTuple):
    """Attempts on one account, the bounds of the backoff between them in seconds, and the share of a pause that is drawn by chance."""

    attempts: int = 3
    base: float = 0.5
    max: float = 8.0
    jitter: float = 1.0


class Breaker(NamedTuple):
    """Consecutive failures that open it, and the seconds that it stays open."""

    failures: int = 5
    open: float = 30.0


class PoolSize(NamedTuple):
    max_connections: int = 1000
    keepalive: float = 30.0


class Price(NamedTuple):
    """Nano-dollars per token (USD per million tokens × 1000). None where no price is known."""

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """One credential of a provider. ``api_key`` never leaves the upstream package; repr hides it."""

    id: str
    provider: str
    name: str
    api_key: str = field(repr=False, default="")
    weight: float = 1
    limits: LimitTable = field(default_factory=no_limits)
    active: bool = True
    origin: str = field(repr=False, default="")
    """``${NAME}`` where the key came from the environment, else empty."""
    enabled: int = field(default=0, compare=False)
    """The version of the catalog with which an admin enabled it last; no matter of the file."""


@dataclass(frozen=True, slots=True)
class Provider:
    id: str
    name: str
    type: str
    base_url: str
    accounts: tuple[Account, ...]
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    breaker: Breaker = Breaker()
    pool: PoolSize = PoolSize()
    headers: Mapping[str, str] = field(default_factory=no_strings)
    options: Mapping[str, str] = field(default_factory=no_strings)
    """What only this provider type knows, as the account id of Cloudflare."""
    limits: LimitTable = field(default_factory=no_limits)
    active: bool = True
    source: Source = Source.FILE


@dataclass(frozen=True, slots=True)
class Model:
    """A model by its public name. ``capabilities`` None means the package's table decides."""

    id: str
    name: str
    provider: str
    upstream_model: str
    limits: LimitTable = field(default_factory=no_limits)
    price: Price | None = None
    capabilities: frozenset[str] | None = None
    context_window: int | None = None
    max_output: int | None = None
    active: bool = True
    source: Source = Source.FILE


class Target(NamedTuple):
    """A model, or a provider that takes what the star of the route stands for. Exactly one of both is set."""

    model: str | None
    provider: str | None
    weight: float = 1
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """``requested_name`` may end in a star. ``targets`` empty: every model by its own name."""

    id: str
    requested_name: str
    strategy: Strategy = Strategy.WEIGHTED
    targets: tuple[Target, ...] = ()
    max_wait: float = 0.0
    hedge: bool = False


@dataclass(frozen=True, slots=True)
class Subscription:
    """``routes`` by requested name; none at all means every model by its own name."""

    id: str
    name: str
    routes: Mapping[str, Route]
    limits: LimitTable = field(default_factory=no_limits)
    user_limits: LimitTable = field(default_factory=no_limits)
    active: bool = True
    source: Source = Source.FILE


@dataclass(frozen=True, slots=True)
class User:
    id: str
    name: str
    subscription: str
    role: Role = Role.MEMBER
    limits: LimitTable = field(default_factory=no_limits)
    active: bool = True
    expires_at: int | None = None
    source: Source = Source.FILE


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A client key. ``digest`` is the SHA-256 of the key (32 bytes), ``prefix`` its first 12 characters."""

    id: str
    user: str
    name: str
    digest: bytes = field(repr=False)
    prefix: str = ""
    limits: LimitTable = field(default_factory=no_limits)
    allowed_models: frozenset[str] | None = None
    allowed_providers: frozenset[str] | None = None
    active: bool = True
    expires_at: int | None = None
    created_at: int = 0
    source: Source = Source.FILE
    revoked_at: int | None = None
    """When it was revoked; a revoked key is inactive, and no file brings it back."""


PREFIX_LENGTH = 12


def key_digest(text: str) -> bytes | None:
    """The SHA-256 of a client key; None for text that no client can have sent."""
    try:
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    except UnicodeEncodeError:
        return None


def key_prefix(text: str) -> str:
    """What may be shown of a key: its first 12 characters, of a short one no more than half."""
    return text[: min(PREFIX_LENGTH, len(text) // 2)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A (model, account) pair that may serve a request; ``upstream_model`` is the name that goes up."""

    provider: Provider
    account: Account
    model: Model
    upstream_model: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole catalog and every live key. ``version`` grows with each change of the store."""

    version: int
    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    subscriptions: Mapping[str, Subscription]
    users: Mapping[str, User]
    keys: Mapping[bytes, ApiKey]
    """By digest; inactive and expired keys are in here too, so that they can be told from unknown ones."""
    limits: LimitTable = field(default_factory=no_limits)
    """Of the whole proxy."""


EMPTY_SNAPSHOT = Snapshot(0, {}, {}, {}, {}, {})
