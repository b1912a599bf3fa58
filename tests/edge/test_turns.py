"""Requests that come together begin a few at a time."""

from __future__ import annotations

import asyncio

from apipod_proxy.edge.turns import MOST, Turns


class Person:
    def __init__(self, name: int, begun: list[int]) -> None:
        self._name = name
        self._begun = begun

    def start(self) -> None:
        self._begun.append(self._name)


async def test_one_that_is_alone_begins_at_once() -> None:
    turns, begun = Turns(asyncio.get_running_loop()), list[int]()
    for name in range(3):
        turns.enter(Person(name, begun))
        assert begun[-1] == name
        await asyncio.sleep(0)


async def test_many_begin_a_few_in_a_turn_and_in_their_order() -> None:
    turns, begun = Turns(asyncio.get_running_loop()), list[int]()
    for name in range(5 * MOST + 3):
        turns.enter(Person(name, begun))
    seen = [len(begun)]
    while len(begun) < 5 * MOST + 3:
        await asyncio.sleep(0)
        seen.append(len(begun))
    assert seen == [MOST, 2 * MOST, 3 * MOST, 4 * MOST, 5 * MOST, 5 * MOST + 3]
    assert begun == list(range(5 * MOST + 3))


async def test_who_comes_later_does_not_begin_before_those_who_wait() -> None:
    turns, begun = Turns(asyncio.get_running_loop()), list[int]()
    for name in range(2 * MOST + 1):
        turns.enter(Person(name, begun))
    await asyncio.sleep(0)
    turns.enter(Person(2 * MOST + 1, begun))
    while len(begun) < 2 * MOST + 2:
        await asyncio.sleep(0)
    assert begun == sorted(begun)


async def test_the_room_of_a_turn_is_there_again_in_the_next() -> None:
    turns, begun = Turns(asyncio.get_running_loop()), list[int]()
    for _ in range(3):
        for name in range(MOST):
            turns.enter(Person(name, begun))
        await asyncio.sleep(0)
    assert len(begun) == 3 * MOST
