from __future__ import annotations

from apipod_proxy.dialect.dropped import Dropped, knobs
from apipod_proxy.dialect.vocabulary import Call, Opaque


def test_each_name_stands_once_and_in_order() -> None:
    dropped = Dropped()
    for name in ("b", "a", "b", ""):
        dropped.add(name)
    assert dropped == ["b", "a"]


def test_knobs_without_a_value_are_not_named_and_private_fields_are() -> None:
    dropped = Dropped()
    dropped.add_set({"seed": 0, "user": None, "metadata": {}})
    call = Call("gemini", "m", [], safety=Opaque("gemini", []), extra=[Opaque("gemini", {}, "labels")])
    dropped.add_private(call)
    assert dropped == ["seed", "metadata", "safety", "labels"]


def test_a_limit_is_cut_to_what_the_model_gives_and_that_is_noted() -> None:
    dropped = Dropped()
    assert [dropped.cut(100, None), dropped.cut(100, 100), dropped.cut(99, 100)] == [100, 100, 99]
    assert dropped == []
    assert [dropped.cut(101, 100), dropped.cut(500, 100)] == [100, 100]
    assert dropped == ["max_tokens"]


def test_knobs_of_tools_are_named_without_the_place_of_the_tool() -> None:
    assert knobs(()) == ""
    assert knobs(("a", "b")) == "tools.a, tools.b"
