from __future__ import annotations

import pytest

from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.proxy import Proxy


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "authority"),
    [
        ("https://api.test/v1", "https", "api.test", 443, "api.test"),
        ("http://api.test", "http", "api.test", 80, "api.test"),
        ("http://API.test:8080/v1/", "http", "api.test", 8080, "api.test:8080"),
        ("https://api.test:80", "https", "api.test", 80, "api.test:80"),
        ("http://[::1]:8000", "http", "::1", 8000, "[::1]:8000"),
        ("https://[2001:db8::1]", "https", "2001:db8::1", 443, "[2001:db8::1]"),
        ("https://user:pw@api.test", "https", "api.test", 443, "api.test"),
    ],
)
def test_an_endpoint_is_read_from_a_base_url(
    url: str, scheme: str, host: str, port: int, authority: str
) -> None:
    endpoint = Endpoint.of_url(url)
    assert (endpoint.scheme, endpoint.host, endpoint.port, endpoint.authority) == (
        scheme,
        host,
        port,
        authority,
    )
    assert endpoint.tls is (scheme == "https")


@pytest.mark.parametrize("url", ["ftp://api.test", "api.test", "https://", "/v1", "http://api.test:99999"])
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Endpoint.of_url(url)


def test_connections_are_shared_by_what_they_are_and_not_by_their_bounds() -> None:
    endpoint = Endpoint.of_url("https://api.test/v1")
    assert endpoint.key == Endpoint.of_url("https://api.test/v2", max_connections=3, keepalive=1).key
    others = [
        Endpoint.of_url("http://api.test:443"),
        Endpoint.of_url("https://api.test:444"),
        Endpoint.of_url("https://b.test"),
        Endpoint.of_url("https://api.test", partition="b"),
        Endpoint.of_url("https://api.test", ca_file="/ca.pem"),
        Endpoint.of_url("https://api.test", proxy=Proxy("p.test", 80)),
    ]
    assert len({endpoint.key, *(other.key for other in others)}) == 7
