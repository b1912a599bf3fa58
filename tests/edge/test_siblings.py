from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest

from apipod_proxy.edge import siblings
from apipod_proxy.edge.siblings import HEALTH, METRICS, Siblings

Join = Callable[[int], Siblings]


@pytest.fixture
async def join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Join]:
    """Makes worker N of three; its answers say which it is."""
    monkeypatch.setattr(siblings, "ROUND_SECONDS", 0.02)
    made: list[Siblings] = []
    # Deeper than the 107 bytes that the path of a unix socket may have.
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20) / "run" / "1"
    folder.parent.mkdir(parents=True)

    def worker(index: int) -> Siblings:
        answers = {
            METRICS: lambda: b"metrics of %d\n" % index,
            HEALTH: lambda: orjson.dumps({"worker": index}),
        }
        made.append(Siblings(folder, index, 3, answers))
        return made[-1]

    yield worker
    for one in made:
        await one.close()


async def test_a_worker_asks_all_others_and_names_who_is_missing(join: Join) -> None:
    first, second = join(0), join(1)
    await first.start()
    await second.start()
    assert await first.ask(METRICS) == {1: b"metrics of 1\n", 2: None}
    assert await second.ask(METRICS) == {0: b"metrics of 0\n", 2: None}


async def test_health_of_the_others_is_known_without_asking(join: Join) -> None:
    first, second = join(0), join(1)
    await first.start()
    assert first.reports() == {1: None, 2: None}
    await second.start()
    async with asyncio.timeout(2):
        while first.reports()[1] is None:
            await asyncio.sleep(0.01)
    assert first.reports() == {1: {"worker": 1}, 2: None}
    await second.close()
    async with asyncio.timeout(2):
        while first.reports()[1] is not None:
            await asyncio.sleep(0.01)


async def test_a_place_can_be_taken_again_after_a_death(join: Join) -> None:
    first, dead, heir = join(0), join(1), join(1)
    await first.start()
    await dead.start()
    await dead.close()
    await heir.start()
    assert (await first.ask(METRICS))[1] == b"metrics of 1\n"


async def test_what_is_not_asked_for_is_not_answered(join: Join) -> None:
    first, second = join(0), join(1)
    await first.start()
    await second.start()
    assert (await first.ask("secrets"))[1] is None
    assert (await first.ask("x" * 10_000))[1] is None


async def test_nobody_else_can_enter_the_folder(join: Join, tmp_path: Path) -> None:
    worker = join(0)
    await worker.start()
    sockets = next(tmp_path.rglob("worker-0.sock"))
    assert stat.S_IMODE(sockets.parent.stat().st_mode) == 0o700
