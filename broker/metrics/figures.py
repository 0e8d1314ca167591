"""The families that a collector makes of what a part counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Metric

from broker.metrics.histogram import Histogram


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
