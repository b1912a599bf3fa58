"""How much to reserve before the answer is known. Nothing is tokenised: estimates come from lengths and from what was seen before."""

from __future__ import annotations

from bisect import bisect_left

UNSEEN_OUTPUT = 1024
"""Reserved for an answer when no maximum was asked for and too few were seen: what is longer becomes debt, what is shorter goes back."""

BYTES_PER_TOKEN = 4
HOP = 8192
LOOK = 64
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
NOTHING = (0, 0)
MEDIA_TOKENS = 1600
"""What providers count for an image of common size; audio and documents are of the same order."""


def input_tokens(size: int, media: int = 0, media_bytes: int = 0) -> int:
    """Estimated tokens of a prompt of ``size`` bytes in which ``media`` attachments make up ``media_bytes``."""
    text = (size - media_bytes) // BYTES_PER_TOKEN
    return (text if text > 1 else 1) + media * MEDIA_TOKENS


def attachments(body: bytes | bytearray) -> tuple[int, int]:
    """How many long runs of base64 a JSON ``body`` holds, and their bytes: images count by their number, not by their size.

    Only one place in every HOP bytes is looked at, so that a long prompt costs microseconds; runs shorter than that may be missed.
    """
    size = len(body)
    if size < HOP + LOOK:
        return NOTHING
    count, held, place = 0, 0, HOP
    while place + LOOK <= size:
        # Most text has a blank there, which is found sooner.
        if body.find(b" ", place, place + LOOK) >= 0 or body[place : place + LOOK].translate(None, BASE64):
            place += HOP
            continue
        start = body.rfind(b'"', place - HOP, place) + 1 or place - HOP
        end = body.find(b'"', place)
        if end < 0:
            end = size
        count, held, place = count + 1, held + end - start, end + HOP
    return count, held


def reserve(
    input_estimate: int,
    max_tokens_asked: int | None,
    model_max: int | None,
    learnt_p99: int | None,
    capacity: int | None = None,
) -> int:
    """Tokens to reserve: the input and the least of what is known about the output, at most ``capacity``."""
    # Written out, because this runs for every request.
    known = max_tokens_asked
    if known is None:
        # A model's maximum alone is no forecast: 64,000 tokens held for each short answer would starve the others.
        known = UNSEEN_OUTPUT if learnt_p99 is None else learnt_p99
    elif learnt_p99 is not None and learnt_p99 < known:
        known = learnt_p99
    if model_max is not None and model_max < known:
        known = model_max
    total = input_estimate if input_estimate > 0 else 0
    if known > 0:
        total += known
    return total if capacity is None or total < capacity else capacity


def _edges() -> tuple[int, ...]:
    """Upper edges of the classes, each about a sixth above the one before, up to four million tokens."""
    edges = [16]
    while edges[-1] < 4_000_000:
        edges.append(edges[-1] * 7 // 6)
    return tuple(edges)


EDGES = _edges()


class Outputs:
    """The 99th percentile of a model's output lengths: counts in classes that widen evenly, where older answers weigh less.

    An answer's weight halves with every ``half_life`` answers after it.
    """

    __slots__ = ("_cached", "_counts", "_fresh", "_growth", "_total", "_weight", "seen")
    ENOUGH = 20
    """Fewer answers than this say nothing about the longest of a hundred."""

    def __init__(self, half_life: int = 500) -> None:
        self._counts = [0.0] * (len(EDGES) + 1)
        self._growth = 2.0 ** (1.0 / half_life)
        self._weight = 1.0
        self._total = 0.0
        self._cached: int | None = None
        self._fresh = False
        self.seen = 0

    def observe(self, tokens: int) -> None:
        """Count one whole answer of ``tokens``."""
        self._counts[bisect_left(EDGES, tokens)] += self._weight
        self._total += self._weight
        # Instead of every old count shrinking, each new one weighs more; the numbers are brought back before they overflow.
        self._weight *= self._growth
        if self._weight > 1e100:
            self._counts = [count / self._weight for count in self._counts]
            self._total /= self._weight
            self._weight = 1.0
        self.seen += 1
        self._fresh = False

    def p99(self) -> int | None:
        """The upper edge of the class that holds the 99th percentile, None while too little was seen."""
        if self.seen < self.ENOUGH:
            return None
        if not self._fresh:
            self._cached = self._quantile()
            self._fresh = True
        return self._cached

    def _quantile(self) -> int:
        above = self._total * 0.01
        for index in range(len(EDGES), 0, -1):
            above -= self._counts[index]
            if above < 0:
                return EDGES[min(index, len(EDGES) - 1)]
        return EDGES[0]

    def __repr__(self) -> str:
        return f"<Outputs p99={self.p99()} of {self.seen}>"
