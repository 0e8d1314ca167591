"""The edge as a peer of the compared systems: alone, in several processes, of another checkout, and over plain HTTP."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import ClassVar, NamedTuple

import httpx

from broker.jetstream import topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from tests.bench.host import SERVER_CORE, on_cores
from tests.bench.peers import OnNats
from tests.harness import EdgeProcess, begin, event_log, until


class NextEvent(NamedTuple):
    """Where a run's next event will be."""

    epoch: str
    seq: int


async def next_event(edge: EdgeProcess, streams: Streams, test_id: str) -> NextEvent:
    """Asks for it."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{edge.url}/rpc/connectToTest", json={"testId": test_id})
    return NextEvent(answer.raise_for_status().json()["epoch"], await event_log(streams).last(test_id) + 1)


def by_stream(port: int, test_id: str) -> list[str]:
    """Arguments for viewers that read server-sent events (c/load.c)."""
    return ["-p", str(port), "-m", "stream", "-u", f"/tests/{test_id}/events", "-w", "event: sync"]


def by_polls(port: int, test_id: str, following: NextEvent) -> list[str]:
    """Arguments for viewers that send a long poll after the other (c/load.c)."""
    at = f"/tests/{test_id}/events"
    again = f"{at}?epoch={following.epoch}&after=%u&wait=30"
    return ["-p", str(port), "-m", "poll", "-u", at, "-r", again, "-o", str(following.seq)]


class Edge(OnNats):
    """The edge. Events are stored in the stream first; replay, limits and projector have their default settings."""

    name = "testcast edge"
    full_rate_events = 10_000
    workers: ClassVar[int] = 1
    checkout: ClassVar[Path | None] = None
    """The checkout whose code runs; None for this checkout."""
    module: ClassVar[str] = "ws_edge"
    """What Python runs."""

    def settings(self) -> dict[str, str]:
        """Further settings of the edge."""
        return {}

    async def start(self) -> None:
        await super().start()
        self.nats = await Connection.connect(self.broker.url, name="bench")
        self._started.push_async_callback(self.nats.close)
        await topology.apply(self.nats)
        self.streams = Streams(self.nats)
        self.test_id = await begin(self.streams)
        settings = {"TESTCAST_EDGE_MAX_SOCKETS_PER_ADDRESS": "0", "TESTCAST_EDGE_WORKERS": str(self.workers)}
        self.process = _PinnedEdge(self.broker.url, self.directory, **settings, **self.settings())
        self.process.checkout, self.process.module = self.checkout, self.module
        self.port = self.process.port
        self.process.spawn()
        self._started.push_async_callback(self.process.child.stop, 0)
        await self.process.until_ready()
        up = "Application startup complete"  # the port answers as soon as one process is up
        await until(
            lambda: self.process.log.read_text().count(up) >= self.workers, within_s=20, what="all processes up"
        )

    async def begin(self, runs: int) -> list[str]:
        """Starts `runs` runs and waits until the list has them. Returns their test ids."""
        ids = list(await asyncio.gather(*(begin(self.streams, f"Game {n}") for n in range(runs))))
        await self.listed(runs)
        return ids

    async def listed(self, runs: int, within_s: float = 30) -> None:
        """Waits until the list has so many running tests."""
        async with httpx.AsyncClient(timeout=60) as client:

            async def there() -> bool:
                answer = await client.get(f"{self.process.url}/rpc/listTests?limit=1")
                return bool(answer.json().get("counts", {}).get("running", 0) >= runs)

            await until(there, within_s=within_s, what="the list has all runs")

    def pids(self) -> list[int]:
        parent = self.process.child.pid
        if self.workers == 1:
            return [parent]
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]

    def viewers(self) -> list[str]:
        return ["-p", str(self.port), "-u", f"/ws?testId={self.test_id}", "-w", '"sync"']

    def publisher(self) -> list[str]:
        return ["-m", "jetstream", "-p", str(self.broker.port), "-u", f"test.{self.test_id}.events"]


class EarlierEdge(Edge):
    """The edge of another checkout, usually of an earlier commit (`--earlier`)."""

    name = "testcast edge, earlier"


class EdgeOneByOne(Edge):
    """The edge without io_uring, as in most containers. The simulation takes its figures (scale/measured.py)."""

    name = "testcast edge, a call for each viewer"

    def settings(self) -> dict[str, str]:
        return {"TESTCAST_EDGE_IO_URING": "0"}


class EdgeStreams(Edge):
    """The edge, whose viewers read server-sent events."""

    name = "testcast edge, server-sent events"

    def viewers(self) -> list[str]:
        return by_stream(self.port, self.test_id)


class EdgePolls(Edge):
    """The edge, whose viewers ask again for each answer, and wait for it."""

    name = "testcast edge, long polls"

    def settings(self) -> dict[str, str]:
        """As many connections and requests as there are viewers, all from one address."""
        limits = {"MAX_CONNECTIONS": 20_000, "MAX_CONNECTIONS_PER_ADDRESS": 0, "READS_PER_S": 0}
        return {f"TESTCAST_EDGE_{name}": str(value) for name, value in limits.items()}

    async def start(self) -> None:
        await super().start()
        self._next = await next_event(self.process, self.streams, self.test_id)

    def viewers(self) -> list[str]:
        return by_polls(self.port, self.test_id, self._next)


class TwoEdges(Edge):
    """The edge with two processes, on both cores."""

    name = "testcast edge, 2 processes"
    workers = 2


class FourEdges(Edge):
    """The edge with four processes, on both cores."""

    name = "testcast edge, 4 processes"
    workers = 4


class EightEdges(Edge):
    """The edge with eight processes, on both cores."""

    name = "testcast edge, 8 processes"
    workers = 8


class _PinnedEdge(EdgeProcess):
    """An edge on the first core, or on both cores if it has several processes."""

    checkout: Path | None = None
    module = "ws_edge"

    def spawn(self) -> None:
        several = int(self._env["TESTCAST_EDGE_WORKERS"]) > 1
        cores = "0,1" if several else SERVER_CORE
        argv = [sys.executable, "-m", self.module]
        if self.checkout is not None:
            # Python would find the other packages of the checkout that is installed here
            argv = ["env", f"--chdir={self.checkout}", f"PYTHONPATH={self.checkout}", *argv]
        self.child = Child(on_cores(cores, argv), self.log, self._env)
