"""Which URLs may be fetched, told from their text and from what their hosts resolve to."""

from __future__ import annotations

import pytest

from apipod_proxy.upstream.hosts import Unfetchable, follow, is_public, read_url, same_site


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("http://pics.org/a.png", "http://pics.org/a.png"),
        ("HTTPS://Pics.ORG./a?b=c#d", "https://pics.org/a?b=c"),
        ("https://pics.org", "https://pics.org/"),
        ("https://pics.org?x=1", "https://pics.org/?x=1"),
        ("https://pics.org:443/", "https://pics.org/"),
        ("https://pics.org:8443/ü", "https://pics.org:8443/%C3%BC"),
        ("https://bücher.de/", "https://xn--bcher-kva.de/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://[2606:4700::1111]:8080/%20", "http://[2606:4700::1111]:8080/%20"),
        ("http://127.0.0.1.pics.org/@x", "http://127.0.0.1.pics.org/@x"),
    ],
)
def test_public_urls_are_read_in_their_one_form(text: str, read: str) -> None:
    assert str(read_url(text)) == read


def test_a_trusted_origin_is_exempt_and_no_other() -> None:
    trusted = frozenset({"http://127.0.0.1:9000"})
    assert read_url("http://127.0.0.1:9000/a", trusted).literal
    for text in ("http://127.0.0.1:9001/", "https://127.0.0.1:9000/", "http://u@127.0.0.1:9000/"):
        with pytest.raises(Unfetchable):
            read_url(text, trusted)


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/b", "https://pics.org/b"),
        ("b?c", "https://pics.org/x/b?c"),
        ("//other.org/", "https://other.org/"),
        ("http://other.org:8080/b", "http://other.org:8080/b"),
        ("//10.0.0.1/", None),
        ("file:///etc/passwd", None),
        ("http://localhost/", None),
        ("http://[::1", None),
        ("\\\\10.0.0.1\\", None),
    ],
)
def test_redirects_are_judged_as_urls_are(location: str, leads: str | None) -> None:
    start = read_url("https://pics.org/x/a")
    if leads is None:
        with pytest.raises(Unfetchable):
            follow(start, location)
    else:
        assert str(follow(start, location)) == leads


@pytest.mark.parametrize(
    ("url", "target", "same"),
    [
        ("http://a.org/b", "http://a.org/c", True),
        ("http://a.org/", "https://a.org/", True),
        ("https://a.org/", "http://a.org/", False),
        ("http://a.org:8080/", "https://a.org/", False),
        ("http://a.org/", "https://b.org/", False),
        ("https://a.org/", "https://a.org:8443/", False),
    ],
)
def test_credentials_go_no_further_than_their_site(url: str, target: str, same: bool) -> None:
    assert same_site(read_url(url), read_url(target)) == same


@pytest.mark.parametrize(
    "text",
    [
        "http://" + "a" * 64 + ".org/",
        "http://" + "a." * 130 + "org/",
        "http://pics.org/" + "a" * 9000,
        "http://a..org/",
        "http://-a.org/",
        "http://pics.org:99999/",
        "http://\udcff.org/",
        "http://pics.org/\udcff",
        "http:///a",
        "pics.org/a",
        "",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(Unfetchable):
        read_url(text)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1"),
        *("192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "fe80::1"),
        *("fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "2002:7f00:1::"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "5f00::1", "3fff::1"),
        *("fe80::1%eth0", "2606:4700::1%eth0", "nonsense", "127.1", "0x7f.1", ""),
    ],
)
def test_closed_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "169.253.1.1", "2606:4700::1111", "64:ff9b::808:808"],
)
def test_open_addresses_are_public(address: str) -> None:
    assert is_public(address)
