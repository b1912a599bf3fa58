from __future__ import annotations

import pytest

from apipod_proxy.simulator.script import Script, UnknownKnob, read_knobs, read_script


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", Script()),
        ("sim-100-20", Script(events=100, gap=20)),
        ("sim-5-0.5", Script(events=5, gap=0.5)),
        ("openai/sim-3-0", Script(events=3)),
        ("models/sim-3-0+cut=2", Script(events=3, cut=2)),
        ("gpt-4o+status=429;retry_after=2,no-usage", Script(status=429, retry_after="2", no_usage=True)),
        ("x+thinking+tool=a|b", Script(thinking=True, tool="a|b")),
        ("sim-3-0+events=9", Script(events=9)),
        ("c4ai-command-r+", Script()),
        ("a+b", Script()),
        ("sim-3", Script()),
        ("x+text=a%20b%3B", Script(text="a b;")),
        ("x+thinking=0", Script()),
    ],
)
def test_the_models_name_holds_a_script(model: str, expected: Script) -> None:
    assert read_script(model) == expected


def test_a_fault_wins_over_the_header_and_the_header_over_the_name() -> None:
    script = read_script("sim-5-10+cut=1;stall=1", "cut=2;gap=3", {"cut": 4})
    assert script == Script(events=5, gap=3, cut=4, stall=1)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        ("nonsense=1", "unknown knob 'nonsense'"),
        ("cut=x", "cut wants a number, not 'x'"),
        ("cut", "wants a number"),
    ],
)
def test_a_header_that_means_nothing_is_a_mistake(header: str, complaint: str) -> None:
    with pytest.raises(UnknownKnob, match=complaint):
        read_script("x", header)


def test_blanks_and_empty_words_do_not_matter() -> None:
    assert read_knobs(" cut = 3 ;; no_done ,") == {"cut": 3, "no_done": True}
