"""What `testcast top` computes with pages of metrics: rates, quantiles, and what they mean (all pure)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import Metric

from broker.metrics.figures import counter, counters, gauge, gauges, histogram, info
from broker.metrics.histogram import Histogram
from broker.metrics.merge import Page, merged
from broker.metrics.reading import Sample, samples_of
from testcast.cli.top import words
from testcast.cli.top.overview import SORTS, Source, in_order, overview, processes_of
from testcast.cli.top.scrapes import History, Quantile, Scrape, quantile, total


def written(*families: Metric) -> str:
    return generate_latest(Page(families)).decode()


def count(value: float) -> dict[str, list[Sample]]:
    return {"e_total": [Sample({}, value)]}


def history(*scrapes: tuple[float, float | None]) -> History:
    """Of a counter: time and value; None: the page has none."""
    found = History()
    for at_s, value in scrapes:
        found.add(Scrape(at_s, {} if value is None else count(value)))
    return found


@pytest.mark.parametrize(
    ("scrapes", "expected"),
    [
        ([], None),
        ([(0, 5)], None),
        ([(0, 5), (1, 8)], 3),
        ([(0, 5), (1, 8), (2, 8)], 1.5),
        ([(0, 0), (100, 50), (104, 70)], 5),  # what is older than ten seconds does not count
        ([(0, 0), (100, 50)], 0.5),  # where there is nothing newer, it does
        ([(0, 100), (1, 3)], None),  # another process: nobody knows what the first one had counted
        ([(0, None), (1, 8)], None),
        ([(0, 5), (1, None)], None),
        ([(1, 5), (1, 9)], None),  # two pages at one moment
    ],
)
def test_a_rate(scrapes: list[tuple[float, float | None]], expected: float | None) -> None:
    assert history(*scrapes).rate("e_total") == expected


def test_pages_that_are_of_no_use_are_forgotten() -> None:
    found = history(*((float(second), float(second)) for second in range(500)))
    assert repr(found) == "<History of 61 scrapes>"
    assert (found.rate("e_total"), found.increase("e_total")) == (1, 60)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 30), min_size=1, max_size=30), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_the_value_that_it_estimates(values: list[float], share: float) -> None:
    sizes = Histogram()
    for value in values:
        sizes.observe(value)
    estimate = quantile({float(bound): rows for bound, rows in sizes.buckets()}, share)
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    assert estimate is not None
    bounds = [0.0, *sizes.bounds]
    if exact > bounds[-1]:
        assert estimate == Quantile(bounds[-1], beyond=True)
        return
    above = min(bound for bound in sizes.bounds if exact <= bound)
    below = max(bound for bound in bounds if bound < above)
    assert not estimate.beyond and below <= estimate.seconds <= above + 1e-9


@pytest.mark.parametrize("counts", [None, {}, {math.inf: 0.0}, {1.0: 0.0, math.inf: 0.0}, {math.inf: math.nan}])
def test_without_values_there_is_no_quantile(counts: dict[float, float] | None) -> None:
    assert quantile(counts, 0.5) is None


def test_a_histogram_is_of_the_values_between_two_pages_and_unknown_after_a_restart() -> None:
    sizes, found = Histogram((1.0, 2.0)), History()
    sizes.observe(0.5)
    found.add(Scrape(0, samples_of(written(histogram("h_seconds", "", sizes)))))
    sizes.observe(1.5)
    found.add(Scrape(1, samples_of(written(histogram("h_seconds", "", sizes)))))
    assert found.counts("h_seconds") == {1.0: 0, 2.0: 1, math.inf: 1}
    found.add(Scrape(2, samples_of(written(histogram("h_seconds", "", Histogram((1.0, 2.0)))))))
    assert found.counts("h_seconds") is None
    found.add(Scrape(3, samples_of(written(histogram("h_seconds", "", Histogram((3.0,)))))))  # other buckets
    assert found.counts("h_seconds") is None


@settings(max_examples=60)
@given(st.text(alphabet='ab{}=",# 1\n+Inf\\TYPE\0é', max_size=60))
def test_any_text_is_read_or_refused(page: str) -> None:
    with contextlib.suppress(ValueError):
        samples_of(page)


def test_what_is_not_there_is_unknown_and_never_zero() -> None:
    assert total({}, "testcast_runs") is None
    source = Source("here")
    source.history.add(Scrape(0, samples_of(written(gauge("testcast_other", "", 1)))))
    view = overview([source])
    unknown = [value for name, value in view._asdict().items() if name not in ("runs", "problems", "processes")]
    assert set(unknown) == {None} and set(view.runs.values()) == {None}
    assert view.problems == []


def edge(ready: float = 1, **figures: float) -> list[Metric]:
    own = [gauge(f"testcast_edge_{name}", "", value) for name, value in figures.items()]
    return [
        gauge("testcast_edge_ready", "", ready),
        gauge("testcast_edge_sockets", "", 10),
        gauges("testcast_edge_sessions", "", "state", {"live": 8, "behind": 2}),
        gauges("testcast_runs", "", "status", {"queued": 1, "running": 2}),
        counter("testcast_edge_deliveries_total", "", 50),
        *own,
    ]


def agent(**figures: float) -> list[Metric]:
    own = [gauge(f"testcast_agent_{name}", "", value) for name, value in figures.items()]
    return [gauge("testcast_agent_slots", "", 2), gauge("testcast_agent_runs", "", 1), *own]


def page(name: str, families: Sequence[Metric] | dict[str, list[Metric]], at_s: float = 0) -> Source:
    source = Source(name)
    text = (
        merged({process: written(*each) for process, each in families.items()}).decode()
        if isinstance(families, dict)
        else written(*families)
    )
    source.history.add(Scrape(at_s, samples_of(text)))
    return source


def test_what_every_edge_tells_alike_is_taken_once_and_the_rest_is_summed() -> None:
    view = overview(
        [page("one", {"edge-1": edge(), "edge-2": edge(), "agent-1": agent(pulling=1)}), page("two", edge())]
    )
    assert (view.runs["queued"], view.runs["running"], view.runs["failed"]) == (1, 2, None)
    assert (view.sockets, view.live, view.behind) == (30, 24, 6)
    assert (view.playing, view.slots) == (1, 2)
    assert [(row.name, row.state, row.sockets) for row in view.processes] == [
        ("one", "3 processes", 20),
        ("agent-1", "ready", None),
        ("edge-1", "ready", 10),
        ("edge-2", "ready", 10),
        ("two", "ready", 10),
    ]


@pytest.mark.parametrize(
    ("families", "state"),
    [
        (edge(), "ready"),
        (edge(0), "not ready"),
        (edge(0, draining=1), "draining"),
        (edge(1, degraded_reasons=2), "degraded"),
        (edge(1, degraded_reasons=1, broker_connected=0), "broker away"),
        (edge(1, failed_parts=1), "failing"),
        (edge(1, stale_seconds=3), "stale"),
        (agent(broker_connected=1), "ready"),
        (agent(broker_connected=0), "broker away"),
        (agent(pulling=0), "takes no jobs"),
        (agent(pulling=0, browser_failing=1), "no browser"),
        ([info("testcast_build_info", "", {"part": "up"})], "runs"),
        ([gauge("testcast_else", "", 1)], "—"),
    ],
)
def test_the_state_of_a_process(families: list[Metric], state: str) -> None:
    source = page("here", families)
    assert [row.state for row in processes_of(source)] == [state]
    fine = state in ("ready", "runs", "—")
    assert any(state in each for each in overview([source]).problems) != fine


@pytest.mark.parametrize(
    ("families", "problem"),
    [
        (edge(1, canary_age_seconds=90), "no canary was seen for 90 s"),
        (edge(1, oldest_behind_seconds=30), "a viewer has been behind for 30 s"),
        (agent(outbox_events=950), "an agent's outbox is nearly full (950 events)"),
        ([gauge("testcast_broker_disk_full", "", 1)], "the broker's disk is full: nothing is stored"),
        (
            [gauge("testcast_agents", "", 0), gauge("testcast_queue_jobs", "", 3)],
            "runs wait, and no agent is alive",
        ),
        (
            [*edge(), gauges("testcast_processes_lost", "", "kind", {"edge": 0, "agent": 1})],
            "agent processes have ended by themselves, and nobody starts them again (1)",
        ),
        (
            [*edge(), gauges("testcast_processes", "", "kind", {"edge": 2, "agent": 0})],
            "1 of 2 edge processes give no metrics at the moment",
        ),
    ],
)
def test_what_is_amiss_is_a_sentence(families: list[Metric], problem: str) -> None:
    assert overview([page("here", families)]).problems == [problem]


def test_a_counter_that_should_stand_still_is_told_while_it_rises() -> None:
    source = page("here", [*edge(), counter("testcast_edge_canary_missing_total", "", 4)])
    later = page("here", [*edge(), counter("testcast_edge_canary_missing_total", "", 6)], at_s=5)
    assert later.history.newest is not None
    source.history.add(later.history.newest)
    assert overview([source]).problems == ["canary probes were not seen (2 in the last minute)"]


def test_a_source_that_is_down_or_late_is_told_and_the_others_go_on() -> None:
    down, late, fresh = Source("down"), page("late", edge()), Source("fresh")
    down.error, late.late = "nothing listens there", True
    view = overview([down, late, fresh])
    assert [(row.name, row.state, row.health) for row in view.processes] == [
        ("down", "down", "down"),
        ("late", "late", "degraded"),
        ("fresh", "no answer yet", "unknown"),
    ]
    assert view.sockets == 10
    assert view.problems[0] == "down: nothing listens there" and "late" in view.problems[1]


def test_rows_are_sorted_within_their_source() -> None:
    def closes(sockets: float) -> list[Metric]:
        return [gauge("testcast_edge_ready", "", sockets > 3), gauge("testcast_edge_sockets", "", sockets)]

    rows = overview([page("b", {"1": closes(5), "2": closes(9)}), page("a", {"3": closes(1)})]).processes
    orders = {sort: [row.name for row in in_order(rows, sort)] for sort in SORTS}
    assert orders["name"] == ["a", "3", "b", "1", "2"]
    assert orders["state"] == ["a", "3", "b", "1", "2"]
    assert orders["sockets"] == ["b", "2", "1", "a", "3"]
    assert all(sorted(order) == sorted(orders["name"]) for order in orders.values())


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (words.count(None), "—"),
        (words.count(0), "0"),
        (words.count(9120), "9,120"),
        (words.count(1_234_567), "1.2M"),
        (words.rate(0), "0"),
        (words.rate(0.04), "0.04"),
        (words.rate(7.46), "7.5"),
        (words.rate(38.4), "38"),
        (words.rate(999.6), "1k"),
        (words.rate(1234), "1.2k"),
        (words.size(1500), "1.5 KiB"),
        (words.size(260 << 20), "260 MiB"),
        (words.size(0), "0 B"),
        (words.seconds(0), "0 s"),
        (words.seconds(0.0004), "0.4 ms"),
        (words.seconds(0.0446), "45 ms"),
        (words.seconds(2.5), "2.5 s"),
        (words.seconds(240), "4 min"),
        (words.seconds(9000), "2 h"),
        (words.latency(Quantile(10.0, beyond=True)), ">10 s"),
        (words.of(1, 2), "1/2"),
        (words.of(None, None), "—"),
        (words.share(0.3), "30 %"),
    ],
)
def test_figures_are_short(shown: str, expected: str) -> None:
    assert shown == expected


def test_counters_of_one_name_with_several_labels_are_one_rate() -> None:
    found = History()
    for at_s, more in ((0, 0), (2, 4)):
        page_ = written(counters("testcast_edge_closes_total", "", "code", {"1000": 1 + more, "1012": 2}))
        found.add(Scrape(at_s, samples_of(page_)))
    assert found.rate("testcast_edge_closes_total") == 2
    assert found.rate("testcast_edge_closes_total", code="1012") == 0
