"""The interface of the two back ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from apipod_proxy.limit.buckets import Cell, Gauge
from apipod_proxy.limit.model import Admission, Counter, Level, Row, Waited


class Half:
    """Counters that are taken together: all of them or none. Compiled once, good for a catalog's life."""

    __slots__ = ("__weakref__", "cells", "counters", "gauges", "ones", "tokens")

    def __init__(
        self, counters: Sequence[Counter], cells: Sequence[Cell], capacities: Sequence[int | None]
    ) -> None:
        """``capacities``: the most tokens that a reservation takes from each; None where requests are counted, not tokens."""
        self.counters = tuple(counters)
        self.cells = tuple(cells)
        self.ones: tuple[Cell, ...] = tuple(
            c for c, most in zip(cells, capacities, strict=True) if most is None
        )
        self.tokens: tuple[tuple[Cell, int], ...] = tuple(
            (c, most) for c, most in zip(cells, capacities, strict=True) if most is not None
        )
        self.gauges: tuple[Gauge, ...] = tuple(c for c in cells if isinstance(c, Gauge))

    def __repr__(self) -> str:
        return f"<Half of {', '.join(f'{c.scope} {c.kind}' for c in self.counters) or 'nothing'}>"


AdmitNow = Callable[[Half | None, Half | None, int], Admission]


class Limits(Protocol):
    @property
    def admit_now(self) -> AdmitNow | None:
        """``admit`` as a plain call; None where somebody else has to be asked."""
        ...

    def half(self, counters: Sequence[Counter]) -> Half:
        """Compile ``counters``. The level of one that is known already is kept, also under new numbers."""

    async def admit(self, caller: Half | None, candidate: Half | None, tokens: int) -> Admission:
        """Take both halves in one step, each whole or not at all; ``tokens`` is the reservation (see ``estimate.reserve``).

        A refused caller leaves nothing taken, a refused candidate leaves the caller's half taken. No counter reserves more than its
        capacity. Never raises because of a back end that is away.
        """

    def waiting(self, line: str) -> int:
        """How many wait in ``line``. Who comes newly to a route that lets requests wait should ``wait`` too, or it would push in."""

    async def wait(
        self, candidates: Sequence[Half], tokens: int, *, line: str, key: str, max_wait: float
    ) -> Waited:
        """Take the first of ``candidates`` that has room, waiting up to ``max_wait`` seconds for one.

        ``line`` is the name that was asked for, ``key`` the caller: keys take turns within a line, each in its own order. At once refused is
        who would wait too long for certain, and who comes to a line that is full. A cancelled wait leaves nothing taken.
        """

    def levels(self, half: Half) -> list[Level]:
        """What is left of each counter, as far as this process knows."""

    def seed(self, rows: Iterable[Row]) -> None:
        """Take over what was used before: the rows of ``snapshot``, or window totals from the usage log."""

    def snapshot(self) -> Iterator[list[Row]]:
        """All that is worth keeping over a restart and has changed since it was last told, in parts: there may be tens of thousands,
        and who draws them may let others run in between."""

    def status(self) -> str:
        """Empty if all is well, else "degraded: …" with the reason."""

    async def close(self) -> None:
        """Deliver what is outstanding and let go of every resource."""
