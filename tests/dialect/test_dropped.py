from __future__ import annotations

from apipod_proxy.dialect.dropped import Dropped


def test_each_name_stands_once_and_in_order() -> None:
    dropped = Dropped()
    for name in ("b", "a", "b", ""):
        dropped.add(name)
    assert dropped == ["b", "a"]
