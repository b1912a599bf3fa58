from __future__ import annotations

from apipod_proxy.edge.cors import Cors


def test_nothing_is_allowed_unless_configured() -> None:
    cors = Cors(())
    assert not cors
    assert cors.headers("https://a.example") == []


def test_an_origin_is_allowed_exactly() -> None:
    cors = Cors(("https://a.example/",))
    assert dict(cors.headers("https://a.example"))["access-control-allow-origin"] == "https://a.example"
    assert cors.headers("https://a.example.evil") == []
    assert cors.headers(None) == []


def test_a_star_allows_all() -> None:
    assert dict(Cors(("*",)).headers("http://x"))["access-control-allow-origin"] == "*"
