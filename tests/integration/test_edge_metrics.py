"""The metrics of real edges, the page of several processes, and the probe that each edge follows."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.contract import subjects
from broker.contract.errors import InvalidSetting
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.folded import stored_runs
from broker.jetstream.scan import pages
from broker.jetstream.snapshot_store import SnapshotStore
from broker.local.embedded_server import EmbeddedServer
from tests.harness import EdgeProcess, begin, free_port, until
from tests.in_process import Edge, a_client
from ws_edge import main
from ws_edge.config import EdgeConfig
from ws_edge.metrics.served import page_of_node
from ws_edge.node import Node


def families_of(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Family -> values of its labels, sorted -> value, without buckets."""
    return {
        family.name: {
            tuple(sorted(sample.labels.values())): sample.value
            for sample in family.samples
            if not sample.name.endswith(("_bucket", "_created", "_sum"))
        }
        for family in text_string_to_metric_families(text)
    }


async def metrics_of(node: Node) -> dict[str, dict[tuple[str, ...], float]]:
    return families_of((await page_of_node(node)()).decode())


@pytest.fixture
async def node(nats_server: EmbeddedServer) -> AsyncIterator[Node]:
    """An edge's node in this process, whose canary is busy."""
    made = Node(await Connection.connect(nats_server.url, name="node"), EdgeConfig(canary_s=0.2), 1)
    await made.start()
    yield made
    await made.stop()


async def test_the_canary_goes_through_the_whole_line_and_is_no_run(node: Node, streams: Streams) -> None:
    log, seen = JetStreamLog(streams.nats), list[str]()
    await (await log.follow(None, lambda test_id, _event: seen.append(test_id))).confirm()
    await until(lambda: node.canary.statistics().seconds.count >= 3, within_s=30)
    test_id = await begin(streams, "A run")
    await until(lambda: node.catalogue.snapshot(test_id), within_s=20)
    await until(lambda: node.projector.statistics().pending == 0, within_s=20)
    assert set(seen) == {test_id}, "who follows all runs hears of no probe"
    assert list(await log.newest_of_all()) == [test_id] and await stored_runs(streams) == {test_id}
    assert set(await SnapshotStore(streams.nats).revisions()) == {test_id}
    assert node.catalogue.counts()["running"] == 1 and node.catalogue.statistics().runs == 1
    assert node.hub.unreadable.statistics().events == 0
    metrics = await metrics_of(node)
    assert metrics["testcast_edge_canary_seconds"][()] >= 3
    assert metrics["testcast_edge_canary_missing"][()] == 0 and metrics["testcast_edge_canary_age_seconds"][()] < 10
    assert metrics["testcast_edge_topics"][()] == 0
    assert metrics["testcast_runs"]["running",] == 1
    assert metrics["testcast_stream_messages"]["EVENTS",] >= 5 and metrics["testcast_stream_bytes"]["EVENTS",] > 0


async def test_nobody_from_outside_asks_for_a_probe(nats_server: EmbeddedServer) -> None:
    edge = await Edge(nats_server.url).start()
    try:
        probe = edge.node.canary.probe
        await edge.node.log.append_probe(probe, b'{"type":"probe","message":"x","timestamp":1}')
        async with a_client(edge, "root") as client:
            for method, more in (("getTest", {}), ("getEvents", {}), ("connectToTest", {}), ("cancelTest", {}),
                                 ("publishEvents", {"key": "k", "events": []})):  # fmt: skip
                answers = [
                    await client.post(f"/rpc/{method}", json={"testId": given, **more})
                    for given in (probe, "probe-ffffffffffffffff", "nonsense")
                ]
                told = {(each.status_code, each.json()["error"]["code"]) for each in answers}
                assert told == {(400, "invalid_test_id")}, "as for anything else that is no test id"
            listed = (await client.get("/rpc/listTests", params={"query": "probe"})).json()
            assert listed["tests"] == [] and set(listed["counts"].values()) == {0}
    finally:
        await edge.stop()


async def test_probes_that_have_gone_leave_no_hole_for_readers(streams: Streams) -> None:
    log = JetStreamLog(streams.nats)
    await begin(streams)
    gone = (await log.append_probe("probe-00000000000000aa", b"{}")).seq
    await streams.api(f"STREAM.MSG.DELETE.{subjects.EVENTS}", {"seq": gone})
    heads = await log.heads()
    assert heads.last_seq == gone and await log.last(None, confirmed=True) == gone - 1
    read = [event.seq async for page in pages(log, None, 0, heads.last_seq) for event in page.events]
    assert read == [1, 2]


@pytest.mark.timeout(120)
async def test_several_processes_tell_one_page(nats_server: EmbeddedServer, tmp_path: Path) -> None:
    port = free_port()
    edge = EdgeProcess(
        nats_server.url,
        tmp_path,
        TESTCAST_EDGE_WORKERS="2",
        TESTCAST_METRICS_PORT=str(port),
        TESTCAST_EDGE_CANARY_S="1",
    )
    await edge.start()
    try:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:

            async def told() -> dict[str, dict[tuple[str, ...], float]]:
                return families_of((await http.get(f"http://127.0.0.1:{port}/metrics")).text)

            async def all_ready() -> bool:
                return (await told()).get("testcast_edge_ready") == {("edge-1",): 1.0, ("edge-2",): 1.0}

            await until(all_ready, within_s=30)
            for _ in range(4):
                await http.get(f"{edge.url}/rpc/getConfig", headers={"connection": "close"})

            async def silent_are(number: int) -> dict[str, dict[tuple[str, ...], float]] | None:
                page = await told()
                return page if page["testcast_processes_silent"] == {("edge", "supervisor"): number} else None

            page = await until(partial(silent_are, 0), within_s=30, what="both tell")
            assert page["testcast_processes"] == {("edge", "supervisor"): 2}
            assert page["testcast_process_restarts"] == {(): 0}
            assert page["testcast_edge_calls"]["200", "getConfig"] == 4, "whichever process has answered"
            [stopped, *_] = children(edge.child.pid)
            os.kill(stopped, signal.SIGSTOP)
            try:
                page = await until(partial(silent_are, 1), within_s=30, what="and the page comes")
                assert len(page["testcast_edge_ready"]) == 1
            finally:
                os.kill(stopped, signal.SIGCONT)
            os.kill(stopped, signal.SIGKILL)

            async def replaced() -> bool:
                found = await told()
                return found["testcast_process_restarts"] == {(): 1} and len(found["testcast_edge_ready"]) == 2

            await until(replaced, within_s=30)
    finally:
        assert await edge.stop() == 0


def test_a_port_that_is_taken_is_refused_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("TESTCAST_METRICS_PORT", str(port))
        with pytest.raises(InvalidSetting, match=f"^TESTCAST_METRICS_PORT: port {port} is taken"):
            main.metrics_of(main.arguments_of([]))
        assert main.metrics_of(main.arguments_of(["--metrics-socket", "/a/b"])) == Path("/a/b")
        assert main.metrics_of(main.arguments_of(["--fd", "3"])) is None, "its supervisor has the port"


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
