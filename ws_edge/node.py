"""One edge node: its parts, started and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from broker.contract.snapshot import Snapshot
from broker.jetstream import runs, topology
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from ws_edge.access import Access, OpenAccess
from ws_edge.api.response_cache import ResponseCache
from ws_edge.config import EdgeConfig
from ws_edge.fanout.hub import Hub
from ws_edge.transport.admission import Admission
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.pictures import Shots
from ws_edge.views.projector import Projector
from ws_edge.views.reaper import Reaper
from ws_edge.views.tests_channel import TestsChannel

_GOODBYE_BATCHES: Final = 10
_log = logging.getLogger("testcast.edge")


class Node:
    """What a request, or a socket, finds behind the door. Made by the application's lifespan."""

    def __init__(self, nats: Connection, config: EdgeConfig, replicas: int) -> None:
        self.nats = nats
        self.log = JetStreamLog(nats)
        self.config = config
        self.access: Access = OpenAccess()
        self._replicas = replicas
        self.draining = False
        self.tests = TestsChannel(config.high_water_bytes, lambda: self.stale)
        self.catalogue = Catalogue(nats, self.tests.changed)
        self.hub = Hub(self.log, config, self.catalogue)
        mend = partial(topology.apply, nats, replicas=replicas, timeout_s=5)
        self.projector = Projector(nats, self.catalogue, self.hub.since, mend)
        self.hub.listeners = self.tests
        self.admission = Admission(config.max_sockets, config.max_sockets_per_address, config.handshakes_per_s)
        self.reaper = Reaper(self.log, self.catalogue, config.run_lost_s)
        self.shots = Shots(self.log.streams)
        self.response_cache = ResponseCache()
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Node {self.hub!r} {self.catalogue!r} {self.projector!r}>"

    @property
    def stale(self) -> bool:
        """What this node shows may be old: the broker, or its leader, is away."""
        return self.hub.stale or self.catalogue.stale_for_s is not None

    @property
    def ready(self) -> bool:
        """A load balancer may send viewers here."""
        return self.nats.connected and self.catalogue.filled.is_set() and not self.draining

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
        """Starts every part. The broker may be away: then the node waits for it, not ready."""
        self._run("hub", self.hub.run())
        self._run("tests", self.tests.run(self.catalogue))
        self._run("topology", self._prepare())

    async def _prepare(self) -> None:
        """What needs the streams waits until they stand."""
        await topology.apply(self.nats, replicas=self._replicas, timeout_s=float("inf"))
        self._run("catalogue", self.catalogue.run())
        if self.config.projector:
            self._run("projector", self.projector.run())
        if self.config.reaper:
            self._run("reaper", self.reaper.run())

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_report)
        self._tasks.append(task)

    async def drain(self) -> None:
        """Sends every viewer elsewhere, in spaced batches with spread hints, within `drain_s` (DESIGN 5, Drain)."""
        self.draining = True
        loop, rng = asyncio.get_running_loop(), random.Random()
        sockets = [socket for socket in self.hub.sockets if not socket.closing_since]
        rng.shuffle(sockets)
        _log.info("draining: %d sockets within %g s", len(sockets), self.config.drain_s)
        deadline = loop.time() + self.config.drain_s
        size = max(1, -(-len(sockets) // _GOODBYE_BATCHES))
        for start in range(0, len(sockets), size):
            for socket in sockets[start : start + size]:
                socket.goodbye(rng.randrange(100, 1000), "this node is going away")
            await asyncio.sleep(min(0.2, self.config.drain_s / (2 * _GOODBYE_BATCHES)))
        while self.hub.sockets and loop.time() < deadline:
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Stops every part and closes the connection to the broker."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self.hub.close()
        await self.nats.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.critical("%s has stopped", task.get_name(), exc_info=task.exception())
