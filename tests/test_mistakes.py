from __future__ import annotations

from apipod_proxy.mistakes import OperatorMistake


def test_each_mistake_is_a_line() -> None:
    mistake = OperatorMistake("one", "two")
    assert mistake.lines == ["one", "two"]
    assert str(mistake) == "one\ntwo"
