"""One edge node: its parts, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple

from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.connection import Connection, ConnectionStatistics
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.snapshot_store import SnapshotStore
from broker.jetstream.topology import Topology
from broker.retry import Backoff
from ws_edge.access import Access, OpenAccess
from ws_edge.config import EdgeConfig
from ws_edge.fanout.hub import Hub, HubStatistics
from ws_edge.fanout.replay import ReplayStatistics
from ws_edge.transport.admission import Admission, AdmissionStatistics
from ws_edge.views.catalogue import Catalogue, CatalogueStatistics
from ws_edge.views.pictures import Pictures, PicturesStatistics
from ws_edge.views.projector import Projector, ProjectorStatistics
from ws_edge.views.reaper import Reaper, ReaperStatistics
from ws_edge.views.requeue import Requeue, RequeueStatistics
from ws_edge.views.tests_channel import TestsChannel, TestsChannelStatistics

_DRAIN_BATCHES: Final = 10
_DRAIN_PAUSE_S: Final = 0.2
"""Between two batches, or less where `drain_s` is short: the other nodes do not get all viewers in one moment."""
_COME_BACK_MS: Final = (100, 1000)
"""When a viewer is told to come back: drawn for each, so that they do not arrive together."""
_DRAIN_LOOK_S: Final = 0.05
_RESTART_S: Final = 1.0
_LONGEST_RESTART_S: Final = 30.0
_log = logging.getLogger("testcast.edge")


class NodeStatistics(NamedTuple):
    """The figures of all parts of a node at one moment."""

    ready: bool
    draining: bool
    stale: bool
    failed: int
    """Parts that have failed and wait to be started again."""
    connection: ConnectionStatistics
    hub: HubStatistics
    replay: ReplayStatistics
    admission: AdmissionStatistics
    catalogue: CatalogueStatistics
    projector: ProjectorStatistics
    reaper: ReaperStatistics
    requeue: RequeueStatistics
    tests: TestsChannelStatistics
    pictures: PicturesStatistics


class Node:
    """What every request and socket of this process works with. Made by the application's lifespan."""

    def __init__(self, nats: Connection, config: EdgeConfig, replicas: int) -> None:
        self.nats = nats
        self.log = JetStreamLog(nats)
        self.config = config
        self.access: Access = OpenAccess()
        self.draining = False
        self.failed: set[str] = set()
        """Parts that have failed and wait to be started again."""
        self.tests = TestsChannel(config.high_water_bytes, lambda: self.stale)
        store = SnapshotStore(nats)
        self.catalogue = Catalogue(nats, store, self.tests.changed)
        self.hub = Hub(self.log, config, self.catalogue)
        self.hub.listeners = self.tests
        self.topology = Topology(nats, replicas=replicas)
        """Its `problems` say why a stream or consumer cannot be declared at the moment."""
        self.projector = Projector(self.log, store, self.catalogue, self.hub.since, self.topology.again)
        self.reaper = Reaper(self.log, self.catalogue, config.run_lost_s)
        self.requeue = Requeue(self.log, self.catalogue, self.topology)
        self.admission = Admission(config.max_sockets, config.max_sockets_per_address, config.handshakes_per_s)
        self.pictures = Pictures(self.log.streams)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Node {self.hub!r} {self.catalogue!r} {self.projector!r}>"

    def statistics(self) -> NodeStatistics:
        """The figures of this moment."""
        return NodeStatistics(
            ready=self.ready,
            draining=self.draining,
            stale=self.stale,
            failed=len(self.failed),
            connection=self.nats.statistics(),
            hub=self.hub.statistics(),
            replay=self.hub.replay.statistics(),
            admission=self.admission.statistics(),
            catalogue=self.catalogue.statistics(),
            projector=self.projector.statistics(),
            reaper=self.reaper.statistics(),
            requeue=self.requeue.statistics(),
            tests=self.tests.statistics(),
            pictures=self.pictures.statistics(),
        )

    @property
    def stale(self) -> bool:
        """What this node shows may be old: the broker, or its leader, is away."""
        return self.hub.stale or self.catalogue.stale_for_s is not None

    @property
    def ready(self) -> bool:
        """A load balancer may send viewers here."""
        return self.nats.connected and self.catalogue.filled.is_set() and not self.draining and not self.failed

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here."""
        return self.catalogue.snapshot(test_id)

    async def cancel(self, test_id: str) -> Snapshot:
        """Ends a run as cancelled. Returns the snapshot after it.

        Raises:
            NotFound, AlreadyEnded, BrokerUnavailable.
        """
        return await runs.cancel(self.log, test_id)

    async def start(self) -> None:
        """Starts every part. While the broker is away the node serves what needs no broker, and is not ready."""
        self._run("hub", self.hub.run)
        self._run("tests", partial(self.tests.run, self.catalogue))
        self._run("views", self._start_views)

    async def _start_views(self) -> None:
        """The views read streams: they start when declaring them was tried, and each waits for its own."""
        await self.topology.until_tried()
        self._run("topology", self.topology.until_standing)
        self._run("catalogue", self.catalogue.run)
        if self.config.projector:
            self._run("projector", self.projector.run)
        if self.config.reaper:
            self._run("reaper", self.reaper.run)
            self._run("requeue", self.requeue.run)

    def _run(self, name: str, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self._supervise(name, part), name=name))

    async def _supervise(self, name: str, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs a part, and starts it again when it fails. The node is not ready meanwhile."""
        backoff = Backoff(_RESTART_S, _LONGEST_RESTART_S)
        while True:
            try:
                await part()
                return
            except Exception:
                delay_s = backoff.next()
                _log.critical("%s has failed; it is started again in %g s", name, delay_s, exc_info=True)
            self.failed.add(name)
            await asyncio.sleep(delay_s)
            self.failed.discard(name)

    async def drain(self) -> None:
        """Sends every viewer to another node, in batches, and returns when all have gone or `drain_s` is over."""
        self.draining = True
        loop, rng = asyncio.get_running_loop(), random.Random()
        sockets = [socket for socket in self.hub.sockets if not socket.closing_since]
        rng.shuffle(sockets)
        _log.info("draining: %d sockets within %g s", len(sockets), self.config.drain_s)
        deadline = loop.time() + self.config.drain_s
        size = max(1, -(-len(sockets) // _DRAIN_BATCHES))
        for start in range(0, len(sockets), size):
            for socket in sockets[start : start + size]:
                socket.goodbye(rng.randrange(*_COME_BACK_MS), "this node is going away")
            await asyncio.sleep(min(_DRAIN_PAUSE_S, self.config.drain_s / (2 * _DRAIN_BATCHES)))
        while self.hub.sockets and loop.time() < deadline:
            await asyncio.sleep(_DRAIN_LOOK_S)
        _log.info("drained %d sockets, %d are left", len(sockets), len(self.hub.sockets))

    async def stop(self) -> None:
        """Stops every part and closes the connection to the broker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hub.close()
        await self.nats.close()
