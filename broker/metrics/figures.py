"""What a part counts beyond plain integers, and the families that a collector makes of it. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Metric

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
        value = max(value, 0.0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound as a label, and how many values are at most that large; the last is `+Inf`."""
        total, rows = 0, []
        for bound, count in zip((*map(repr, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


def gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    """A value of this moment."""
    return GaugeMetricFamily(name, documentation, value=float(value))


def gauges(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """Values of this moment, one for each value of a label."""
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def counter(name: str, documentation: str, value: float) -> CounterMetricFamily:
    """A count since the process began. `name` ends in `_total`."""
    return CounterMetricFamily(name, documentation, value=float(value))


def counters(name: str, documentation: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    """Counts since the process began, one for each value of a label.

    Give a label that can take few values all of them from the beginning, with 0: `increase()` misses the first step of
    a series that appears with it.
    """
    family = CounterMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def labelled(
    name: str, documentation: str, labels: tuple[str, str], values: Mapping[tuple[str, str], float]
) -> CounterMetricFamily:
    """Counts since the process began, for each pair of values of two labels."""
    family = CounterMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        family.add_metric(key, float(value))
    return family


def info(name: str, documentation: str, facts: Mapping[str, str]) -> GaugeMetricFamily:
    """Facts as labels of a gauge that is always 1."""
    family = GaugeMetricFamily(name, documentation, labels=list(facts))
    family.add_metric(list(facts.values()), 1.0)
    return family


def histogram(name: str, documentation: str, values: Histogram) -> HistogramMetricFamily:
    """The sizes of values since the process began."""
    return HistogramMetricFamily(name, documentation, buckets=values.buckets(), sum_value=values.sum)


def histograms(
    name: str, documentation: str, label: str, values: Iterable[tuple[str, Histogram]]
) -> HistogramMetricFamily:
    """The sizes of values since the process began, for each value of a label."""
    family = HistogramMetricFamily(name, documentation, labels=[label])
    for key, each in values:
        family.add_metric([key], each.buckets(), each.sum)
    return family
