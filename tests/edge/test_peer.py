from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import BaseRequest
from multidict import CIMultiDict

from apipod_proxy.edge.peer import Peers, is_local

PRIVATE = (ip_network("10.0.0.0/8"), ip_network("127.0.0.0/8"))


def request(peer: str, *forwarded: str) -> BaseRequest:
    """A request as aiohttp hands it over, of a given peer."""
    headers = CIMultiDict([("x-forwarded-for", entry) for entry in forwarded])
    return make_mocked_request("GET", "/", headers=headers).clone(remote=peer)


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.7"], "1.2.3.4"),
        ("10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ['"1.2.3.4"'], "1.2.3.4"),
        ("10.0.0.1", ["evil\x1b[31m"], "10.0.0.1"),
        ("10.0.0.1", ["unknown, 10.0.0.9"], "10.0.0.9"),
    ],
)
def test_the_client_is_the_rightmost_address_that_no_trusted_proxy_has(
    peer: str, forwarded: list[str], client: str
) -> None:
    assert Peers(PRIVATE).client_of(request(peer, *forwarded)) == client


def test_nobody_is_trusted_unless_configured() -> None:
    assert Peers(()).client_of(request("127.0.0.1", "1.2.3.4")) == "127.0.0.1"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_local(peer: str) -> None:
    assert is_local(request(peer))


def test_what_a_local_proxy_forwards_is_not_local() -> None:
    assert not is_local(request("127.0.0.1", "1.2.3.4"))
    assert not is_local(request("203.0.113.9"))
    assert not is_local(request("not an address"))
