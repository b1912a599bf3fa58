"""Which URLs of strangers may be fetched: those that can only lead to the public internet. Pure.

A URL is read once, strictly, and what two programs could read differently is refused. Its host is a public address or a name; what a name
resolves to is judged by ``is_public`` before anything is dialled, and that very address is dialled. Ports are 80, 443 and those from 1024 on,
so that nobody is made to talk to mail servers and the like.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, urljoin

LONGEST_URL = 8192
LOWEST_PORT = 1024
WEB_PORTS = (80, 443)

_URL = re.compile(r"(?i)(https?)://([^/?#]*)([^#]*)(?:#.*)?\Z")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(\d{1,5}))?\Z")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|\d+)\Z")
_QUAD = re.compile(r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}\Z")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\^`{|}<>\"]")

# Names that have no meaning outside of a local network or a machine.
_LOCAL_SUFFIXES = (
    *("localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "private", "test"),
    *("home.arpa", "invalid", "example", "onion", "alt", "in-addr.arpa", "ip6.arpa"),
)

# IANA's special-purpose registries (RFC 6890 and later), as of 2026, and an address of Azure's metadata within a public range.
_CLOSED_V4 = tuple(
    ipaddress.IPv4Network(net)
    for net in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
)
# Of IPv6 only the unicast range in use is open. Closed within it: Teredo and the other protocol assignments, documentation, 6to4.
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    ipaddress.IPv6Network(net)
    for net in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
# A network without IPv4 sees all of it behind this prefix.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Unfetchable(Exception):
    """A URL that is not fetched, or could not be; the text says why and is safe to show."""


class Url(NamedTuple):
    """A URL that may be fetched, as far as its text tells. ``host`` is in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, percent-encoded."""
    literal: bool
    """The host is an address."""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        return self.origin + self.target


def read_url(text: str, trusted: frozenset[str] = frozenset()) -> Url:
    """``text`` as a URL that may be fetched. ``trusted``: origins that are exempt from every rule but that of the syntax.

    Raises Unfetchable.
    """
    if len(text) > LONGEST_URL:
        raise Unfetchable("The URL is too long.")
    if _UNSAFE.search(text):
        raise Unfetchable("The URL holds characters that must be percent-encoded.")
    found = _URL.match(text)
    if found is None:
        raise Unfetchable("Only http:// and https:// URLs are fetched.")
    scheme, authority, target = found[1].lower(), found[2], found[3]
    if "@" in authority:
        raise Unfetchable("A URL with a user name or a password is not fetched.")
    place = _AUTHORITY.match(authority)
    if place is None:
        raise Unfetchable("The URL has no valid host.")
    port = int(place[2]) if place[2] else (443 if scheme == "https" else 80)
    host, literal = _host(place[1])
    try:
        target = quote(target, safe="/?%:@!$&'()*+,;=-._~[]")
    except UnicodeEncodeError as exc:
        raise Unfetchable("The URL holds characters that must be percent-encoded.") from exc
    url = Url(scheme, host, port, target if target.startswith("/") else f"/{target}", literal)
    if url.origin not in trusted:
        _check(url)
    return url


def follow(url: Url, location: str, trusted: frozenset[str] = frozenset()) -> Url:
    """Where a redirect of ``url`` leads. Raises Unfetchable."""
    if _UNSAFE.search(location):
        raise Unfetchable("It redirects to what is no URL.")
    try:
        return read_url(urljoin(str(url), location), trusted)
    except ValueError as exc:
        raise Unfetchable("It redirects to what is no URL.") from exc


def same_site(url: Url, target: Url) -> bool:
    """Whether what was sent to ``url`` may be sent to ``target``: the same origin, or the same host by its usual port and now encrypted."""
    upgraded = (url.scheme, url.port, target.scheme, target.port) == ("http", 80, "https", 443)
    return url.origin == target.origin or (url.host == target.host and upgraded)


def is_public(address: str) -> bool:
    """Whether ``address``, as a resolver gives it, belongs to the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in net for net in _CLOSED_V4)
    if ip.scope_id is not None:
        return False
    if ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip in _OPEN_V6 and not any(ip in net for net in _CLOSED_V6)


def _host(text: str) -> tuple[str, bool]:
    """(the host in its one form, whether it is an address)."""
    if text.startswith("["):
        try:
            return ipaddress.IPv6Address(text[1:-1]).compressed, True
        except ValueError as exc:
            raise Unfetchable("The URL has no valid host.") from exc
    try:
        # Also turns digits of other scripts into the usual ones, which are then seen below.
        host = text.lower() if text.isascii() else text.encode("idna").decode().lower()
    except UnicodeError as exc:
        raise Unfetchable("The URL has no valid host.") from exc
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.match(label) for label in labels):
        raise Unfetchable("The URL has no valid host.")
    if not _NUMBER.match(labels[-1]):
        return host, False
    # Whatever ends in a number is an address to some programs, in octal, hexadecimal or with fewer parts: one form is taken.
    if not _QUAD.match(host) or any(int(label) > 255 for label in labels):
        raise Unfetchable("The URL has no valid host.")
    return host, True


def _check(url: Url) -> None:
    if url.port not in WEB_PORTS and not LOWEST_PORT <= url.port <= 65535:
        raise Unfetchable(f"Port {url.port} is not one that files are fetched from.")
    if url.literal:
        if not is_public(url.host):
            raise not_public()
    elif "." not in url.host or any(
        url.host == suffix or url.host.endswith(f".{suffix}") for suffix in _LOCAL_SUFFIXES
    ):
        raise not_public()


def not_public() -> Unfetchable:
    """The refusal of a host, in words that tell nothing of what it resolves to."""
    return Unfetchable("The host of the URL is not on the public internet.")
