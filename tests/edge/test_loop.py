from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Iterator

import pytest
import uvloop
from blockbuster import BlockBuster

from apipod_proxy.edge.loop import SAMPLE_SECONDS, YOUNG, LoopLag, raise_descriptor_limit, run, settle_memory


@pytest.fixture
def collector_as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_the_loop_is_uvloop_and_gives_back_the_exit_code() -> None:
    async def main() -> int:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        return 7

    assert run(main()) == 7


@pytest.mark.usefixtures("collector_as_it_was")
def test_what_lives_at_the_start_is_not_collected_again() -> None:
    settle_memory()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold()[0] == YOUNG


def test_as_many_descriptors_as_may_be_had_are_taken() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        assert (
            raise_descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(before[1], 1024)
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_blocked_loop_shows_as_lag(no_blocking_calls: BlockBuster) -> None:
    no_blocking_calls.deactivate()
    lag = LoopLag()
    lag.start(asyncio.get_running_loop())
    await asyncio.sleep(0)
    time.sleep(SAMPLE_SECONDS + 0.15)
    await asyncio.sleep(0.02)
    assert lag.worst() >= 0.1
    assert lag.worst() <= lag.last
    lag.stop()
