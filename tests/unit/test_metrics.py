"""What the metrics of every part stand on: histograms, the page of several processes, the endpoint."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from broker.contract.errors import InvalidSetting
from broker.metrics.children import Children, private_directory
from broker.metrics.endpoint import MetricsEndpoint, listening_socket, page_of
from broker.metrics.figures import counter, counters, gauge, gauges, histogram, histograms
from broker.metrics.histogram import LATENCY_S, Histogram
from broker.metrics.merge import Merger, Page, merged
from tests.harness import until
from ws_edge.supervisor import WorkerPool, WorkerPoolStatistics, page_of_pool


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


def one(value: float) -> str:
    return generate_latest(Page(families(value))).decode()


def test_no_sum_falls_whatever_processes_do() -> None:
    merger = Merger()
    steps: list[tuple[dict[str, float], float]] = [
        ({"a": 5, "b": 7}, 12),
        ({"a": 6}, 13),  # b does not answer
        ({"a": 6, "b": 8}, 14),
        ({"a": 2, "b": 8}, 16),  # another a, which has counted 2
        ({"b": 9}, 17),  # and is gone
        ({"a": 1, "b": 9}, 18),
    ]
    for counted, expected in steps:
        for process, value in counted.items():
            merger.take(process, one(value))
        with pytest.raises(ValueError):
            merger.take("b", "<html>")
        found = samples(merger.page(counted))
        assert found["testcast_events_total"] == found["testcast_closes_total{'code': '1000'}"] == expected
        shown = {name for name in found if name.startswith("testcast_age_seconds")}
        assert shown == {f"testcast_age_seconds{{'process': '{process}'}}" for process in counted}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans())))
def test_sums_are_what_was_counted_by_all_that_ever_were(steps: list[tuple[str, int, bool]]) -> None:
    merger, running, expected = Merger(), dict.fromkeys("abc", 0), 0
    for process, more, replaced in steps:
        if replaced:  # noticed where the new one has counted less
            running[process] = min(more, max(0, running[process] - 1))
            expected += running[process]
        else:
            running[process] += more
            expected += more
        merger.take(process, f"# TYPE e_total counter\ne_total {running[process]}\n")
    assert samples(merger.page("abc")).get("e_total", 0) == expected


def begun(at: float, value: float, other: float = 0.0) -> str:
    one, two = counter("testcast_a_total", "", value), counter("testcast_b_total", "", other)
    return generate_latest(Page([gauge("process_start_time_seconds", "", at), one, two])).decode()


def test_a_page_that_comes_late_is_no_other_process() -> None:
    merger = Merger()
    for value in (5.0, 7.0, 6.0):  # of readers that have asked one after the other
        merger.take("a", begun(1_700_000_000.25, value))
    assert samples(merger.page("a"))["testcast_a_total"] == 7
    merger.take("a", begun(1_700_000_000.25, 8.0, 1.0))
    assert samples(merger.page("a"))["testcast_a_total"] == 8


def test_another_process_is_known_by_its_start_even_where_it_has_counted_more() -> None:
    merger = Merger()
    merger.take("a", begun(1_700_000_000.25, 5.0))
    merger.take("a", begun(1_700_000_000.5, 9.0, 1.0))
    found = samples(merger.page("a"))
    assert (found["testcast_a_total"], found["testcast_b_total"]) == (14, 1)


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


async def test_a_check_answers_what_is_amiss() -> None:
    amiss: list[str] = []

    def check() -> list[str]:
        return amiss

    def broken() -> list[str]:
        raise RuntimeError("not this text")

    where = listening()
    endpoint = MetricsEndpoint(page_of(), {"/readyz": check, "/healthz": broken})
    await endpoint.start(where)
    try:
        url = f"http://127.0.0.1:{where.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
            well = await http.get("/readyz")
            amiss.append("the broker is away")
            ill, failed = await http.get("/readyz"), await http.get("/healthz")
            posted = await http.post("/readyz")
    finally:
        await endpoint.stop()
    assert (well.status_code, well.text) == (200, "ok\n")
    assert (ill.status_code, ill.text) == (503, "the broker is away\n")
    assert failed.status_code == 500 and "not this text" not in failed.text
    assert posted.status_code == 404


async def test_an_upgrade_is_answered_like_any_other_request(caplog: pytest.LogCaptureFixture) -> None:
    where = listening()
    endpoint = MetricsEndpoint(page_of(lambda: families(1.0)))
    await endpoint.start(where)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            url = f"http://127.0.0.1:{where.getsockname()[1]}/metrics"
            answer = await http.get(url, timeout=30, headers=upgrade)
    finally:
        await endpoint.stop()
    assert answer.status_code == 200 and samples(answer.text)["testcast_events_total"] == 1.0
    assert "Traceback" not in caplog.text


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with listening() as taken, pytest.raises(InvalidSetting, match=r"TESTCAST_METRICS_PORT: port \d+ is taken"):
        listening_socket("127.0.0.1", taken.getsockname()[1])
    for host in ("no-such-host.invalid", "a..b", "192.0.2.1"):  # none of this machine
        with pytest.raises(InvalidSetting, match=r"^TESTCAST_METRICS_HOST: cannot listen on"):
            listening_socket(host, 9464)


async def test_children_are_one_page_and_those_that_are_away_are_left_out() -> None:
    def of_child() -> Iterable[Metric]:
        return [counter("testcast_events_total", "Events.", 2.0), gauge("testcast_age_seconds", "An age.", 1.0)]

    def of_parent() -> Iterable[Metric]:
        return [gauges("testcast_processes", "Processes.", "kind", {"edge": 2})]

    with private_directory() as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        children = Children(directory)
        endpoints = [MetricsEndpoint(page_of(of_child)) for _ in range(2)]
        for number, each in enumerate(endpoints):
            await each.start(children.path_for(f"edge-{number}"))
        gone = socket.socket(socket.AF_UNIX)
        gone.bind(str(children.path_for("gone")))  # nothing listens
        gone.close()
        not_metrics = MetricsEndpoint(_no_page)
        await not_metrics.start(children.path_for("broken"))
        try:
            assert set(await children.pages(30)) == {"broken", "edge-0", "edge-1"}
            page = samples(await children.page_with(page_of(of_parent), "up")())
            assert page["testcast_events_total"] == 4
            assert page["testcast_age_seconds{'process': 'edge-1'}"] == 1
            assert page["testcast_processes{'kind': 'edge', 'process': 'up'}"] == 2
        finally:
            for each in (*endpoints, not_metrics):
                await each.stop()
        children.forget("gone")
        assert await children.pages(30) == {}
        assert await Children(directory / "nowhere").pages() == {}
    assert not directory.exists()


async def test_readers_at_the_same_time_get_one_page(tmp_path: Path) -> None:
    children, asked, release = Children(tmp_path), list[int](), asyncio.Event()

    async def slow() -> bytes:
        asked.append(1)
        await release.wait()
        return generate_latest(Page([counter("testcast_events_total", "", len(asked))]))

    pool = SimpleNamespace(statistics=lambda: WorkerPoolStatistics(2, 0))
    render = page_of_pool(cast("WorkerPool", pool), children)
    endpoint = MetricsEndpoint(slow)
    await endpoint.start(children.path_for("edge-1"))
    try:
        readers = [asyncio.ensure_future(render()) for _ in range(3)]
        await until(lambda: asked, within_s=30)
        release.set()
        pages = await asyncio.gather(*readers)
    finally:
        await endpoint.stop()
    assert len(set(pages)) == 1 and len(asked) == 1
    found = samples(pages[0])
    assert found["testcast_processes{'kind': 'edge', 'process': 'supervisor'}"] == 2
    assert found["testcast_processes_silent{'kind': 'edge', 'process': 'supervisor'}"] == 1


async def _no_page() -> bytes:
    return b"<html>"


async def test_a_child_that_hangs_does_not_hold_the_page(tmp_path: Path) -> None:
    children = Children(tmp_path)
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(children.path_for("hangs")))
        hangs.listen()
        assert await children.pages(0.05) == {}
