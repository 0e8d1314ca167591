"""One trace across processes: the command, the agent, the store, and the first send of an edge to its viewers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from broker.contract import subjects
from broker.jetstream.api import Streams
from broker.local.child_process import Child
from broker.local.embedded_server import EmbeddedServer
from tests.collector import Collector, Received
from tests.command import Command
from tests.conftest import MakeEdge
from tests.harness import EdgeProcess, Reader, event_bytes, until

AGENT = Path(__file__).with_name("step_agent.py")
GAME = "http://127.0.0.1:9/"
STEPS = 3
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_run_is_one_trace_from_submit_to_first_send(
    nats_server: EmbeddedServer, streams: Streams, make_edge: MakeEdge, tmp_path: Path
) -> None:
    with Collector() as collector:
        settings = {"TESTCAST_OTLP_ENDPOINT": collector.url, "TESTCAST_NATS_URL": nats_server.url}
        edge = await make_edge(**settings)
        async with Command("submit", GAME, **settings, TESTCAST_ALLOW_PRIVATE="1") as command:
            test_id = (await command.line()).strip()
        address = f"{edge.ws_url}?testId={test_id}"
        async with connect(address) as one, connect(address) as two:
            await Reader(one).events(1)
            await Reader(two).events(1)
            agent = Child(
                [sys.executable, str(AGENT), nats_server.url, "a1", str(STEPS), "phases"],
                tmp_path / "agent.log",
                os.environ | settings,
            )
            try:
                for reader in (Reader(one), Reader(two)):
                    while (await reader.events(1, 60))[0]["type"] != "complete":
                        pass
            finally:
                await agent.stop()
            events = 1 + 1 + STEPS + 1  # started, the phase, the steps, the verdict
            await until(lambda: len(collector.named("first send", run=test_id)) == events, within_s=30)
        await until(lambda: collector.named("attempt", run=test_id), within_s=30)
        check_run(collector, test_id)
        await check_foreign(collector, streams, edge)


def check_run(collector: Collector, test_id: str) -> None:
    of_run = {each.trace_id for each in collector.spans if each.attributes.get("testcast.run") == test_id}
    assert len(of_run) == 1
    [top] = collector.named("testcast submit")
    [submit] = collector.named("submit")
    assert (top.parent_id, submit.parent_id, submit.service) == ("", top.span_id, "testcast-cli")
    [waited], [attempt] = collector.named("queue wait"), collector.named("attempt")
    assert waited.parent_id == attempt.parent_id == submit.span_id
    assert waited.service == attempt.service == "testcast-agent"
    assert (attempt.attributes["testcast.attempt"], attempt.attributes["testcast.outcome"]) == (1, "stored")
    [phase] = collector.named("phase 3")
    assert phase.parent_id == attempt.span_id
    first, *stored = collector.named("store", run=test_id)
    assert (first.parent_id, first.service) == (submit.span_id, "testcast-cli")
    assert stored[0].parent_id == attempt.span_id and {each.parent_id for each in stored[1:]} == {phase.span_id}
    assert len(stored) == 2 + STEPS + 1
    by_id = {each.span_id: each for each in collector.spans}
    for sent in collector.named("first send", run=test_id):
        came = by_id[sent.parent_id]
        put = by_id[came.parent_id]
        assert (sent.service, came.name, came.service) == ("testcast-edge", "receive", "testcast-edge")
        assert put in stored and put.attributes["testcast.seq"] == came.attributes["testcast.seq"]
        assert sent.attributes["testcast.viewers"] == 2 and sent.end_ns >= sent.start_ns >= came.start_ns
    assert len(collector.named("receive", run=test_id)) == len(stored), "one for an edge, none for a viewer"


async def check_foreign(collector: Collector, streams: Streams, edge: EdgeProcess) -> None:
    """A trace that others have begun goes on, through HTTP and through NATS; nonsense is ignored."""
    async with httpx.AsyncClient(base_url=edge.url, timeout=30) as client:
        answer = await client.post("/rpc/submitTest", json={"gameUrl": GAME}, headers={"traceparent": GIVEN})
        test_id = answer.json()["testId"]
        await client.post("/rpc/submitTest", json={"gameUrl": GAME}, headers={"traceparent": "nonsense"})
    async with connect(f"{edge.ws_url}?testId={test_id}") as viewer:
        reader = Reader(viewer)
        await reader.events(1)
        for trace in ("nonsense", GIVEN[:-1], f"{GIVEN}\x1b", GIVEN):
            await streams.store(subjects.events(test_id), event_bytes(trace), headers={"traceparent": trace})
        assert len(await reader.events(4)) == 4

        def sent() -> list[Received]:
            return [each for each in collector.named("first send", run=test_id) if each.trace_id == GIVEN[3:35]]

        await until(lambda: len(sent()) == 1, within_s=30)
    [submit] = collector.named("submit", run=test_id)
    assert (submit.service, submit.parent_id) == ("testcast-edge", GIVEN[36:52])
    assert len([each for each in collector.named("submit") if not each.parent_id]) == 1, "that of the nonsense"
