"""Where a request goes: a plain value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import urlsplit

from apipod_proxy.upstream.proxy import Proxy


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One server as seen by one account: connections are shared only between equal ``key``s.

    ``partition`` keeps the connections of one account apart from those of another; ``ca_file`` adds certificate
    authorities to the system's (a server's certificate is always verified); ``keepalive`` is how long an idle connection
    is trusted, in seconds.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    partition: str = ""
    ca_file: str | None = None
    proxy: Proxy | None = None
    max_connections: int = 1000
    keepalive: float = 30.0
    # A string remembers its hash, so looking up the pool of an endpoint costs no call of a Python __hash__.
    key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        proxy = "" if self.proxy is None else self.proxy.key
        key = f"{self.partition}\n{self.scheme}://{self.host}:{self.port}\n{self.ca_file or ''}\n{proxy}"
        object.__setattr__(self, "key", key)

    @classmethod
    def of_url(
        cls,
        url: str,
        *,
        partition: str = "",
        ca_file: str | None = None,
        proxy: Proxy | None = None,
        max_connections: int = 1000,
        keepalive: float = 30.0,
    ) -> Self:
        """The endpoint of a base URL, whose path is not looked at. Raises ValueError when it is no http(s) URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL with a host")
        scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
        port = parts.port or (443 if scheme == "https" else 80)
        return cls(scheme, parts.hostname, port, partition, ca_file, proxy, max_connections, keepalive)

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """``host`` or ``host:port`` as a Host header has it: the default port left out, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"
