from __future__ import annotations

import asyncio
from typing import Any

from apipod_proxy.burst import MOST, Burst


class Wire(asyncio.Transport):
    """Notes what is written, in the order of all wires."""

    def __init__(self, seen: list[bytes], *, broken: bool = False) -> None:
        super().__init__()
        self.seen = seen
        self.closing = False
        self.broken = broken

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: Any) -> None:
        if self.broken:
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.seen.append(data)


def crowded() -> Burst:
    burst = Burst(asyncio.get_running_loop())
    burst.crowd = 2
    return burst


async def test_a_request_that_is_alone_waits_for_nobody() -> None:
    seen: list[bytes] = []
    burst = Burst(asyncio.get_running_loop())
    burst.crowd = 1
    burst.write(Wire(seen), b"1")
    assert seen == [b"1"]


async def test_writes_leave_together_in_their_order() -> None:
    seen: list[bytes] = []
    burst, one, two = crowded(), Wire(seen), Wire(seen)
    burst.write(one, b"1")
    burst.write(two, b"2")
    burst.write(one, b"3")
    assert seen == []
    await asyncio.sleep(0)
    assert seen == [b"1", b"2", b"3"]
    burst.write(one, b"4")
    await asyncio.sleep(0)
    assert seen[3:] == [b"4"]


async def test_no_more_than_a_few_wait() -> None:
    seen: list[bytes] = []
    burst, wire = crowded(), Wire(seen)
    for number in range(MOST + 1):
        burst.write(wire, b"%d" % number)
    assert len(seen) == MOST
    await asyncio.sleep(0)
    assert len(seen) == MOST + 1


async def test_what_cannot_wait_is_written_now() -> None:
    seen: list[bytes] = []
    burst = crowded()
    burst.write(Wire(seen), b"1")
    burst.flush()
    assert seen == [b"1"]
    await asyncio.sleep(0)
    assert seen == [b"1"]


async def test_closed_transports_cost_the_others_nothing() -> None:
    seen: list[bytes] = []
    burst, gone = crowded(), Wire(seen)
    burst.write(gone, b"gone")
    burst.write(Wire(seen, broken=True), b"broken")
    burst.write(Wire(seen), b"here")
    gone.closing = True
    await asyncio.sleep(0)
    assert seen == [b"here"]
