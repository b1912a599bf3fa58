"""A long run of mixed load at a steady rate, with a look at memory, file descriptors and tasks once in a while.

Nothing may grow: what a request leaves behind is too little to see in a minute and fills a server in a month.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import aiohttp
from load import rss, tree
from proxies import Proxy

TASKS = re.compile(r"^apipod_event_loop_tasks (\d+)", re.MULTILINE)
LOOKS = 60
"""Samples of a run, the first quarter of which is warming up."""
FLAT = 1.05
FEW = 10
"""Descriptors and tasks that come and go with idle connections."""
REST_SECONDS = 0.5
PER_SECOND = 20
AT_ONCE = 200
TEXT = "Tell me something about rivers. "


@dataclass(slots=True)
class Sample:
    minute: float
    memory_mb: float
    descriptors: int
    tasks: int


@dataclass(slots=True)
class Soaked:
    """``asked`` and ``wrong`` by kind of request; ``samples`` over the time."""

    asked: dict[str, int] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def settled(self) -> list[Sample]:
        return self.samples[len(self.samples) // 4 :]

    def growth(self, name: str) -> float:
        """The median of the last quarter as a ratio to the one before half-time."""
        values = [float(getattr(sample, name)) for sample in self.settled()]
        part = max(1, len(values) // 3)
        return statistics.median(values[-part:]) / max(1.0, statistics.median(values[:part]))

    @property
    def flat(self) -> bool:
        settled = self.settled()
        spread = {
            name: max(getattr(sample, name) for sample in settled)
            - min(getattr(sample, name) for sample in settled)
            for name in ("descriptors", "tasks")
        }
        return self.growth("memory_mb") <= FLAT and all(
            self.growth(name) <= FLAT or spread[name] <= FEW for name in spread
        )


class Mix:
    """The kinds of requests, each as a client would make it."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession) -> None:
        self.proxy = proxy
        self.session = session

    async def whole(self) -> bool:
        status, body = await self._chat("bench-20-0", stream=False)
        return status == 200 and b'"finish_reason":"stop"' in body

    async def streamed(self) -> bool:
        status, body = await self._chat("bench-50-20", stream=True)
        return status == 200 and body.endswith(b"data: [DONE]\n\n")

    async def translated(self) -> bool:
        asked = {
            "model": "bench-50-20",
            "max_tokens": 100,
            "stream": True,
            "messages": [{"role": "user", "content": TEXT}],
        }
        status, body = await self._post("/v1/messages", asked)
        return status == 200 and b"event: message_stop" in body

    async def long(self) -> bool:
        status, _ = await self._chat("bench-20-0", stream=False, text=TEXT * 5000)
        return status == 200

    async def cancelled(self) -> bool:
        asked = self._body("bench-50-20", stream=True)
        async with self.session.post(
            f"{self.proxy.url}/v1/chat/completions", json=asked, headers=self._headers()
        ) as answer:
            await answer.content.readany()
            answer.close()
            return answer.status == 200

    async def unknown_key(self) -> bool:
        status, _ = await self._chat("bench-20-0", stream=False, key=f"apk_{random.random()}")
        return status == 401

    async def unknown_model(self) -> bool:
        status, _ = await self._chat(f"none-{random.random()}", stream=False)
        return status == 404

    async def no_json(self) -> bool:
        async with self.session.post(
            f"{self.proxy.url}/v1/chat/completions", data=b"{", headers=self._headers()
        ) as answer:
            return answer.status == 400

    def _headers(self, key: str | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {key or self.proxy.key}", "content-type": "application/json"}

    def _body(self, model: str, *, stream: bool, text: str = TEXT) -> dict[str, object]:
        return {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}

    async def _chat(
        self, model: str, *, stream: bool, text: str = TEXT, key: str | None = None
    ) -> tuple[int, bytes]:
        body = self._body(model, stream=stream, text=text)
        return await self._post("/v1/chat/completions", body, key)

    async def _post(self, path: str, body: dict[str, object], key: str | None = None) -> tuple[int, bytes]:
        async with self.session.post(self.proxy.url + path, json=body, headers=self._headers(key)) as answer:
            return answer.status, await answer.read()


SHARES = {
    "whole": 40,
    "streamed": 25,
    "translated": 15,
    "long": 5,
    "cancelled": 5,
    "unknown_key": 4,
    "unknown_model": 3,
    "no_json": 3,
}


async def soak(proxy: Proxy, minutes: float, progress: Path | None = None) -> Soaked:
    """Ask for ``minutes``; samples also go to ``progress``, line by line."""
    result = Soaked()
    places = asyncio.Semaphore(AT_ONCE)
    draw = random.Random(1)
    started = monotonic()
    # Half of the clients keep their connections, the others come anew each time.
    keeping = aiohttp.TCPConnector(limit=0)
    coming = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        aiohttp.ClientSession(connector=keeping) as one,
        aiohttp.ClientSession(connector=coming) as two,
        asyncio.TaskGroup() as running,
    ):
        mixes = (Mix(proxy, one), Mix(proxy, two))
        watching = running.create_task(watch(proxy, one, places, result, minutes * 60 / LOOKS, progress))
        while monotonic() - started < minutes * 60:
            kind = draw.choices(list(SHARES), list(SHARES.values()))[0]
            await places.acquire()
            running.create_task(ask(mixes[draw.random() < 0.5], kind, result, places))
            await asyncio.sleep(draw.expovariate(PER_SECOND))
        watching.cancel()
    return result


async def ask(mix: Mix, kind: str, result: Soaked, places: asyncio.Semaphore) -> None:
    try:
        right = await getattr(mix, kind)()
    except (aiohttp.ClientError, OSError, TimeoutError):
        right = False
    finally:
        places.release()
    result.asked[kind] = result.asked.get(kind, 0) + 1
    if not right:
        result.wrong[kind] = result.wrong.get(kind, 0) + 1


async def watch(
    proxy: Proxy,
    session: aiohttp.ClientSession,
    places: asyncio.Semaphore,
    result: Soaked,
    seconds: float,
    progress: Path | None,
) -> None:
    """Look every ``seconds``, when nothing is under way: what is there then is there to stay."""
    started = monotonic()
    while True:
        await asyncio.sleep(seconds)
        for _ in range(AT_ONCE):
            await places.acquire()
        await asyncio.sleep(REST_SECONDS)
        async with session.get(f"{proxy.url}/metrics") as answer:
            found = TASKS.search(await answer.text())
        open_files = sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in tree(proxy.pid))
        sample = Sample(
            round((monotonic() - started) / 60, 1),
            round(rss(proxy.pid) / 1e6, 1),
            open_files,
            int(found[1]) if found else -1,
        )
        result.samples.append(sample)
        for _ in range(AT_ONCE):
            places.release()
        if progress is not None:
            with progress.open("a") as file:
                file.write(
                    json.dumps([sample.minute, sample.memory_mb, sample.descriptors, sample.tasks]) + "\n"
                )


def show_soaked(result: Soaked, minutes: float) -> None:
    total, wrong = sum(result.asked.values()), sum(result.wrong.values())
    print(
        f"{minutes:g} minutes of mixed load: {total} requests, {wrong} not answered as they should be {result.wrong or ''}"
    )
    rows = [("minute", "memory MB", "descriptors", "tasks")]
    step = max(1, len(result.samples) // 10)
    rows += [
        (str(s.minute), str(s.memory_mb), str(s.descriptors), str(s.tasks))
        for s in result.samples[step - 1 :: step]
    ]
    for row in rows:
        print("  " + "  ".join(cell.rjust(11) for cell in row))
    told = ", ".join(f"{name} × {result.growth(name):.3f}" for name in ("memory_mb", "descriptors", "tasks"))
    print(
        f"  last third against the first after warming up: {told}: {'flat' if result.flat else 'NOT FLAT'} (bar: ≤ × {FLAT})"
    )
