"""A small installation with metrics: broker, edges, agent, viewers, publisher, and a Prometheus that reads it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final, Self

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from broker.contract import subjects
from broker.contract.errors import TestcastError
from broker.jetstream import runs, topology
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.local.child_process import Child
from broker.local.embedded_server import EmbeddedServer
from tests.harness import EdgeProcess, begin, event_log, free_port, publish, say, until
from tests.monitoring.prometheus import Prometheus

_AGENT: Final = Path(__file__).with_name("agent.py")
_VIEWERS: Final = 4
_PAUSE_S: Final = 0.05
_BETWEEN_RUNS_S: Final = 4.0
SETTINGS: Final = {"TESTCAST_EDGE_CANARY_S": "1", "TESTCAST_EDGE_DRAIN_S": "1"}


class Edge(EdgeProcess):
    """An edge that shows its metrics on a port of its own."""

    def __init__(self, nats_url: str, directory: Path, **settings: str) -> None:
        self.metrics_port = free_port()
        given = SETTINGS | {"TESTCAST_METRICS_PORT": str(self.metrics_port)} | settings
        super().__init__(nats_url, directory, **given)

    async def start(self) -> Self:
        """Starts the process and waits until it is ready."""
        await super().start()
        return self


class World:
    """The installation. Made by `world`.

    Attributes:
        supervised: an edge with two workers behind one port.
        single: an edge of one process.
    """

    def __init__(self, directory: Path, broker: EmbeddedServer, streams: Streams) -> None:
        self.directory = directory
        self.broker = broker
        self.streams = streams
        self.supervised = Edge(broker.url, directory, TESTCAST_EDGE_WORKERS="2")
        self.single = Edge(broker.url, directory)
        self.agent_port = free_port()
        self.agent: Child | None = None
        self.test_id = ""
        self.prometheus: Prometheus
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<World {self.directory}>"

    async def start(self) -> None:
        """Starts edges, agent, viewers and publisher."""
        self.start_agent()
        for edge in (self.supervised, self.single):
            edge.spawn()
        for edge in (self.supervised, self.single):
            await edge.until_ready()
        self.test_id = await begin(self.streams)
        await self.streams.store(subjects.events(self.test_id), b"no event")  # without one no reason is counted
        for edge in (self.supervised, self.single):
            self._tasks += [asyncio.create_task(self._watch(edge)) for _ in range(_VIEWERS)]
            self._tasks.append(asyncio.create_task(self._poll(edge)))
        self._tasks.append(asyncio.create_task(self._publish()))
        self._tasks.append(asyncio.create_task(self._submit()))
        await self.submit("waits")

    async def stop(self) -> None:
        """Stops everything but the broker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        children = [each.child for each in (self.supervised, self.single) if hasattr(each, "child")]
        await asyncio.gather(*(each.stop(10) for each in (*children, *([self.agent] if self.agent else []))))

    def start_agent(self) -> None:
        """Starts the agent."""
        argv = [sys.executable, str(_AGENT), self.broker.url, str(self.agent_port)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TESTCAST_")}
        self.agent = Child(argv, self.directory / "agent.log", environment)

    async def submit(self, title: str) -> str:
        """Submits a run, which the agent plays as its title says. Returns its test id."""
        return await runs.submit(event_log(self.streams), runs.make_job("https://game.example/", title, 600, 1))

    @contextlib.asynccontextmanager
    async def viewer(self, edge: EdgeProcess) -> AsyncIterator[ClientConnection]:
        """A socket that watches the run and reads nothing by itself."""
        url = f"{edge.ws_url}?testId={self.test_id}"
        async with connect(url, proxy=None, open_timeout=30, ping_interval=None) as connection:
            yield connection

    async def _watch(self, edge: EdgeProcess) -> None:
        while True:
            with contextlib.suppress(OSError, ConnectionClosed, TimeoutError, EOFError):
                async with self.viewer(edge) as connection:
                    await say(connection, {"type": "subscribe", "channel": "tests"})
                    async for _ in connection:
                        pass
            await asyncio.sleep(1)

    async def _poll(self, edge: EdgeProcess) -> None:
        async with httpx.AsyncClient(base_url=edge.url, timeout=30, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await client.get("/rpc/listTests")
                await asyncio.sleep(1)

    async def _submit(self) -> None:
        while True:
            with contextlib.suppress(TestcastError):
                await self.submit("plays")
            await asyncio.sleep(_BETWEEN_RUNS_S)

    async def _publish(self) -> None:
        number = 0
        while True:
            number += 1
            with contextlib.suppress(TestcastError):  # the broker is away: a fault that a test has caused
                await publish(self.streams, self.test_id, f"event {number}")
            await asyncio.sleep(_PAUSE_S)

    # -- what it is asked ----------------------------------------------------------------------------------------

    async def fires(self, name: str, within_s: float = 60.0) -> None:
        """Waits until an alert fires.

        Raises:
            AssertionError: it does not.
        """
        await until(lambda: self.prometheus.firing(name), within_s=within_s, what=f"{name} fires")

    async def is_silent(self, name: str, within_s: float = 60.0) -> None:
        """Waits until an alert does not fire."""

        async def silent() -> bool:
            return await self.prometheus.firing(name) is None

        await until(silent, within_s=within_s, what=f"{name} does not fire any more")


@contextlib.asynccontextmanager
async def world(
    program: str, directory: Path, thresholds: Mapping[str, tuple[str, str]] | None = None
) -> AsyncIterator[World]:
    """The installation, started, with its Prometheus.

    Args:
        program: Prometheus' path.
        thresholds: see `Prometheus`.
    """
    async with EmbeddedServer(directory / "nats") as broker:
        nats = await Connection.connect(broker.url, name="world")
        await topology.apply(nats)
        made = World(directory, broker, Streams(nats))
        try:
            await made.start()
            edges = [made.supervised.metrics_port, made.single.metrics_port]
            targets = {"testcast-edge": edges, "testcast-agent": [made.agent_port]}
            async with Prometheus(program, directory, targets, thresholds) as made.prometheus:
                yield made
        finally:
            await made.stop()
            await nats.close()
