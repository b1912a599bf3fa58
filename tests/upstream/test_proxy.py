from __future__ import annotations

import pytest

from apipod_proxy.upstream.proxy import Proxies, Proxy


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://p.test:3128", Proxy("p.test", 3128)),
        ("p.test:3128", Proxy("p.test", 3128)),
        ("http://p.test", Proxy("p.test", 80)),
        ("https://p.test", Proxy("p.test", 443, tls=True)),
        ("http://[::1]:8080/", Proxy("::1", 8080)),
        ("http://u%40x:p%3Aw@p.test:1", Proxy("p.test", 1, authorization="Basic dUB4OnA6dw==")),
        ("http://u@p.test:1", Proxy("p.test", 1, authorization="Basic dTo=")),
    ],
)
def test_a_proxy_is_read_from_its_url(url: str, expected: Proxy) -> None:
    assert Proxy.of_url(url) == expected


@pytest.mark.parametrize("url", ["socks5://p.test:1080", "http://", "http://:80", "http://p.test:x"])
def test_what_is_no_proxy_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Proxy.of_url(url)


def test_credentials_are_not_shown() -> None:
    assert repr(Proxy.of_url("http://user:secret@p.test:3128")) == "Proxy(http://p.test:3128)"


def test_proxies_with_other_credentials_share_no_connections() -> None:
    keys = {Proxy.of_url(url).key for url in ("http://a:b@p.test", "http://p.test", "https://p.test:80")}
    assert len(keys) == 3


def test_plain_http_is_asked_for_by_its_whole_url() -> None:
    head = b"POST /v1/x?a=b HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n"
    assert Proxy("p.test", 80).absolute(head, "api.test:81") == (
        b"POST http://api.test:81/v1/x?a=b HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n"
    )
    assert Proxy("p.test", 80, authorization="Basic x").absolute(head, "api.test") == (
        b"POST http://api.test/v1/x?a=b HTTP/1.1\r\nProxy-Authorization: Basic x\r\n"
        b"Host: api.test\r\nContent-Length: 2\r\n\r\n"
    )


def test_a_tunnel_is_asked_for_with_host_and_port() -> None:
    assert Proxy("p.test", 80, authorization="Basic x").connect_head("api.test", 443) == (
        b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\nProxy-Authorization: Basic x\r\n\r\n"
    )
    assert Proxy("p.test", 80).connect_head("::1", 443).startswith(b"CONNECT [::1]:443 HTTP/1.1\r\n")


def test_the_scheme_decides_which_proxy_it_is() -> None:
    proxies = Proxies("http://plain.test:1", "http://secure.test:2")
    assert proxies.find("http", "api.test", 80) == Proxy("plain.test", 1)
    assert proxies.find("https", "api.test", 443) == Proxy("secure.test", 2)
    assert Proxies().find("https", "api.test", 443) is None
    assert Proxies(http="http://plain.test:1").find("https", "api.test", 443) is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("", "api.test", 443, False),
        ("*", "api.test", 443, True),
        ("api.test", "api.test", 443, True),
        ("API.test", "api.TEST", 443, True),
        ("api.test", "eu.api.test", 443, True),
        (".api.test", "eu.api.test", 443, True),
        ("*.api.test", "eu.api.test", 443, True),
        ("api.test", "myapi.test", 443, False),
        ("api.test:8443", "api.test", 443, False),
        ("api.test:8443", "api.test", 8443, True),
        (" other.test , api.test ,", "api.test", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.0.0.0/8", "2001:db8::1", 443, False),
        ("192.0.2.7", "192.0.2.7", 443, True),
        ("2001:db8::/32", "2001:db8::1", 443, True),
        ("[2001:db8::1]", "2001:db8::1", 443, True),
        ("", "localhost", 80, True),
        ("", "db.localhost", 80, True),
        ("", "127.0.0.1", 80, True),
        ("", "::1", 80, True),
    ],
)
def test_no_proxy_rules(no_proxy: str, host: str, port: int, *, direct: bool) -> None:
    found = Proxies("http://p.test:1", "http://p.test:1", no_proxy).find("https", host, port)
    assert (found is None) is direct
