from __future__ import annotations

import base64

from apipod_proxy.simulator.ask import Ask, data_size, media_url, strings


def test_the_size_of_data_is_told_from_its_base64() -> None:
    for size in range(7):
        assert data_size(base64.b64encode(bytes(size)).decode()) == size


def test_a_data_url_is_described_by_type_and_size() -> None:
    assert media_url("data:image/png;base64,AAAA") == "image/png, 3 bytes"
    assert media_url("https://example.com/a.png") == "https://example.com/a.png"


def test_strings_takes_one_or_many() -> None:
    assert strings("a") == ["a"]
    assert strings(["a", 1, "b"]) == ["a", "b"]
    assert strings(None) == []


def test_results_count_rounds_until_the_user_speaks() -> None:
    ask = Ask("m")
    ask.says("one")
    ask.returns([("t", "r")])
    ask.returns([("t", "s")])
    assert (ask.user, ask.results, ask.rounds) == ("one", [("t", "s")], 2)
    ask.says("two")
    assert (ask.user, ask.results, ask.rounds) == ("two", [], 0)
