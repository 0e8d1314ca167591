"""What a part counts beyond plain integers. Pure, and without a library: every part has it, asked for or not."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

LATENCY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds for what should take milliseconds, seconds."""
DURATION_S: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds for what takes as long as a game is played, seconds."""


class Histogram:
    """Counts values by their size. One call costs well below a microsecond.

    Args:
        bounds: upper bounds, inclusive, ascending; what is larger is counted in a bucket of its own.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_S) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Values in each bucket, not cumulative."""
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram count={self.count} sum={self.sum:g}>"

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Counts one value. What a clock that was set back makes negative counts as 0."""
        if value < 0.0:  # `max` takes as long as the rest
            value = 0.0
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound as a label, and how many values are at most that large; the last is `+Inf`."""
        total, rows = 0, []
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows
