"""Objects as rows and back."""

from __future__ import annotations

from apipod_proxy.catalog.model import NO_LIMITS, Limit
from apipod_proxy.catalog.rows import Decoder, dump_limits, id_of, load_limits


def test_limits_are_text_and_come_back() -> None:
    limits = {"rpm": Limit(60, 10), "tpd": Limit(5, 5)}
    assert load_limits(dump_limits(limits)) == limits
    assert dump_limits({}) == ""
    assert load_limits("") is NO_LIMITS


def test_equal_texts_become_one_object() -> None:
    decoder = Decoder()
    assert decoder.limits('{"rpm":[1,1]}') is decoder.limits('{"rpm":[1,1]}')
    assert decoder.names('["a"]') is decoder.names('["a"]')
    assert decoder.names(None) is None


def test_an_id_follows_from_kind_and_names() -> None:
    assert id_of("user", "alice") == id_of("user", "alice")
    names = [
        ("user", "alice"),
        ("model", "alice"),
        ("account", "a", "b"),
        ("account", "ab"),
        ("account", "a b"),
    ]
    assert len({id_of(*name) for name in names}) == len(names)
    assert id_of("user", "alice").startswith("user_")
