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
from tests.bench import host, report
from tests.bench.host import cpu_s
from tests.faults.cluster import Cluster
from tests.harness import event_bytes, free_port, until

_SLOW_PER_S: Final = 200
_FAST_PER_S: Final = 4_000
_TURN_S: Final = 0.01
"""Between two lots of events, where they are many."""
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
    per_s: float
    """Events that were stored a second."""


async def _pour(streams: Streams, test_id: str, per_s: int, events: int) -> None:
    """Stores events at this rate, and returns when all are stored."""
    before = (await streams.state(subjects.EVENTS)).last_seq
    due, lot = time.monotonic(), max(1, int(per_s * _TURN_S)) if per_s > _SLOW_PER_S else 0
    for _ in range(0, events, lot or 1):
        if not lot:
            await streams.store(subjects.events(test_id), _EVENT)
        for _ in range(lot):
            await streams.nats.publish(subjects.events(test_id), _EVENT)
        due += (lot or 1) / per_s
        await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def stored() -> bool:
        return (await streams.state(subjects.EVENTS)).last_seq >= before + events

    await until(stored, within_s=60, what="every event is stored")


async def _quiet(heard: Sequence[_Ear]) -> None:
    """Waits until half a second has brought nothing."""
    before = -1
    while before != (now := sum(ear.received for ear in heard)):
        before = now
        await asyncio.sleep(0.5)


async def _cost(streams: Streams, pids: Sequence[int], at: int, ears: int, per_s: int, events: int) -> _Cost:
    """Stores events at a rate while `ears` connections to the port `at` hear them."""
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
        await _quiet(heard)
        before, bytes_before = [cpu_s([pid]) for pid in pids], sum(ear.received for ear in heard)
        began = time.monotonic()
        await _pour(streams, test_id, per_s, events)
        per_s_really = events / (time.monotonic() - began)
        await _quiet(heard)
        used = [(cpu_s([pid]) - was) / events * 1e6 for pid, was in zip(pids, before, strict=True)]
        grown = sum(ear.received for ear in heard) - bytes_before
    finally:
        for ear in heard:
            ear.transport.abort()
    return _Cost(used, grown / events / ears if ears else 0.0, per_s_really)


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


def _row(name: str, ears: int, used_us: float, cost: _Cost) -> list[str]:
    report.say(f"{name}, {cost.per_s:.0f} a second, {ears} edges: {used_us:.0f} µs an event")
    size = f"{cost.bytes_an_ear:.0f}" if ears else report.NONE
    return [name, f"{ears}", f"{cost.per_s:,.0f}", report.figure(used_us), size]


async def _one(directory: Path, kinds: Sequence[tuple[int, int]], seconds: float) -> tuple[list[list[str]], str]:
    rows, many = [], ", many events"
    async with EmbeddedServer(directory) as server, _connected(server.url, 1) as streams:
        for per_s, ears in kinds:
            cost = await _cost(streams, [server.child.pid], server.port, ears, per_s, int(per_s * seconds))
            rows.append(_row(f"one node{many if per_s > _SLOW_PER_S else ''}", ears, cost.by_server[0], cost))
        read_us = await _reads(streams, server.child.pid, int(200 * seconds))
    return rows, f"A read of {_READ_EVENTS} events of a run costs one node {report.figure(read_us)} µs."


async def _three(directory: Path, ears: int, seconds: float) -> list[str]:
    async with Cluster(directory) as cluster:
        await cluster.whole()
        leader = await cluster.leader()
        pids = [node.child.pid for node in cluster.nodes if node.child is not None]
        cost = await _cost(cluster.streams, pids, leader.port, ears, _SLOW_PER_S, int(_SLOW_PER_S * seconds))
    return _row("three nodes, together", ears, sum(cost.by_server), cost)


async def _leaf(directory: Path, ears: int, seconds: float) -> list[list[str]]:
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
        cost = await _cost(streams, pids, ports["leaf"], ears, _SLOW_PER_S, int(_SLOW_PER_S * seconds))
    return [
        _row(f"{name}, all edges at one leaf node", ears, used, cost)
        for name, used in zip(("the hub", "the leaf node"), cost.by_server, strict=True)
    ]


async def broker(_programs: Path, quick: bool) -> str:
    """What an event costs the broker with no edge that hears it, and with up to 512."""
    seconds, slow, fast = (0.5, (0, 4), (0, 2)) if quick else (5.0, (0, 1, 16, 64, 256, 512), (0, 16, 64))
    kinds = [(_SLOW_PER_S, ears) for ears in slow] + [(_FAST_PER_S, ears) for ears in fast]
    with tempfile.TemporaryDirectory(dir=host.MEMORY) as name:
        rows, note = await _one(Path(name) / "one", kinds, seconds)
        rows.append(await _three(Path(name) / "three", fast[-1], seconds))
        rows += await _leaf(Path(name), fast[-1], seconds)
    head = ["", "edges that hear it", "events a second", "processor time an event, µs", "bytes to each edge"]
    text = (
        f"Events of {len(_EVENT)} bytes are stored and republished. The files are in memory, so that no disk is "
        "measured:"
    )
    return "\n".join([text, "", *report.table(head, rows), "", note])
