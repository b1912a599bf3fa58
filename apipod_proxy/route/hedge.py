"""When a second candidate is asked because the first is late: after the route's 95th percentile, for few of its requests."""

from __future__ import annotations

from bisect import bisect_left

from apipod_proxy.route.backoff import Share

# Extra requests per request. The budget is earned by requests, so this holds however slow a route becomes.
MOST_EXTRA = 0.05
QUANTILE = 0.95

# Fewer measurements than this say nothing about the slowest of twenty.
ENOUGH = 20

# A route that has always been fast would otherwise hedge on noise.
SHORTEST = 0.05

# The counts are halved at this many, so that the last few hundred requests decide.
HALVE_AT = 512

MAX_ROUTES = 10_000


def _edges() -> tuple[float, ...]:
    """Upper edges of the classes in seconds, each a tenth above the one before, from 10 ms to some minutes."""
    edges = [0.01]
    while edges[-1] < 300:
        edges.append(edges[-1] * 1.1)
    return tuple(edges)


EDGES = _edges()


class Latency:
    """The 95th percentile of a stream of times, within a tenth of its value; older times weigh less."""

    __slots__ = ("_cached", "_counts", "_fresh", "_total")

    def __init__(self) -> None:
        self._counts = [0.0] * (len(EDGES) + 1)
        self._total = 0.0
        self._cached = 0.0
        self._fresh = False

    def observe(self, seconds: float) -> None:
        """Count one time to the first content."""
        self._counts[bisect_left(EDGES, seconds)] += 1.0
        self._total += 1.0
        self._fresh = False
        if self._total >= HALVE_AT:
            self._counts = [count / 2 for count in self._counts]
            self._total /= 2

    def p95(self) -> float | None:
        """Seconds; None while too little was seen."""
        if self._total < ENOUGH:
            return None
        if not self._fresh:
            self._cached = self._quantile()
            self._fresh = True
        return self._cached

    def _quantile(self) -> float:
        above = self._total * (1 - QUANTILE)
        for index in range(len(EDGES), 0, -1):
            above -= self._counts[index]
            if above < 0:
                return EDGES[min(index, len(EDGES) - 1)]
        return EDGES[0]


class Hedges:
    """Times and budgets of all routes of a process, by the name of the route."""

    def __init__(self) -> None:
        self._routes: dict[str, tuple[Latency, Share]] = {}

    def observe(self, route: str, seconds: float) -> None:
        """A request of ``route`` had its first content after ``seconds`` (of the attempt that gave it)."""
        self._of(route)[0].observe(seconds)

    def delay(self, route: str) -> float | None:
        """Seconds after which a request that begins now is late; None while that is not known. Counts the request."""
        latency, share = self._of(route)
        share.earn()
        p95 = latency.p95()
        return None if p95 is None else max(p95, SHORTEST)

    def allowed(self, route: str) -> bool:
        """Whether a late request may ask a second candidate; if so the budget is spent."""
        return self._of(route)[1].try_take()

    def _of(self, route: str) -> tuple[Latency, Share]:
        found = self._routes.get(route)
        if found is None:
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            found = self._routes[route] = (Latency(), Share(MOST_EXTRA))
        return found
