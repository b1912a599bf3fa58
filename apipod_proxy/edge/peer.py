"""Who is on the other end, for the log alone: the peer, or what a trusted proxy in front says of it."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp import web

from apipod_proxy.edge.incoming import Incoming, Request

Network = IPv4Network | IPv6Network
FORWARDING_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


class Peers:
    """``trusted``: the networks whose ``x-forwarded-for`` is believed."""

    __slots__ = ("_networks",)

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._networks = trusted

    def client_of(self, request: Request) -> str | None:
        """The client's address: the rightmost one that no trusted proxy has."""
        peer = request.remote
        if not self._networks or peer is None or not self._trusts(peer):
            return peer
        client = peer
        for entry in reversed(forwarded_for(request).split(",")):
            address = _address(entry)
            if address is None:
                break
            client = address
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def forwarded_for(request: Request) -> str:
    """All that the header says; several of them are one list."""
    if isinstance(request, Incoming):
        # No header stands twice in it.
        return request.headers.get("x-forwarded-for", "")
    return ",".join(request.headers.getall("x-forwarded-for", []))


def is_local(request: web.BaseRequest) -> bool:
    """Whether the request comes from this machine itself: a proxy on it that forwards for others does not count."""
    if any(name in request.headers for name in FORWARDING_HEADERS):
        return False
    peer = request.remote
    if peer is None:
        return False
    try:
        parsed = ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def _address(entry: str) -> str | None:
    """The address in one entry of ``x-forwarded-for`` (``1.2.3.4:567``, ``[::1]:8``), or None when there is none."""
    text = entry.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
