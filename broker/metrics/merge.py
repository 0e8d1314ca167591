"""One page of metrics from those of several processes. Pure.

Counters and histograms are summed: whoever asks wants the rate of all. Gauges keep the label `process`, since the sum
of two ages or of two truths means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

_SUMMED: Final = ("counter", "histogram")
PROCESS: Final = "process"
"""The label with the name of the process that a gauge is of."""


class Page:
    """Families as `generate_latest` takes them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def merged(pages: Mapping[str, str]) -> bytes:
    """The pages of processes as one, in the text format of Prometheus.

    A counter of a process that was replaced begins again at 0, so the sum falls: Prometheus takes that for a restart.

    Args:
        pages: name of the process -> its page.

    Raises:
        ValueError: one is not in the text format.
    """
    families: dict[str, Metric] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for process, page in pages.items():
        for found in text_string_to_metric_families(page):
            family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
            if found.type in _SUMMED:
                totals = sums.setdefault(found.name, {})
                for sample in found.samples:
                    key = sample.name, tuple(sample.labels.items())
                    totals[key] = totals.get(key, 0.0) + sample.value
            else:
                for sample in found.samples:
                    family.add_sample(sample.name, {**sample.labels, PROCESS: process}, sample.value)
    for name, totals in sums.items():
        for (sample_name, labels), value in totals.items():
            families[name].add_sample(sample_name, dict(labels), value)
    return generate_latest(Page(families.values()))
