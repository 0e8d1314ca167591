"""The text of a page is what prometheus_client would have written."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric, SummaryMetricFamily

from broker.metrics.figures import counter, counters, gauge, histogram, histograms
from broker.metrics.histogram import Histogram
from broker.metrics.merge import Page
from broker.metrics.text import text_of

NUMBERS = st.floats(allow_nan=True) | st.integers(min_value=-(10**12), max_value=10**12)
TEXTS = st.text(max_size=20) | st.sampled_from(['a "quoted" one', "a \\ and\na line", "ü€\U0001f3ae"])


def same(families: Iterable[Metric]) -> None:
    made = list(families)
    assert text_of(made) == generate_latest(Page(made))


@given(NUMBERS, TEXTS)
def test_numbers_and_labels_are_written_alike(number: float, text: str) -> None:
    labelled = GaugeMetricFamily("testcast_b", text, labels=["second", "first"])
    labelled.add_metric(["x", text], number)
    same([gauge("testcast_a", text, number), labelled])
    same([counter("testcast_c_total", text, number), counters("testcast_d_total", "D.", "reason", {text: number})])


@given(st.lists(st.floats(min_value=0, max_value=1e9)))
def test_histograms_are_written_alike(values: list[float]) -> None:
    sizes = Histogram()
    for value in values:
        sizes.observe(value)
    same(
        [histogram("testcast_e_seconds", "E.", sizes), histograms("testcast_f_seconds", "F.", "phase", [("1", sizes)])]
    )


def test_what_has_no_value_and_what_is_no_number_is_written_alike() -> None:
    same([])
    same([counters("testcast_g_total", "G.", "reason", {})])
    same([gauge("testcast_h", "H.", each) for each in (math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-9, 999_999.5, 1e6)])


def test_kinds_that_testcast_does_not_make_are_left_to_the_library() -> None:
    with_creation = GaugeMetricFamily("testcast_i", "I.")
    with_creation.add_sample("testcast_i_created", {}, 1.0)
    summary = SummaryMetricFamily("testcast_j", "J.", count_value=2, sum_value=3)
    same([with_creation, summary, InfoMetricFamily("testcast_k", "K.", value={"version": "1"})])
