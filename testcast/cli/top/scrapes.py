"""Computes with pages of metrics that were read one after the other: sums, rates and quantiles. Pure.

What a page does not have is None everywhere, never 0.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from broker.metrics.reading import Sample

Samples = Mapping[str, list[Sample]]
RATE_S: Final = 10.0
"""Rates are of the last ten seconds: of one second they would jump."""
QUANTILE_S: Final = 60.0
"""Quantiles are of the last minute: a quiet installation has few values."""


class Scrape(NamedTuple):
    """One page."""

    at_s: float
    """When it was read, by a clock that is never set back."""
    samples: Samples


class Quantile(NamedTuple):
    """An estimate from the buckets of a histogram."""

    seconds: float
    beyond: bool = False
    """It is larger than the largest bound, which `seconds` is."""


class History:
    """The latest pages of one source, as far back as they are of use."""

    def __init__(self) -> None:
        self._scrapes: deque[Scrape] = deque()

    def __repr__(self) -> str:
        return f"<History of {len(self._scrapes)} scrapes>"

    def add(self, scrape: Scrape) -> None:
        """Takes the newest page."""
        self._scrapes.append(scrape)
        while len(self._scrapes) > 2 and self._scrapes[1].at_s <= scrape.at_s - QUANTILE_S:
            self._scrapes.popleft()

    @property
    def newest(self) -> Scrape | None:
        """The newest page."""
        return self._scrapes[-1] if self._scrapes else None

    def rate(self, name: str, **labels: str) -> float | None:
        """How fast a counter rises, a second. None: unknown, as when a process was replaced meanwhile."""
        pair = self._since(RATE_S)
        if pair is None:
            return None
        before, now = (total(each.samples, name, **labels) for each in pair)
        if before is None or now is None or now < before:
            return None
        return (now - before) / (pair[1].at_s - pair[0].at_s)

    def increase(self, name: str, **labels: str) -> float | None:
        """By how much a counter rose in the last minute; None: unknown."""
        pair = self._since(QUANTILE_S)
        if pair is None:
            return None
        before, now = (total(each.samples, name, **labels) for each in pair)
        return None if before is None or now is None or now < before else now - before

    def counts(self, name: str) -> dict[float, float] | None:
        """How many values of a histogram came in the last minute, by upper bound and cumulative; None: unknown."""
        pair = self._since(QUANTILE_S)
        if pair is None:
            return None
        before, now = (_buckets(each.samples, name) for each in pair)
        if not now or before.keys() != now.keys():
            return None
        counts = {bound: now[bound] - before[bound] for bound in sorted(now)}
        return None if any(count < 0 for count in counts.values()) else counts

    def _since(self, seconds: float) -> tuple[Scrape, Scrape] | None:
        """The newest page, and the oldest one that is not older than it by more than `seconds`, if there are two."""
        now = self.newest
        if now is None:
            return None
        recent = [each for each in self._scrapes if now.at_s - seconds <= each.at_s < now.at_s]
        if not recent and len(self._scrapes) > 1 and self._scrapes[-2].at_s < now.at_s:
            recent = [self._scrapes[-2]]  # pages that come further apart than that
        return (recent[0], now) if recent else None


def matching(samples: Samples, name: str, **labels: str) -> list[Sample]:
    """The samples of a name with these labels."""
    return [
        each
        for each in samples.get(name, ())
        if all(each.labels.get(label) == value for label, value in labels.items()) and not math.isnan(each.value)
    ]


def total(samples: Samples, name: str, **labels: str) -> float | None:
    """The sum over all samples with these labels."""
    found = matching(samples, name, **labels)
    return sum(each.value for each in found) if found else None


def largest(samples: Samples, name: str, **labels: str) -> float | None:
    """The largest value with these labels."""
    return max((each.value for each in matching(samples, name, **labels)), default=None)


def by_label(samples: Samples, name: str, label: str) -> dict[str, float]:
    """The largest value for each value of a label: of what several processes tell alike."""
    found: dict[str, float] = {}
    for each in matching(samples, name):
        if (key := each.labels.get(label)) is not None:
            found[key] = max(each.value, found.get(key, -math.inf))
    return found


def quantile(counts: Mapping[float, float] | None, share: float) -> Quantile | None:
    """The value that this share of the values is at most, as Prometheus estimates it.

    Args:
        counts: upper bound -> how many values are at most that large; the last bound is infinite.
        share: from 0 to 1.

    Returns:
        None: there were no values.
    """
    if not counts:
        return None
    bounds = sorted(counts)
    every = counts[bounds[-1]]
    if not every > 0:
        return None
    rank, low, below = share * every, 0.0, 0.0
    for bound in bounds:
        if counts[bound] >= rank and counts[bound] > below:
            if math.isinf(bound):
                return Quantile(low, beyond=True)
            return Quantile(low + (bound - low) * max(0.0, rank - below) / (counts[bound] - below))
        low, below = (low if math.isinf(bound) else bound), counts[bound]
    return Quantile(low, beyond=True)


def _buckets(samples: Samples, name: str) -> dict[float, float]:
    """A histogram summed over all its labels: upper bound -> count."""
    found: dict[float, float] = {}
    for each in samples.get(f"{name}_bucket", ()):
        try:
            bound = float(each.labels.get("le", "nan"))
        except ValueError:
            continue
        if not math.isnan(bound):
            found[bound] = found.get(bound, 0.0) + each.value
    return found
