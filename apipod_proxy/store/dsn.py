"""PostgreSQL URLs as libpq reads them, for a driver that takes some of its parameters elsewhere and some not at all."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

CONNECT_SECONDS = 5.0

# Known to libpq, without meaning for the driver, which would send them to the server as settings.
_WITHOUT_MEANING = frozenset(
    {
        "channel_binding",
        "client_encoding",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "replication",
        "require_auth",
        "requirepeer",
        "requiressl",
        "sslcertmode",
        "sslcompression",
        "sslsni",
        "tcp_user_timeout",
    }
)


class ConnectArguments(NamedTuple):
    """``statement_cache_size`` 0 suits a pooler that hands out a server connection per transaction."""

    dsn: str
    timeout: float
    statement_cache_size: int


def connect_arguments(url: str) -> ConnectArguments:
    """What the driver takes; raises ValueError naming the parameter that is no number."""
    base, _, query = url.partition("?")
    kept: list[tuple[str, str]] = []
    numbers = {"connect_timeout": CONNECT_SECONDS, "statement_cache_size": 100.0}
    for name, value in parse_qsl(query, keep_blank_values=False):
        if name in numbers:
            if not value.isdecimal():
                raise ValueError(f"{name} is {value!r}; allowed: a whole number")
            # libpq reads 0 as without end; nothing here may wait without end.
            numbers[name] = float(value) or (60.0 if name == "connect_timeout" else 0.0)
        elif name not in _WITHOUT_MEANING:
            kept.append((name, value))
    if not any(name == "application_name" for name, _ in kept):
        kept.append(("application_name", "apipod-proxy"))
    dsn = f"{base}?{urlencode(kept)}"
    return ConnectArguments(dsn, numbers["connect_timeout"], int(numbers["statement_cache_size"]))


def shown(url: str) -> str:
    """The URL without its password and parameters."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return f"{parts.scheme}://{name}{at}{hosts}{parts.path}"
