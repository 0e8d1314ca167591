"""One page of metrics from those of several processes. Pure.

Counters and histograms are summed: whoever asks wants the rate of all. Gauges keep the label `process`, since the sum
of two ages or of two truths means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from broker.metrics.text import text_of

_SUMMED: Final = ("counter", "histogram")
_STARTED: Final = "process_start_time_seconds"
"""The gauge that tells a process from the one that had its name before."""
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

    Args:
        pages: name of the process -> its page.

    Raises:
        ValueError: one is not in the text format.
    """
    merger = Merger()
    for process, page in pages.items():
        merger.take(process, page)
    return merger.page(pages)


Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name of a sample, and its labels."""


class Merger:
    """Merges the pages of the same processes again and again, so that no sum ever falls.

    A sum that fell would look like a restart to whoever reads it, and all that was ever counted would count as new.
    So what a process has counted stays in the sums when its page does not come in time, when it has ended, and when
    another one has taken its name and counts from 0.
    """

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        """Name -> description and type."""
        self._counts: dict[str, dict[Series, float]] = {}
        """Process -> what it has counted, as its last page says."""
        self._before: dict[Series, float] = {}
        """What processes had counted whose names others have taken."""
        self._gauges: dict[str, list[tuple[str, Sample]]] = {}
        """Process -> name of the family and sample, as its last page says."""
        self._family_of: dict[str, str] = {}
        self._started: dict[str, float] = {}
        """Process -> when it began, where its page says so."""

    def __repr__(self) -> str:
        return f"<Merger of {sorted(self._counts)}>"

    def take(self, process: str, page: str) -> None:
        """Takes the newest page of a process.

        Raises:
            ValueError: it is not in the text format; nothing has changed.
        """
        found = list(text_string_to_metric_families(page))
        counts: dict[Series, float] = {}
        gauges: list[tuple[str, Sample]] = []
        for family in found:
            self._families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                if family.type in _SUMMED:
                    self._family_of[sample.name] = family.name
                    counts[sample.name, tuple(sample.labels.items())] = sample.value
                else:
                    gauges.append((family.name, sample))
        before = self._counts.get(process, {})
        started = next((sample.value for _, sample in gauges if sample.name == _STARTED), None)
        if started is None:
            is_another = any(counts.get(series, 0.0) < value for series, value in before.items())
        else:
            is_another = started != self._started.get(process, started)
        if not is_another:  # what one process has counted never falls, in whatever order its pages come
            counts = before | {series: max(value, before.get(series, value)) for series, value in counts.items()}
        else:
            for series, value in before.items():
                self._before[series] = self._before.get(series, 0.0) + value
        if started is not None:
            self._started[process] = started
        self._counts[process] = counts
        self._gauges[process] = gauges

    def page(self, present: Iterable[str]) -> bytes:
        """The merged page.

        Args:
            present: the processes whose gauges are shown: those that have just given a page.
        """
        families = {name: Metric(each.name, each.documentation, each.type) for name, each in self._families.items()}
        for process in present:
            for name, sample in self._gauges.get(process, ()):
                families[name].add_sample(sample.name, {**sample.labels, PROCESS: process}, sample.value)
        sums = dict(self._before)
        for counts in self._counts.values():
            for series, value in counts.items():
                sums[series] = sums.get(series, 0.0) + value
        for (name, labels), value in sums.items():
            families[self._family_of[name]].add_sample(name, dict(labels), value)
        return text_of(each for each in families.values() if each.samples)
