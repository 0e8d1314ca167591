"""What the metrics of every part stand on: histograms, the page of several processes, the endpoint."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from broker.metrics.endpoint import MetricsEndpoint, page_of
from broker.metrics.figures import LATENCY_S, Histogram, counter, counters, gauge, gauges, histogram, histograms
from broker.metrics.merge import Page, merged


def samples(page: bytes | str) -> dict[str, float]:
    """Name with labels -> value."""
    text = page if isinstance(page, str) else page.decode()
    return {
        f"{each.name}{dict(sorted(each.labels.items())) or ''}": each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def families(value: float) -> list[Metric]:
    latency = Histogram((0.1, 1.0))
    latency.observe(value)
    return [
        gauge("testcast_age_seconds", "An age.", value),
        gauges("testcast_runs", "Runs.", "status", {"queued": 1, "running": value}),
        counter("testcast_events_total", "Events.", value),
        counters("testcast_closes_total", "Closes.", "code", {"1000": value, "1012": 0}),
        histogram("testcast_latency_seconds", "A latency.", latency),
        histograms("testcast_phase_seconds", "Phases.", "phase", [("1", latency)]),
    ]


@given(st.lists(st.floats(min_value=0, max_value=100)))
def test_a_histogram_counts_each_value_in_every_bucket_that_holds_it(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    expected = [(repr(bound), float(sum(value <= bound for value in values))) for bound in LATENCY_S]
    assert histogram.buckets() == [*expected, ("+Inf", float(len(values)))]
    assert histogram.count == len(values)
    assert histogram.sum == pytest.approx(sum(values))


def test_a_clock_that_was_set_back_counts_as_nothing() -> None:
    histogram = Histogram((1.0,))
    histogram.observe(-5.0)
    assert (histogram.buckets(), histogram.sum) == ([("1.0", 1.0), ("+Inf", 1.0)], 0.0)


def test_counters_of_processes_are_summed_and_gauges_labelled() -> None:
    pages = {name: generate_latest(Page(families(value))).decode() for name, value in (("0", 0.5), ("1", 2.0))}
    found = samples(merged(pages))
    assert found["testcast_events_total"] == 2.5
    assert found["testcast_closes_total{'code': '1000'}"] == 2.5
    assert found["testcast_age_seconds{'process': '0'}"] == 0.5
    assert found["testcast_age_seconds{'process': '1'}"] == 2.0
    assert found["testcast_runs{'process': '1', 'status': 'running'}"] == 2.0
    assert found["testcast_latency_seconds_bucket{'le': '1.0'}"] == 1
    assert found["testcast_latency_seconds_bucket{'le': '+Inf'}"] == 2
    assert found["testcast_phase_seconds_sum{'phase': '1'}"] == 2.5


def test_one_process_alone_keeps_its_figures() -> None:
    page = generate_latest(Page(families(0.5))).decode()
    expected = {name for name in samples(page) if "age_seconds" not in name and "runs" not in name}
    assert {name: value for name, value in samples(merged({"0": page})).items() if name in expected} == {
        name: value for name, value in samples(page).items() if name in expected
    }


def test_a_page_of_something_else_is_an_error() -> None:
    with pytest.raises(ValueError):
        merged({"0": "<html>not a page of metrics</html>"})


def listening() -> socket.socket:
    each = socket.socket()
    each.bind(("127.0.0.1", 0))
    each.listen()
    return each


async def test_the_endpoint_serves_the_moment_and_nothing_else() -> None:
    value = 1.0

    def collect() -> Iterable[Metric]:
        return families(value)

    where = listening()
    endpoint = MetricsEndpoint(page_of(collect))
    await endpoint.start(where)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{where.getsockname()[1]}", trust_env=False) as http:
            first = await http.get("/metrics", timeout=30)
            value = 3.0
            second = await http.get("/metrics", timeout=30)
            other = await http.get("/", timeout=30)
            posted = await http.post("/metrics", timeout=30)
    finally:
        await endpoint.stop()
    assert first.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert samples(first.text)["testcast_events_total"] == 1.0
    assert samples(second.text)["testcast_events_total"] == 3.0
    assert "process_cpu_seconds_total" in samples(first.text)
    assert (other.status_code, posted.status_code) == (404, 404)


async def test_a_collector_that_fails_is_an_error_of_the_page_alone(caplog: pytest.LogCaptureFixture) -> None:
    def collect() -> Iterable[Metric]:
        raise RuntimeError("a secret of the process")

    where = listening()
    endpoint = MetricsEndpoint(page_of(collect))
    await endpoint.start(where)
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://127.0.0.1:{where.getsockname()[1]}/metrics", timeout=30)
    finally:
        await endpoint.stop()
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert "the metrics could not be read" in caplog.text


async def test_a_unix_socket_serves_the_page_of_a_child(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    endpoint = MetricsEndpoint(page_of(lambda: families(1.0)))
    await endpoint.start(path)
    try:
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport) as http:
            answer = await http.get("http://child/metrics", timeout=30)
    finally:
        await endpoint.stop()
    assert samples(answer.text)["testcast_events_total"] == 1.0
