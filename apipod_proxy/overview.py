"""What a process says of itself, and of its siblings: the figures of ``/metrics``, the report of ``/health``, and how accounts do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from apipod_proxy.edge.health import Health
from apipod_proxy.edge.metrics import workers_text
from apipod_proxy.edge.siblings import ACCOUNTS, HEALTH, METRICS, Siblings
from apipod_proxy.usage.metrics import Dump, Metrics, merge

Gauges = Callable[[], dict[str, float]]
Totals = Callable[[], dict[str, int]]
States = Callable[[], Sequence[Mapping[str, object]]]
"""Rows with ``provider`` and ``account``, and how it stands with them."""


class Overview:
    """What it is made of is read when somebody asks; ``siblings`` is set where there is more than one worker."""

    def __init__(
        self, health: Health, metrics: Metrics, gauges: Gauges, totals: Totals, states: States
    ) -> None:
        self.siblings: Siblings | None = None
        self._health = health
        self._metrics = metrics
        self._gauges = gauges
        self._totals = totals
        self._states = states

    def answers(self) -> dict[str, Callable[[], bytes]]:
        """What a sibling may ask this worker."""
        return {
            METRICS: lambda: orjson.dumps(self.dump()),
            HEALTH: lambda: orjson.dumps(
                {**self._health.report(), "ready": self._health.not_ready() is None}
            ),
            ACCOUNTS: lambda: orjson.dumps(self._states()),
        }

    def dump(self) -> Dump:
        """The figures of this process."""
        for name, value in self._gauges().items():
            self._metrics.gauge(name, value)
        for name, total in self._totals().items():
            self._metrics.set_count(name, total)
        return self._metrics.dump()

    async def text(self) -> bytes:
        """The figures of all workers, for Prometheus."""
        # The library takes 80 ms to import: on a thread, and only where somebody scrapes.
        exposition = await asyncio.to_thread(_exposition)
        siblings = self.siblings
        if siblings is None:
            text: bytes = exposition.render(self.dump())
            return text + workers_text({0: True})
        answers = await siblings.ask(METRICS)
        dumps = [self.dump(), *(orjson.loads(answer) for answer in answers.values() if answer is not None)]
        answered = {number: answer is not None for number, answer in answers.items()} | {siblings.index: True}
        merged: bytes = exposition.render(merge(dumps))
        return merged + workers_text(answered)

    async def accounts(self) -> list[Mapping[str, object]]:
        """How accounts do, as every worker has met them; each row says whose it is where there are several."""
        siblings = self.siblings
        if siblings is None:
            return list(self._states())
        answers = await siblings.ask(ACCOUNTS)
        found = {number: orjson.loads(answer) for number, answer in answers.items() if answer is not None}
        found[siblings.index] = self._states()
        return [{**row, "worker": number} for number, rows in sorted(found.items()) for row in rows]

    def report(self) -> dict[str, object]:
        """The health of all workers, as this one last heard of the others."""
        report = self._health.report()
        siblings = self.siblings
        if siblings is None:
            return report
        degraded: list[str] = list(self._health.degraded())
        workers: dict[str, str] = {str(siblings.index): _word(report)}
        for number, other in siblings.reports().items():
            if other is None:
                degraded.append(f"worker {number} does not answer")
                workers[str(number)] = "missing"
                continue
            workers[str(number)] = _word(other)
            # What is wrong for all of them is said once.
            degraded += (f"worker {number}: {said}" for said in other["degraded"] if said not in degraded)
        return {**report, "degraded": degraded, "workers": dict(sorted(workers.items()))}


def _word(report: dict[str, Any]) -> str:
    return str(report["status"])


def _exposition() -> Any:
    # Deferred on purpose, see above.
    from apipod_proxy.usage import exposition

    return exposition
