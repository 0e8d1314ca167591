"""The life of an edge: without a broker, with several processes, drained, stopped by a second signal."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from functools import partial
from pathlib import Path

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from broker.jetstream.api import Streams
from broker.local.embedded_server import EmbeddedServer
from tests.conftest import MakeEdge
from tests.harness import EdgeProcess, Reader, begin, free_port, is_event, publish, until


async def status_of(url: str) -> int:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(url)).status_code
        except httpx.TransportError:
            return 0


async def test_an_edge_that_starts_without_its_broker_waits_for_it(tmp_path: Path) -> None:
    port = free_port()
    edge = EdgeProcess(f"nats://127.0.0.1:{port}", tmp_path)
    edge.spawn()
    try:
        await until(lambda: status_of(f"{edge.url}/healthz"))
        assert await status_of(f"{edge.url}/readyz") == 503
        assert await status_of(f"{edge.url}/") == 200
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{edge.url}/rpc/listTests")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "broker_unavailable")
            submitted = await client.post(f"{edge.url}/rpc/submitTest", json={"gameUrl": "http://127.0.0.1:9/"})
            assert (submitted.status_code, submitted.json()["error"]["code"]) == (503, "broker_unavailable")
        async with EmbeddedServer(tmp_path / "nats", port=port):
            await edge.until_ready()
    finally:
        assert await edge.stop() == 0


async def test_an_edge_without_a_broker_can_be_stopped(tmp_path: Path) -> None:
    edge = EdgeProcess(f"nats://127.0.0.1:{free_port()}", tmp_path, TESTCAST_EDGE_DRAIN_S="600")
    edge.spawn()
    await until(lambda: status_of(f"{edge.url}/healthz"))
    assert await edge.stop() == 0, "it ends long before its drain does: it has no viewers"


async def test_several_processes_behind_one_port(streams: Streams, make_edge: MakeEdge) -> None:
    edge = await make_edge(TESTCAST_EDGE_WORKERS="2")
    test_id = await begin(streams)
    workers = await until(lambda: children(edge.child.pid))
    assert len(workers) == 2
    sockets = [await connect(f"{edge.ws_url}?testId={test_id}") for _ in range(20)]
    readers = [Reader(each) for each in sockets]
    for reader in readers:
        await reader.events(2)
    stored = await publish(streams, test_id, "for all")
    for reader in readers:
        assert [event["seq"] for event in await reader.events(1)] == [stored.seq]

    signal_to(workers[0], signal.SIGKILL)
    await until(lambda: len(set(children(edge.child.pid)) - {workers[0]}) == 2, what="another took its place")
    left = [each for each in sockets if not await is_gone(each)]
    await publish(streams, test_id, "goes on")
    async with connect(f"{edge.ws_url}?testId={test_id}&after={stored.seq}") as again:
        assert [event["message"] for event in await Reader(again).events(1)] == ["goes on"]

    stopping = asyncio.create_task(edge.stop())
    for each in left:
        assert await close_code(each) == 1012
    assert await stopping == 0
    assert children(edge.child.pid) == []


async def test_a_second_signal_ends_at_once(streams: Streams, make_edge: MakeEdge) -> None:
    for workers in ("1", "2"):
        edge = await make_edge(TESTCAST_EDGE_WORKERS=workers, TESTCAST_EDGE_DRAIN_S="600")
        test_id = await begin(streams)
        stalled = []
        for _ in range(5):
            connection = await connect(f"{edge.ws_url}?testId={test_id}")
            connection.transport.pause_reading()  # it will not answer the goodbye
            stalled.append(connection)
        edge.child.signal(signal.SIGTERM)
        each_drains = partial(log_has, edge, "draining: ", int(workers))
        await until(each_drains)
        edge.child.signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await edge.child.wait()
        assert not re.search("drained [1-9]", edge.log.read_text()), "it did not wait for the viewers"
        for connection in stalled:
            connection.transport.abort()


async def test_a_drained_edge_ends_with_its_last_viewer_and_viewers_go_on_elsewhere(
    streams: Streams, make_edge: MakeEdge
) -> None:
    first, second = await make_edge(TESTCAST_EDGE_DRAIN_S="600"), await make_edge()
    test_id = await begin(streams)
    sockets = [await connect(f"{first.ws_url}?testId={test_id}") for _ in range(50)]
    positions = [(await Reader(each).events(2))[-1]["seq"] for each in sockets]
    first.child.signal(signal.SIGTERM)
    missed = [(await publish(streams, test_id, f"{number}")).seq for number in range(10)]

    async def move(connection: ClientConnection, seen: int) -> list[int]:
        """What a client does: reads to the end, then resumes on another node."""
        got: list[int] = []
        reader, hint = Reader(connection), 0
        try:
            while True:
                message = await reader.next()
                if is_event(message):
                    got.append(message["seq"])
                elif message["type"] == "goodbye":
                    hint = message["retryAfterMs"]
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 1012 and hint > 0
        async with connect(f"{second.ws_url}?testId={test_id}&after={got[-1] if got else seen}") as again:
            if len(got) < len(missed):
                got += [event["seq"] for event in await Reader(again).events(len(missed) - len(got))]
        return got

    for got in await asyncio.gather(*(move(*each) for each in zip(sockets, positions, strict=True))):
        assert got == missed
    async with asyncio.timeout(60):  # far less than the drain: it ends once its last viewer has gone
        assert await first.child.wait() == 0
    assert "drained 50 sockets, 0 are left" in first.log.read_text()


def log_has(edge: EdgeProcess, text: str, times: int) -> bool:
    return edge.log.read_text().count(text) == times


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] if exists(pid) else []


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}/task/{pid}/children").exists()


def signal_to(pid: int, number: int) -> None:
    os.kill(pid, number)


async def is_gone(connection: ClientConnection) -> bool:
    try:
        await (await connection.ping())
    except WebSocketException:
        return True
    return False


async def close_code(connection: ClientConnection) -> int | None:
    async with asyncio.timeout(30):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None
