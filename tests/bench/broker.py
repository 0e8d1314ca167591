"""What the broker itself pays: for an event that is stored, for each edge that hears it, for a leaf node, for a read.

The edges are bare connections that subscribe to a run's live events and read what comes. Only the processor time of the
nats-servers is counted, so that other work on the machine changes the figures little.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple, cast

from broker import identity
from broker.contract import subjects
from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from broker.local.embedded_server import EmbeddedServer, find_binary
from tests.bench import report
from tests.bench.host import cpu_s
from tests.faults.cluster import Cluster
from tests.harness import event_bytes, free_port, until

_PER_S: Final = 200
_EVENT: Final = event_bytes("x" * 110)
_READ_EVENTS: Final = 20
_HUB: Final = """\
listen: 127.0.0.1:{port}
max_payload: 512KB
jetstream {{ store_dir: "{store}", sync_interval: always }}
leafnodes {{ listen: 127.0.0.1:{leaf_port} }}
"""
_LEAF: Final = """\
listen: 127.0.0.1:{port}
leafnodes {{ remotes: [{{ url: "nats://127.0.0.1:{leaf_port}" }}] }}
"""


class _Ear(asyncio.Protocol):
    """A subscriber that counts bytes and understands none."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.transport: asyncio.Transport
        self.received = 0
        """Bytes of messages."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        hello = '{"verbose":false,"pedantic":false,"headers":true,"protocol":1,"no_responders":true,"name":"ear"}'
        self.transport.write(f"CONNECT {hello}\r\nSUB {self.subject} 1\r\nPING\r\n".encode())

    def data_received(self, data: bytes) -> None:
        if data == b"PING\r\n":
            self.transport.write(b"PONG\r\n")
        elif not data.startswith((b"INFO", b"PONG")):
            self.received += len(data)


class _Cost(NamedTuple):
    by_server: list[float]
    """Processor time of each nats-server for one event, µs."""
    bytes_an_ear: float
    """What one subscriber receives for one event."""


async def _cost(streams: Streams, pids: Sequence[int], at: int, ears: int, events: int) -> _Cost:
    """Stores events at `_PER_S` while `ears` connections to the port `at` hear them."""
    test_id = identity.new_test_id()
    loop = asyncio.get_running_loop()
    heard = [
        (await loop.create_connection(lambda: _Ear(subjects.live(test_id)), "127.0.0.1", at))[1] for _ in range(ears)
    ]
    try:

        async def all_hear() -> bool:
            await streams.store(subjects.events(test_id), _EVENT)
            return all(ear.received for ear in heard)

        await until(all_hear, within_s=30, what="every ear hears")  # interest needs a moment to reach a leaf's hub
        await asyncio.sleep(0.5)
        before, bytes_before = [cpu_s([pid]) for pid in pids], sum(ear.received for ear in heard)
        due = time.monotonic()
        for _ in range(events):
            due += 1 / _PER_S
            await streams.store(subjects.events(test_id), _EVENT)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.sleep(0.5)
        used = [(cpu_s([pid]) - was) / events * 1e6 for pid, was in zip(pids, before, strict=True)]
        grown = sum(ear.received for ear in heard) - bytes_before
    finally:
        for ear in heard:
            ear.transport.abort()
    return _Cost(used, grown / events / ears if ears else 0.0)


async def _reads(streams: Streams, pid: int, count: int) -> float:
    """The broker's processor time of a read of 20 events, µs."""
    test_id = identity.new_test_id()
    for _ in range(_READ_EVENTS):
        await streams.store(subjects.events(test_id), _EVENT)
    before = cpu_s([pid])
    for _ in range(count):
        page = await streams.read(subjects.EVENTS, subjects.events(test_id), 0, _READ_EVENTS)
        assert len(page.messages) == _READ_EVENTS
    return (cpu_s([pid]) - before) / count * 1e6


@asynccontextmanager
async def _connected(url: str, replicas: int) -> AsyncIterator[Streams]:
    nats = await Connection.connect(url, name="bench", timeout_s=20)
    await topology.apply(nats, replicas=replicas, timeout_s=60)
    try:
        yield Streams(nats)
    finally:
        await nats.close()


async def _one(directory: Path, edges: Sequence[int], events: int) -> tuple[list[list[str]], str]:
    rows = []
    async with EmbeddedServer(directory) as server, _connected(server.url, 1) as streams:
        for ears in edges:
            cost = await _cost(streams, [server.child.pid], server.port, ears, events)
            report.say(f"one node, {ears} edges: {cost.by_server[0]:.0f} µs an event")
            size = f"{cost.bytes_an_ear:.0f}" if ears else report.NONE
            rows.append(["one node", f"{ears}", report.figure(cost.by_server[0]), size])
        read_us = await _reads(streams, server.child.pid, events)
    return rows, f"A read of {_READ_EVENTS} events of a run costs one node {report.figure(read_us)} µs."


async def _three(directory: Path, ears: int, events: int) -> list[str]:
    async with Cluster(directory) as cluster:
        await cluster.whole()
        leader = await cluster.leader()
        pids = [node.child.pid for node in cluster.nodes if node.child is not None]
        cost = await _cost(cluster.streams, pids, leader.port, ears, events)
    report.say(f"three nodes, {ears} edges: {sum(cost.by_server):.0f} µs an event")
    return ["three nodes, together", f"{ears}", report.figure(sum(cost.by_server)), f"{cost.bytes_an_ear:.0f}"]


async def _leaf(directory: Path, ears: int, events: int) -> list[list[str]]:
    """A hub with the streams, and a leaf node at which all edges are."""
    async with AsyncExitStack() as stack:
        ports = {"hub": free_port(), "leaf": free_port()}
        pids, leaf_port = [], free_port()
        for name, text in (("hub", _HUB), ("leaf", _LEAF)):
            config = directory / f"{name}.conf"
            config.write_text(text.format(port=ports[name], leaf_port=leaf_port, store=directory / "store"))
            child = Child([find_binary(), "-c", str(config)], directory / f"{name}.log")
            stack.push_async_callback(child.stop, 5)
            pids.append(child.pid)
        streams = await stack.enter_async_context(_connected(f"nats://127.0.0.1:{ports['hub']}", 1))
        await until(lambda: "Leafnode connection created" in (directory / "leaf.log").read_text(), within_s=30)
        cost = await _cost(streams, pids, ports["leaf"], ears, events)
    report.say(f"hub {cost.by_server[0]:.0f} µs, leaf {cost.by_server[1]:.0f} µs an event with {ears} edges")
    return [
        [f"{name}, all edges at one leaf node", f"{ears}", report.figure(used), f"{cost.bytes_an_ear:.0f}"]
        for name, used in zip(("the hub", "the leaf node"), cost.by_server, strict=True)
    ]


async def broker(_programs: Path, quick: bool) -> str:
    """What an event costs the broker with no edge that hears it, and with up to 512."""
    events, edges = (100, (0, 4)) if quick else (1_000, (0, 1, 16, 64, 256, 512))
    with tempfile.TemporaryDirectory() as name:
        rows, note = await _one(Path(name) / "one", edges, events)
        few = max(1, edges[-1] // 8)
        rows.append(await _three(Path(name) / "three", few, events))
        rows += await _leaf(Path(name), few, events)
    head = ["", "edges that hear it", "processor time an event, µs", "bytes to each edge"]
    text = (
        f"An event of {len(_EVENT)} bytes is stored and republished, {_PER_S} a second; one node syncs each of them "
        "(`sync_interval: always`), a cluster does not:"
    )
    return "\n".join([text, "", *report.table(head, rows), "", note])
