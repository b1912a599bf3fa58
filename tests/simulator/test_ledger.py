from __future__ import annotations

import pytest

from apipod_proxy.simulator.ledger import Counts, Faults, Memory, Recorded, Stats
from apipod_proxy.simulator.script import UnknownKnob


def test_a_visit_is_counted_everywhere_it_belongs() -> None:
    stats = Stats()
    with stats.visit("/p", "m", "k") as first:
        first.start_stream()
        with stats.visit("/p", "n", "k") as second:
            assert (stats.open, stats.open_streams, stats.peak) == (2, 1, 2)
            second.abort()
    assert (
        stats.total
        == stats.keys["k"]
        == stats.paths["/p"]
        == Counts(requests=2, streams=1, aborted=1, peak=2, peak_streams=1)
    )
    assert stats.models["n"] == Counts(requests=1, aborted=1, peak=1)
    assert stats.as_dict()["models"]["m"]["streams"] == 1


def test_a_reset_keeps_what_is_open() -> None:
    stats = Stats()
    with stats.visit("/p", "m", "k") as visit:
        visit.start_stream()
        with stats.visit("/q", "n", "l"):
            pass
        stats.reset()
        assert (stats.requests, stats.open_streams, stats.peak) == (0, 1, 1)
        assert list(stats.models) == ["m"]
    assert stats.open == 0


def test_made_up_names_do_not_grow_the_books() -> None:
    stats = Stats()
    for number in range(1010):
        with stats.visit("/p", str(number), "k"):
            pass
    assert len(stats.models) == 1001
    assert stats.models["(other)"].requests == 10


def test_unknown_counts_are_no_attributes() -> None:
    with pytest.raises(AttributeError):
        _ = Stats().nonsense


def test_a_fault_concerns_what_it_names() -> None:
    faults = Faults()
    faults.set("status=500", key="a")
    faults.set("cut=1", model="m")
    faults.set("delay=5", path="/v1/messages")
    assert faults.find("/v1/responses", "x", "a") == {"status": 500}
    assert faults.find("/v1/responses", "m", "a") == {"status": 500, "cut": 1}
    assert faults.find("/v1/messages", "x", "b") == {"delay": 5.0}
    assert faults.find("/x", "x", "b") == {}


@pytest.mark.parametrize(("share", "fired"), [(1.0, 12), (0.5, 6), (0.25, 3), (0.1, 1), (0.0, 0)])
def test_a_share_is_kept_exactly(share: float, fired: int) -> None:
    faults = Faults()
    faults.set("status=500", share=share)
    assert sum(bool(faults.find("/p", "m", "k")) for _ in range(12)) == fired


def test_faults_are_replaced_and_taken_away() -> None:
    faults = Faults()
    faults.set("status=500", key="a")
    faults.set("status=503", key="a")
    faults.set("cut=1")
    assert faults.as_list()[0] == {
        "fault": "status=503",
        "key": "a",
        "model": None,
        "path": None,
        "share": 1.0,
    }
    faults.set("", key="a")
    assert [fault["fault"] for fault in faults.as_list()] == ["cut=1"]
    faults.clear()
    assert faults.as_list() == []
    with pytest.raises(UnknownKnob):
        faults.set("nonsense")


def test_memory_forgets_the_oldest() -> None:
    memory = Memory(size=2)
    assert [memory.knows_prefix(p) for p in (b"a", b"a", b"b", b"c", b"a")] == [
        False,
        True,
        False,
        False,
        False,
    ]
    memory.store("r", [1])
    assert memory.stored("r") == [1]
    assert memory.stored("s") is None


def test_a_recorded_body_is_parsed_when_it_is_json() -> None:
    assert Recorded("POST", "/", "", {}, b'{"a":1}').body == {"a": 1}
    assert Recorded("POST", "/", "", {}, b"\xff{").body == "\ufffd{"
    assert Recorded("GET", "/", "", {"x": "y"}, b"").as_dict() == {
        "method": "GET",
        "path": "/",
        "query": "",
        "headers": {"x": "y"},
        "body": None,
    }
