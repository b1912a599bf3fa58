"""The end of a connection whose client still sends."""

from __future__ import annotations

import asyncio

import pytest

from apipod_proxy.edge.goodbye import MOST_BYTES, Goodbye


class Wire(asyncio.Transport):
    """Writes down what is asked of it."""

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._fault = fault

    def write_eof(self) -> None:
        self.calls.append("eof")
        if self._fault is not None:
            raise self._fault

    def resume_reading(self) -> None:
        self.calls.append("read")

    def abort(self) -> None:
        self.calls.append("abort")


def test_a_bounded_rest_is_read_away_in_a_bounded_time() -> None:
    wire = Wire()
    due: list[tuple[float, object]] = []
    goodbye = Goodbye(wire, lambda *call: due.append(call), print)
    assert (wire.calls, due) == (["eof", "read"], [(1.0, print)])
    goodbye.discard(bytes(MOST_BYTES))
    assert wire.calls == ["eof", "read"]
    goodbye.discard(b"x")
    assert wire.calls == ["eof", "read", "abort"]


@pytest.mark.parametrize("fault", [OSError("gone"), RuntimeError("closed")])
def test_a_client_that_has_left_is_cut_at_once(fault: Exception) -> None:
    wire = Wire(fault)
    Goodbye(wire, lambda *_: None, print)
    assert wire.calls == ["eof", "abort"]
