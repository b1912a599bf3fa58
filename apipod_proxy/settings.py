"""Every setting of the program: read once from the environment, checked, and frozen. Nothing else reads the environment.

A value comes from the command line, else the environment, else ``.env`` (or the file of ``--env-file``), else its default. An
empty value means the default. ``SETTINGS`` is the one table of names, defaults and meanings; ``.env.example`` and the README are
compared with it.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import math
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """A setting cannot be used: ``name``, its ``value`` (masked where secret), where it came from, and what is allowed."""

    def __init__(self, name: str, value: str, origin: str, allowed: str) -> None:
        super().__init__(name, value, origin, allowed)
        self.name = name
        self.value = value
        self.origin = origin
        self.allowed = allowed

    def __str__(self) -> str:
        return f"{self.name} is {self.value} ({self.origin}); allowed: {self.allowed}"


class DatabaseUrl(NamedTuple):
    """Where the database is: ``path`` of the SQLite file, or ``dsn`` of a PostgreSQL server."""

    path: Path | None
    dsn: str

    @property
    def is_sqlite(self) -> bool:
        return self.path is not None


# Parsers: text → value; they raise _Refused with what is allowed.


class _Refused(Exception):
    def __init__(self, allowed: str) -> None:
        super().__init__(allowed)
        self.allowed = allowed


def _text(text: str) -> str:
    return text


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,12}", text) and low <= int(text) <= high:
            return int(text)
        raise _Refused(f"a whole number from {low} to {high}")

    return parse


def _retention(text: str) -> int:
    days = re.fullmatch(r"[0-9]{1,5}", text)
    if days and (int(text) == 0 or 32 <= int(text) <= 36500):
        return int(text)
    raise _Refused("0, or 32 to 36500 days (limits of a month are counted up from these rows)")


def _seconds(*, zero: bool) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            # Python would also read 1_0, and digits of other scripts.
            value = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            value = math.nan
        if (0 <= value <= 86400) and (zero or value > 0):
            return value
        raise _Refused(f"seconds, {'0' if zero else 'more than 0'} to 86400")

    return parse


def _choice(*allowed: str, upper: bool = False) -> Callable[[str], str]:
    def parse(text: str) -> str:
        value = text.upper() if upper else text.lower()
        if value in allowed:
            return value
        raise _Refused(" | ".join(allowed))

    return parse


def _host(text: str) -> str:
    if re.fullmatch(r"[0-9A-Za-z._:-]{1,253}", text):
        return text
    raise _Refused("a host name or an IP address, as 127.0.0.1, 0.0.0.0 or ::")


def _networks(text: str) -> tuple[IPNetwork, ...]:
    try:
        return tuple(ipaddress.ip_network(part, strict=False) for part in _parts(text))
    except ValueError:
        raise _Refused("IP addresses and networks, comma-separated, as 10.0.0.0/8,127.0.0.1") from None


def _origins(text: str) -> tuple[str, ...]:
    parts = _parts(text)
    if all(part == "*" or re.fullmatch(r"https?://[^/?#\s]+", part) for part in parts):
        return parts
    raise _Refused("* or origins, comma-separated, as https://app.example.com,http://localhost:3000")


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _key_bytes(text: str) -> bytes:
    try:
        padded = text.replace("-", "+").replace("_", "/").rstrip("=")
        key = base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) == 32:
        return key
    raise _Refused("32 bytes in base64, as `openssl rand -base64 32` prints")


def _schema(text: str) -> str:
    if re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", text) and not text.startswith("pg_"):
        return text
    raise _Refused("a name of at most 63 lower-case letters, digits and underscores")


DATABASE_FORMS = (
    "sqlite:///relative/path, sqlite:////absolute/path or postgresql://user:password@host:5432/name"
)


def parse_database_url(text: str) -> DatabaseUrl:
    """The database of a URL in one of DATABASE_FORMS; raises ValueError with what is allowed."""
    try:
        parts = urlsplit(text)
        scheme = parts.scheme
        if scheme in ("postgresql", "postgres") and text.startswith(f"{scheme}://"):
            _ = None if "," in parts.netloc else parts.port
            return DatabaseUrl(None, "postgresql" + text[len(scheme) :])
    except ValueError:
        raise ValueError(DATABASE_FORMS) from None
    path = unquote(parts.path)[1:]
    if scheme != "sqlite" or parts.netloc or parts.query or not path or path.endswith("/"):
        raise ValueError(DATABASE_FORMS)
    if path == ":memory:":
        raise ValueError("a SQLite file (a database in memory cannot be shared between connections)")
    return DatabaseUrl(Path(path), "")


def _database_url(text: str) -> str:
    try:
        parse_database_url(text)
    except ValueError as refused:
        raise _Refused(str(refused)) from None
    return text


def _redis_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        databases = parse_qs(parts.query).get("db", [])
        if parts.scheme != "unix" and parts.path.strip("/"):
            databases.append(parts.path.strip("/"))
        if (
            parts.scheme in ("redis", "rediss", "unix")
            and (parts.hostname or parts.path)
            and all(re.fullmatch("[0-9]{1,9}", database) for database in databases)
        ):
            _ = parts.port
            return text
    except ValueError:
        pass  # said below
    raise _Refused("redis://[user:password@]host:6379/0, rediss://… or unix:///path")


# The table


class Setting(NamedTuple):
    """One row: ``default`` as text, "" where there is none; ``field`` is the attribute of Settings."""

    name: str
    field: str
    default: str
    description: str
    parse: Callable[[str], Any]
    secret: bool = False


SETTINGS: tuple[Setting, ...] = (
    Setting("HOST", "host", "127.0.0.1", "Address to listen on", _host),
    Setting("PORT", "port", "8081", "Port to listen on", _whole(0, 65535)),
    Setting(
        "DATA_DIR",
        "data_dir",
        "data",
        "Folder of the SQLite database and of the files that the program makes",
        Path,
    ),
    Setting(
        "DATABASE_URL",
        "database_url",
        "sqlite:///data/proxy.db",
        "Database: sqlite:///relative/path, sqlite:////absolute/path or postgresql://user:password@host/name with libpq parameters;"
        " unless given, proxy.db in DATA_DIR",
        _database_url,
        secret=True,
    ),
    Setting("DATABASE_PATH", "database_path", "", "Path of a SQLite file, in place of DATABASE_URL", _text),
    Setting(
        "DATABASE_SCHEMA", "database_schema", "apipod_proxy", "Schema of the tables on PostgreSQL", _schema
    ),
    Setting(
        "REDIS_URL",
        "redis_url",
        "",
        "Redis that shares limits between workers and replicas",
        _redis_url,
        secret=True,
    ),
    Setting(
        "ADMIN_SECRET",
        "admin_secret",
        "",
        "Opens /admin/* to the header x-admin-secret; unset: 403",
        _text,
        secret=True,
    ),
    Setting("METRICS_TOKEN", "metrics_token", "", "Bearer token that may read /metrics", _text, secret=True),
    Setting(
        "ENCRYPTION_KEY",
        "encryption_key",
        "",
        "32 bytes in base64 that encrypt provider keys in the database; unset: made in DATA_DIR/encryption.key on SQLite, demanded"
        " on PostgreSQL",
        _key_bytes,
        secret=True,
    ),
    Setting("MAX_BODY_MB", "max_body_mb", "32", "Largest request body, in MB", _whole(1, 4096)),
    Setting(
        "PING_SECONDS",
        "ping_seconds",
        "15",
        "Silence of a stream after which a ping is sent",
        _seconds(zero=False),
    ),
    Setting(
        "DRAIN_SECONDS",
        "drain_seconds",
        "0",
        "Normal service after SIGTERM, while not ready",
        _seconds(zero=True),
    ),
    Setting(
        "SHUTDOWN_GRACE_SECONDS",
        "shutdown_grace_seconds",
        "60",
        "Time that running streams get to finish at shutdown",
        _seconds(zero=True),
    ),
    Setting(
        "RESPONSES_TTL_HOURS",
        "responses_ttl_hours",
        "24",
        "How long responses that may be gone on from are kept in the database, where the provider keeps none; 0: not at all",
        _whole(0, 8760),
    ),
    Setting(
        "USAGE_RETENTION_DAYS",
        "usage_retention_days",
        "0",
        "How long usage_logs keeps the row of a request, 32 days or more; sums by the hour stay; 0: for ever",
        _retention,
    ),
    Setting(
        "TRUSTED_PROXIES",
        "trusted_proxies",
        "",
        "Addresses and networks whose x-forwarded-for is believed, comma-separated",
        _networks,
    ),
    Setting(
        "CORS_ORIGINS",
        "cors_origins",
        "",
        "Origins that browsers may call from, comma-separated, or *",
        _origins,
    ),
    Setting(
        "LOG_LEVEL",
        "log_level",
        "INFO",
        "DEBUG | INFO | WARNING | ERROR | CRITICAL",
        _choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", upper=True),
    ),
    Setting("LOG_FORMAT", "log_format", "json", "json | text", _choice("json", "text")),
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}

DEMO_NAMES = frozenset({"ANTIGRAVITY_URL", "ANTIGRAVITY_KEY"})
"""What the demo reads beside names that end in _API_KEY."""

TAKEOVER_NAMES = frozenset(
    {
        *("AUTH_TOKEN", "CLIENT_TIMEOUT", "CONFIG_ENCRYPTION_KEY"),
        *("RETRY_MAX_RETRIES", "RETRY_BASE_DELAY", "RETRY_MAX_DELAY", "RETRY_JITTER"),
    }
)
"""What the configuration of another gateway reads when it is taken over."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One attribute per row of SETTINGS. ``None`` and empty tuples mean: not set."""

    host: str = "127.0.0.1"
    port: int = 8081
    data_dir: Path = Path("data")
    database_url: str = field(repr=False, default="sqlite:///data/proxy.db")
    database_path: str | None = None
    database_schema: str = "apipod_proxy"
    redis_url: str | None = field(repr=False, default=None)
    admin_secret: str | None = field(repr=False, default=None)
    metrics_token: str | None = field(repr=False, default=None)
    encryption_key: bytes | None = field(repr=False, default=None)
    max_body_mb: int = 32
    ping_seconds: float = 15.0
    drain_seconds: float = 0.0
    shutdown_grace_seconds: float = 60.0
    responses_ttl_hours: int = 24
    usage_retention_days: int = 0
    trusted_proxies: tuple[IPNetwork, ...] = ()
    cors_origins: tuple[str, ...] = ()
    log_level: str = "INFO"
    log_format: str = "json"

    @property
    def database(self) -> DatabaseUrl:
        return parse_database_url(self.database_url)

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str],
        overrides: Mapping[str, str] | None = None,
        dotenv: Mapping[str, str] | None = None,
        dotenv_name: str = ".env",
    ) -> Settings:
        """The settings of ``environ``, under those of the command line and over those of ``.env``; raises SettingsError."""
        levels = [("command line", overrides or {}), ("environment", environ), (dotenv_name, dotenv or {})]
        values: dict[str, Any] = {}
        depth: dict[str, int] = {}
        for setting in SETTINGS:
            for level, (origin, mapping) in enumerate(levels):
                text = _given(setting, mapping, origin)
                if text is None:
                    continue
                if text != "":
                    values[setting.field] = _parsed(setting, text, origin)
                    depth[setting.name] = level
                break
        _settle_database(values, depth, levels)
        return cls(**values)


def _given(setting: Setting, mapping: Mapping[str, str], origin: str) -> str | None:
    """The text of the setting in one source, None if it is not named there. A secret may also come from a file."""
    text = mapping.get(setting.name)
    file_name = mapping.get(f"{setting.name}_FILE") if setting.secret else None
    if not file_name:
        return None if text is None else text.strip()
    if text:
        raise SettingsError(
            setting.name, "***", origin, f"only one of {setting.name} and {setting.name}_FILE"
        )
    name = f"{setting.name}_FILE"
    try:
        content = Path(file_name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(name, repr(file_name), origin, f"a file that can be read ({reason})") from error
    if not content:
        raise SettingsError(name, repr(file_name), origin, "a file that holds the secret (it is empty)")
    return content


def _parsed(setting: Setting, text: str, origin: str) -> Any:
    try:
        return setting.parse(text)
    except _Refused as refused:
        raise SettingsError(
            setting.name, "***" if setting.secret else repr(text), origin, refused.allowed
        ) from None


def _settle_database(
    values: dict[str, Any], depth: Mapping[str, int], levels: Sequence[tuple[str, Mapping[str, str]]]
) -> None:
    """DATABASE_PATH is another way to say DATABASE_URL; where neither is given, the database is in DATA_DIR."""
    path = values.get("database_path")
    if path is not None:
        level = depth["DATABASE_PATH"]
        url_level = depth.get("DATABASE_URL", len(levels))
        if url_level == level:
            raise SettingsError(
                "DATABASE_PATH", repr(path), levels[level][0], "only one of DATABASE_PATH and DATABASE_URL"
            )
        if url_level > level:
            url = path if path.startswith("sqlite://") else f"sqlite:///{_escaped(Path(path))}"
            values["database_url"] = _parsed(
                BY_NAME["DATABASE_PATH"]._replace(parse=_database_url), url, levels[level][0]
            )
    elif "database_url" not in values and "data_dir" in values:
        values["database_url"] = f"sqlite:///{_escaped(values['data_dir'] / 'proxy.db')}"


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")


# Beside the settings: the .env file, and the environment that a catalog file may read.


class Loaded(NamedTuple):
    """``environment`` is what ``${NAME}`` in a catalog file may read; ``warnings`` are one line each."""

    settings: Settings
    environment: Mapping[str, str]
    warnings: list[str]


def process_environment() -> Mapping[str, str]:
    """The environment of this process."""
    return os.environ


def load(
    environ: Mapping[str, str],
    overrides: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    known: Collection[str] = (),
) -> Loaded:
    """Reads ``env_file`` (``.env`` of this folder if there is one) and settles all. ``known``: further names it may hold."""
    path = env_file or Path(".env")
    if env_file is not None and not path.exists():
        raise SettingsError("--env-file", repr(str(env_file)), "command line", "a file that exists")
    # What is named may also be a pipe.
    values = read_env_file(path) if env_file is not None or path.is_file() else {}
    settings = Settings.from_env(environ, overrides, values, str(path))
    return Loaded(settings, catalog_environment({**values, **environ}), _unknown_names(values, path, known))


def read_env_file(path: Path) -> dict[str, str]:
    """Names and values of a .env file, taken literally: ``${NAME}`` in it is not expanded. Raises SettingsError."""
    # Deferred: most processes have no such file.
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(
            "the file of settings", repr(str(path)), "--env-file", f"a file that can be read ({reason})"
        ) from error
    for binding in bindings:
        if binding.error:
            # It may hold a secret; and a setting that is quietly left out can be worse than a wrong one.
            line = (
                binding.original.line
                + len(binding.original.string)
                - len(binding.original.string.lstrip("\n"))
            )
            raise SettingsError(
                f"line {line}", "not readable", str(path), "NAME=value, with the quotes around a value closed"
            )
    return {one.key: one.value for one in bindings if one.key is not None and one.value is not None}


def catalog_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without this program's own secrets, which no catalog file has a reason to read."""
    own = {name for setting in SETTINGS if setting.secret for name in (setting.name, f"{setting.name}_FILE")}
    return {name: value for name, value in environ.items() if name not in own}


def _unknown_names(values: Mapping[str, str], path: Path, known: Collection[str]) -> list[str]:
    expected = {
        *BY_NAME,
        *(f"{setting.name}_FILE" for setting in SETTINGS if setting.secret),
        *DEMO_NAMES,
        *TAKEOVER_NAMES,
        *known,
    }
    warnings = []
    for name in values:
        if name in expected or re.search(r"_API_KEY(_[0-9]+)?$", name):
            continue
        close = difflib.get_close_matches(name, expected, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        warnings.append(f"{path}: {name} is no setting of this program{hint}")
    return warnings


def parse_addr(text: str) -> dict[str, str]:
    """HOST and PORT of ``HOST:PORT``, ``:PORT`` or ``[::]:PORT``, as overrides; a missing host means all addresses."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*)):([0-9]{1,5})", text.strip())
    if not match or int(match[3]) > 65535:
        raise SettingsError("--addr", repr(text), "command line", "HOST:PORT or :PORT, as 127.0.0.1:8081")
    return {"HOST": match[1] or match[2] or "0.0.0.0", "PORT": match[3]}
