"""Everything that can fail, running together: a cluster, edges behind links, publishers, viewers."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple, Self

from broker.contract.errors import BrokerUnavailable
from tests.faults.checker import History
from tests.faults.clock import Clock, NoCompiler
from tests.faults.cluster import Cluster
from tests.faults.link import CLEAR, Link, Weather
from tests.faults.viewers import BEAT_S
from tests.faults.workload import Crowd, Publishers, heads
from tests.full_disk import Filler, small_disk
from tests.harness import EdgeProcess, until


class Size(NamedTuple):
    """The number of each part, and the settings of the test."""

    brokers: int = 3
    """3, or 1 for a broker without a cluster."""
    edges: int = 3
    runs: int = 3
    events_per_s: float = 4.0
    """Rate of each run."""
    sockets: int = 50
    streams: int = 6
    """Streams of server-sent events."""
    pollers: int = 4
    long_polls: int = 2
    tails: int = 2
    """Tails alternate between NATS and an edge."""
    pages: int = 1
    pace_s: float = 0.25
    """`TESTCAST_EDGE_PROGRESS_INTERVAL_S`."""
    beat_s: float = BEAT_S
    """`TESTCAST_EDGE_HEARTBEAT_S`."""
    disk_mib: int = 0
    """The brokers share a disk of this size; 0: they use the machine's."""


class Edge:
    """An edge, its links to the broker's nodes, and the link through which viewers connect."""

    def __init__(self, name: str, cluster: Cluster, directory: Path, size: Size, env: Mapping[str, str]) -> None:
        self.name = name
        self.to_broker = [Link(node.port) for node in cluster.nodes]
        self._directory = directory
        self._settings = {
            "TESTCAST_EDGE_PROGRESS_INTERVAL_S": str(size.pace_s),
            "TESTCAST_EDGE_HEARTBEAT_S": str(size.beat_s),
            "TESTCAST_EDGE_DRAIN_S": "3",
            "TESTCAST_NATS_REPLICAS": str(size.brokers),
            **env,
        }
        self.process: EdgeProcess
        self.front: Link

    def __repr__(self) -> str:
        return f"<Edge {self.name} {self.front!r} {self.process.child!r}>"

    @property
    def url(self) -> str:
        """The address at which viewers reach it."""
        return f"http://127.0.0.1:{self.front.port}"

    async def open(self, stack: AsyncExitStack) -> None:
        """Starts the links and the edge; `stack` stops them."""
        for link in self.to_broker:
            await stack.enter_async_context(link)
        url = ",".join(f"nats://127.0.0.1:{link.port}" for link in self.to_broker)
        self.process = EdgeProcess(url, self._directory, **self._settings)
        self.front = await stack.enter_async_context(Link(self.process.port))
        stack.push_async_callback(self.kill)
        await self.start()

    async def start(self) -> None:
        """Starts or restarts the edge on the same port."""
        await self.process.start()

    async def kill(self) -> None:
        """Kills the edge with -9 and waits for its end."""
        self.process.child.signal(signal.SIGKILL)
        await self.process.child.wait()

    def signal(self, number: int) -> None:
        """Sends a signal: SIGSTOP, SIGCONT or SIGTERM."""
        self.process.child.signal(number)

    def set_broker_weather(self, weather: Weather) -> None:
        """Sets the weather of its links to the broker."""
        for link in self.to_broker:
            link.weather = weather


def _clocks(edges: Sequence[str], directory: Path) -> dict[str, list[Clock]]:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        return {"edge": [Clock(name, directory) for name in edges], "agent": [Clock("agents", directory)]}
    except NoCompiler:
        return {"edge": [], "agent": []}


class World:
    """All parts of a test. An async context manager: on entry everything runs and every viewer is current."""

    def __init__(self, directory: Path, size: Size, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.history = History()
        self.disk: Filler | None = None
        """What fills the brokers' disk; None without a disk of their own."""
        self._stack = AsyncExitStack()
        self.directory = directory / "cluster"
        stores: Path | None = None
        if size.disk_mib:
            stores = self._stack.enter_context(small_disk(directory / "disk", size.disk_mib))
            self.disk = Filler(stores)
        self.cluster = Cluster(self.directory, size.brokers, stores=stores)
        edges = [f"edge-{number}" for number in range(size.edges)]
        self.clocks = _clocks(edges, directory)
        """The clocks of the edges and, as one, of the publishers; none where they cannot be shifted."""
        env = dict(zip(edges, (each.env for each in self.clocks["edge"]), strict=False))
        self.edges = [Edge(name, self.cluster, directory, size, env.get(name, {})) for name in edges]
        of_agents = self.clocks["agent"][0].env if self.clocks["agent"] else {}
        self.publishing = Publishers(self.cluster.url, directory, size.events_per_s, of_agents)
        self.crowd: Crowd

    def __repr__(self) -> str:
        return f"<World {self.cluster!r} {self.edges!r} {self.publishing!r}>"

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.cluster)
            await self.cluster.whole()
            await asyncio.gather(*(edge.open(self._stack) for edge in self.edges))
            self._stack.callback(self.publishing.kill)
            await self.publishing.begin(self.cluster.streams, self.size.runs)
            urls = [edge.url for edge in self.edges]
            self.crowd = Crowd(self.history, self.publishing.runs, urls, self.cluster.url)
            size = self.size
            counts = (size.sockets, size.pollers, size.tails, size.pages, self.seed)
            self.crowd.gather(*counts, streams=size.streams, long_polls=size.long_polls)
            self._stack.push_async_callback(self.crowd.leave)
            await self.settled(time.monotonic(), within_s=60)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for edge in self.edges:
            edge.set_broker_weather(CLEAR)
            edge.front.weather = CLEAR
        await self._stack.aclose()

    async def settled(self, since: float, within_s: float) -> None:
        """Waits until every run has an acknowledgement after `since` and every viewer has what was stored by then.

        Raises:
            AssertionError: not within `within_s`.
        """
        deadline = time.monotonic() + within_s
        runs = self.publishing.runs
        await until(
            lambda: all(self.publishing.last_acked(run) > since for run in runs),
            within_s=within_s,
            what=f"every run publishes again: {self.publishing!r}",
        )
        if not runs:
            return
        found = await until(self.heads, within_s=max(1.0, deadline - time.monotonic()), what="the leader answers")
        await self.crowd.current(found, max(1.0, deadline - time.monotonic()))

    async def heads(self) -> dict[str, int] | None:
        """The newest sequence of each run; None while there is no leader."""
        try:
            return await heads(self.cluster.streams, self.publishing.runs)
        except BrokerUnavailable:
            return None
