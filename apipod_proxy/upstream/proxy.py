"""Forward proxies (``HTTP_PROXY``, ``HTTPS_PROXY``, ``NO_PROXY``): which one to use, and what to say to it. No I/O."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy; ``authorization`` is the value of Proxy-Authorization, never shown."""

    host: str
    port: int
    tls: bool = False
    authorization: str | None = None

    @classmethod
    def of_url(cls, url: str) -> Self:
        """Reads ``[http[s]://][user:password@]host[:port]``. Raises ValueError for another scheme or no host."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a proxy is given as http://host:port or https://host:port")
        tls = parts.scheme == "https"
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, authorization)

    @property
    def key(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authorization or ''}@{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({'https' if self.tls else 'http'}://{self.host}:{self.port})"

    def absolute(self, head: bytes, authority: str) -> bytes:
        """The request head as a proxy wants it for plain http: the whole URL as target, and our credentials."""
        method, target, rest = head.split(b" ", 2)
        version, fields = rest.split(b"\r\n", 1)
        credentials = self._credentials()
        return b"%b http://%b%b %b\r\n%b%b" % (
            method,
            authority.encode(),
            target,
            version,
            credentials,
            fields,
        )

    def connect_head(self, host: str, port: int) -> bytes:
        """The request that opens a tunnel to ``host:port``."""
        name = f"[{host}]" if ":" in host else host
        authority = f"{name}:{port}".encode()
        return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (authority, authority, self._credentials())

    def _credentials(self) -> bytes:
        return f"Proxy-Authorization: {self.authorization}\r\n".encode() if self.authorization else b""


class Proxies:
    """The proxy settings as one value: ``find`` says which proxy, if any, a request goes through."""

    __slots__ = ("_every", "_http", "_https", "_names", "_networks")

    def __init__(
        self, http: str | None = None, https: str | None = None, no_proxy: str | None = None
    ) -> None:
        """URLs as in ``HTTP_PROXY`` and ``HTTPS_PROXY``, and the comma-separated list of ``NO_PROXY``."""
        self._http = Proxy.of_url(http) if http else None
        self._https = Proxy.of_url(https) if https else None
        self._names: list[tuple[str, int | None]] = []
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        entries = [entry.strip().lower() for entry in (no_proxy or "").split(",")]
        self._every = "*" in entries
        for entry in entries:
            if entry and entry != "*":
                self._except(entry)

    def _except(self, entry: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            return
        except ValueError:
            pass  # not an address or network: a name
        name, colon, port = entry.rpartition(":")
        if colon and port.isdigit():
            self._names.append((name.strip("[]").removeprefix("*").lstrip("."), int(port)))
        else:
            self._names.append((entry.removeprefix("*").lstrip("."), None))

    def find(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy for ``scheme://host:port``, None to go there directly. Loopback is always direct."""
        proxy = self._https if scheme == "https" else self._http
        return None if proxy is None or self._direct(host.lower(), port) else proxy

    def _direct(self, host: str, port: int) -> bool:
        if self._every or host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            pass  # a name
        else:
            # Mixed families never contain each other; ipaddress says False, it does not raise.
            if address.is_loopback or any(address in network for network in self._networks):
                return True
        return any(
            (host == name or host.endswith("." + name)) and (wanted is None or wanted == port)
            for name, wanted in self._names
        )
