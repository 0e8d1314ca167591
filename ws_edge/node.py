"""One edge node: its parts, started and stopped together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.jetstream.access_store import AccessStore
from broker.jetstream.api import Streams
from broker.jetstream.connection import Connection
from broker.jetstream.event_log import JetStreamLog
from broker.jetstream.snapshot_store import SnapshotStore
from broker.jetstream.topology import Topology
from broker.jetstream.write_check import WriteCheck
from broker.retry import Backoff
from ws_edge.access import Access, OpenAccess, Principal
from ws_edge.access.projects import ProjectAccess
from ws_edge.access.records import Records
from ws_edge.config import EdgeConfig
from ws_edge.fanout.canary import Canary
from ws_edge.fanout.drain import drain
from ws_edge.fanout.hub import Hub
from ws_edge.fanout.poll import Polls
from ws_edge.node_statistics import NodeStatistics
from ws_edge.transport.admission import Admission
from ws_edge.transport.call_figures import CallFigures
from ws_edge.transport.connections import Connections
from ws_edge.transport.hosts import hosts_of
from ws_edge.transport.inbound import Inbound
from ws_edge.transport.listener import files_for_connections
from ws_edge.transport.quotas import Quotas
from ws_edge.transport.unread import UnreadAnswers
from ws_edge.views.agent_list import AgentList
from ws_edge.views.agents import Agents
from ws_edge.views.broker_clock import BrokerClock
from ws_edge.views.catalogue import Catalogue
from ws_edge.views.installation import Installation
from ws_edge.views.keeping import Keeping
from ws_edge.views.listing import RunList
from ws_edge.views.pictures import Pictures
from ws_edge.views.projector import Projector
from ws_edge.views.reaper import Reaper
from ws_edge.views.refill import Refill
from ws_edge.views.requeue import Requeue
from ws_edge.views.tests_channel import TestsChannel
from ws_edge.webhooks.sender import Webhooks

if TYPE_CHECKING:
    from ws_edge.access.proofs import ProofAccess
    from ws_edge.access.token_access import TokenAccess

_UNREAD_SWEEP_S: Final = 0.5
_RESTART_S: Final = 1.0
_LONGEST_RESTART_S: Final = 30.0
_PROVEN_S: Final = 5.0
"""A part that was started again counts as failed until it has run for this long."""
_log = logging.getLogger("testcast.edge")

Part = Callable[[], Coroutine[Any, Any, None]]


class Node:
    """What every request and socket of this process works with. Made by the application's lifespan."""

    def __init__(self, nats: Connection, config: EdgeConfig, replicas: int) -> None:
        self.nats = nats
        self.log = JetStreamLog(nats)
        self.config = config
        self._parts: dict[str, Part] = {}
        """What runs besides, by name."""
        self._access: Access = OpenAccess()
        self._has_keys: Callable[[], bool] = lambda: True
        """Whether the keys of tokens have been read. Without authentication there are none."""
        self.draining = False
        self.failed: set[str] = set()
        """Parts that have failed and wait to be started again."""
        self.tests = TestsChannel(config.high_water_bytes, lambda: self.stale_for_s)
        store = SnapshotStore(nats)
        self.catalogue = Catalogue(nats, store, self.tests.changed, checked=True)
        self.hub = Hub(self.log, config, self.catalogue)
        self.polls = Polls(self.hub)
        self.records = Records(AccessStore(nats))
        """What was revoked and shared. Without authentication it is neither read nor asked."""
        self.records.on_end.append(self.hub.proofs.end)
        self.topology = Topology(nats, replicas=replicas)
        """Its `problems` say why a stream or consumer cannot be declared at the moment."""
        repair, epoch, note = self.topology.again, lambda: self.hub.epoch, self.hub.unreadable.note
        self.projector = Projector(self.log, store, self.catalogue, self.hub.since, repair, epoch, note)
        if config.projector:
            self.hub.on_disproved.append(self._fold_again)
        private, hosts = config.allow_private, config.allowed_hosts
        self.requeue = Requeue(self.log, self.catalogue, self.topology, allow_private=private, allowed_hosts=hosts)
        self.broker_clock = BrokerClock()
        self.webhooks = Webhooks(nats, self.catalogue, self.broker_clock, config.webhooks, config.page_of)
        read_by = (self.log, store, self.catalogue, self.broker_clock)
        fold, refuses = self.projector.fold if config.projector else None, self.projector.refuses
        self.refill = Refill(*read_by, fold=fold, refuses=refuses, repair=repair)
        self.agents = Agents(self.log.streams, self.catalogue)
        self._limit_strangers(config)
        self._count_and_measure(config)
        self.pictures = Pictures(nats, self.hub, config.high_water_bytes)
        self.hub.listeners = (self.tests, self.pictures.channel)
        self._end_and_delete(config)
        self._tokens: TokenAccess | None = None
        self.proofs: ProofAccess | None = None
        """How requests prove who sends them. None: without authentication."""
        if config.access.enabled:
            self.access = self.proofs = self._proof_access()
        self._tasks: list[asyncio.Task[None]] = []

    def _end_and_delete(self, config: EdgeConfig) -> None:
        """Makes what ends runs, and what keeps and deletes them."""
        self.reaper = Reaper(self.log, self.catalogue, self.broker_clock, config.run_lost_s)
        self.keeping = Keeping(self.log, self.catalogue, self.broker_clock, config, self.hub.topics.__contains__)
        self.keeping.on_deleted += [self.hub.deleted, self.pictures.forget, self.polls.forget]

    def _limit_strangers(self, config: EdgeConfig) -> None:
        """Counts what clients use up. Where the system permits few open files, they share those: sockets leave a tenth
        to HTTP, and no address takes more than half."""
        limits, files = config.limits, files_for_connections()
        sockets = min(config.max_sockets, files - files // 10)
        half = max(1, files // 2)
        self.admission = Admission(sockets, min(config.max_sockets_per_address, half), config.handshakes_per_s)
        most, each = limits.max_connections, limits.max_connections_per_address
        self.connections = Connections(most, min(each, half), files)
        self.hosts = hosts_of(config)
        self.quotas = Quotas(limits, config.max_subscriptions)
        self.inbound = Inbound(self.quotas)
        self.unread = UnreadAnswers(limits.answer_s, limits.max_unread_bytes)

    def _count_and_measure(self, config: EdgeConfig) -> None:
        """Makes what exists for figures only."""
        self.calls = CallFigures()
        self.canary = Canary(self.hub, self.log.append_probe, config.canary_s)
        streams = Streams(self.nats, mends=False)
        self.installation = Installation(streams)
        self.agent_list = AgentList(streams, self.catalogue, self.broker_ms, self.installation.on_alive)
        self.catalogue.on_alive = self.agent_list.on_alive
        self.hub.figures.broker = self.broker_clock

    def __repr__(self) -> str:
        return f"<Node {self.hub!r} {self.catalogue!r} {self.projector!r}>"

    def _proof_access(self) -> ProofAccess:
        from ws_edge.access.proofs import ProofAccess  # cryptography takes 0.3 s to import
        from ws_edge.access.token_access import TokenAccess

        self._tokens = tokens = TokenAccess(self.config.access, ProjectAccess(self.catalogue.snapshot, self.project_of))
        tokens.revoked = self.records.revoked
        self._parts["access keys"] = tokens.keys.run
        self._has_keys = lambda: tokens.keys.read
        return ProofAccess(tokens, self.records, self.config.access.session_key)

    def statistics(self) -> NodeStatistics:
        """The figures of this moment."""
        return NodeStatistics(
            ready=self.ready,
            draining=self.draining,
            stale_for_s=self.stale_for_s,
            degraded=len(self.degraded),
            failed=len(self.failed),
            connection=self.nats.statistics(),
            hub=self.hub.statistics(),
            canary=self.canary.statistics(),
            queue_oldest_s=self._queue_oldest_s(),
            proofs_given_up=self.hub.proofs.given_up,
            fanout=self.hub.figures.statistics(),
            sockets=self.hub.socket_figures.statistics(),
            polls=self.polls.statistics(),
            calls=self.calls.statistics(),
            tokens=None if self._tokens is None else self._tokens.statistics(),
            installation=self.installation.statistics(),
            replay=self.hub.replay.statistics(),
            admission=self.admission.statistics(),
            connections=self.connections.statistics(),
            unread=self.unread.statistics(),
            quotas=self.quotas.statistics(),
            inbound=self.inbound.statistics(),
            catalogue=self.catalogue.statistics(),
            projector=self.projector.statistics(),
            refill=self.refill.statistics(),
            reaper=self.reaper.statistics(),
            keeping=self.keeping.statistics(),
            requeue=self.requeue.statistics(),
            webhooks=self.webhooks.statistics(),
            tests=self.tests.statistics(),
            unreadable=self.hub.unreadable.statistics(),
            pictures=self.pictures.statistics(),
            proofs=self.hub.proofs.statistics(),
            records=self.records.statistics(),
        )

    def _queue_oldest_s(self) -> float | None:
        since_ms, now_ms = self.catalogue.queue.oldest_ms, self.broker_ms()
        if since_ms is None:
            return 0.0
        return None if now_ms is None else max(0.0, (now_ms - since_ms) / 1000)

    @property
    def stale(self) -> bool:
        """What this node shows may be old: the broker, or its leader, is away."""
        return self.stale_for_s is not None

    @property
    def stale_for_s(self) -> float | None:
        """Since when it may be old, seconds ago; None while it is current."""
        ages = (self.hub.stale_for_s, self.catalogue.stale_for_s)
        return max((age for age in ages if age is not None), default=None)

    def broker_ms(self) -> int | None:
        """The broker's time, ms since 1970, with which the times of snapshots can be compared; None when unknown."""
        return self.broker_clock.now_ms(asyncio.get_running_loop().time())

    @property
    def ready(self) -> bool:
        """A load balancer may send viewers here: this node serves as well as any other could.

        A broker that is away is away for every node, and each of them still answers with what it knows.
        """
        return not self.why_not_ready

    @property
    def why_not_ready(self) -> list[str]:
        """Why viewers should be sent elsewhere, one plain sentence each."""
        reasons: list[str] = []
        if self.draining:
            reasons.append("it is going away: its viewers are sent to other edges")
        if self.failed:
            reasons.append(f"it has failed in part, and starts that again: {', '.join(sorted(self.failed))}")
        if not self.catalogue.filled.is_set():
            reasons.append("the list of tests is not filled yet")
        if not self._knows_access:
            reasons.append("revocations and share links have not been read yet")
        return reasons

    @property
    def _knows_access(self) -> bool:
        """It has read the keys and what was revoked, where requests need a proof: before that nobody is let in."""
        return (self.records.filled and self._has_keys()) or not self.config.access.enabled

    @property
    def degraded(self) -> list[str]:
        """What this node cannot do at the moment, one plain sentence each, for viewers and operators alike."""
        reasons: list[str] = []
        stale_for_s, denied = self.catalogue.stale_for_s, self.nats.connected and self.nats.denials.kinds
        if not self.nats.connected and (stale_for_s is not None or not self.catalogue.filled.is_set()):
            reasons.append("the broker cannot be reached: events and lists may be old, and nothing can be submitted")
        elif denied:
            reasons.append("the broker denies this server's user a part of what it needs: its log names each part")
        elif self.hub.stale:
            reasons.append("the event stream has no leader: events may be old, and nothing can be submitted")
        if not self.catalogue.filled.is_set():
            if self.nats.connected:
                reasons.append("the list of tests is not filled yet")
        elif stale_for_s is not None:
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() - stale_for_s))
            reasons.append(f"the list of tests is old: it was last current at {since}")
        if not self._has_keys():
            reasons.append("the keys of tokens have not been read yet: nobody can be let in with one")
        elif not self._knows_access:
            reasons.append("revocations and share links have not been read yet: nobody can be let in")
        if self.nats.connected and self.nats.storage.refusing:
            reasons.append(self.nats.storage.summary)
        if self.nats.connected and self.topology.problems:
            names = ", ".join(sorted(self.topology.problems))
            what = "it cannot be declared" if self.topology.manages else "an operator has to declare it"
            reasons.append(f"the broker lacks what this edge needs, and {what}: {names}")
        return reasons

    @property
    def access(self) -> Access:
        """Who may do what."""
        return self._access

    @access.setter
    def access(self, access: Access) -> None:
        """Sets who may do what. Where not everybody may see everything, places in the queue are by project."""
        self._access = access
        if not isinstance(access, OpenAccess):
            self.catalogue.place_by_project()
            self.tests.principals_change = True

    def runs_of(self, principal: Principal) -> RunList:
        """The list as the principal may see it."""
        return self.catalogue.scoped(principal.projects)

    async def project_of(self, test_id: str) -> str | None:
        """A run's project from its events, for `ProjectAccess`. See `runs.project_of`."""
        return await runs.project_of(self.log, test_id)

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here."""
        return self.catalogue.snapshot(test_id)

    def _fold_again(self, test_id: str, newest: int) -> None:
        """The snapshot may have been folded from a live event that was forged."""
        if newest:
            self.hub.spawn(self.projector.fold(test_id, newest, doubted=True))

    async def cancel(self, test_id: str) -> Snapshot:
        """Ends a run as cancelled. Returns the snapshot after it. Raises what `runs.cancel` does."""
        return await runs.cancel(self.log, test_id)

    async def start(self) -> None:
        """Starts every part. While the broker is away the node serves what needs no broker, and is not ready."""
        for name, part in self._parts.items():
            self._run(name, part)
        self._run("hub", self.hub.run)
        self._run("pictures", self.pictures.run)
        self._run("unread answers", self._sweep_unread)
        self._run("tests", partial(self.tests.run, self.catalogue))
        self._run("views", self._start_views, ends=True)

    async def _sweep_unread(self) -> None:
        """Closes connections whose clients do not take their answers."""
        while True:
            await asyncio.sleep(_UNREAD_SWEEP_S)
            self.unread.sweep(asyncio.get_running_loop().time())

    async def _start_views(self) -> None:
        """The views read streams: they start when declaring them was tried, and each waits for its own."""
        await self.topology.until_tried()
        self._run("topology", self.topology.keep_standing)
        self._run("catalogue", self.catalogue.run)
        if self.config.access.enabled:
            self._run("access", self.records.run)
        self._run("refill", self.refill.run)
        self._run("keeping", self.keeping.run)
        self._run("agents", self.agents.run)
        self._run("canary", self.canary.run)
        if self.config.projector:
            self._run("projector", self.projector.run)
            self._run("write check", WriteCheck(self.nats).run)
        self._run("webhooks", self.webhooks.run)
        if self.config.reaper:
            self._run("reaper", self.reaper.run)
            self._run("requeue", self.requeue.run)

    def _run(self, name: str, part: Part, *, ends: bool = False) -> None:
        """Starts a part.

        Args:
            ends: it is done when it returns. Any other part runs until it is cancelled.
        """
        work = self._supervise(name, part, ends)
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def _supervise(self, name: str, part: Part, ends: bool) -> None:
        """Runs a part, and starts it again when it fails. The node is not ready until it runs again for a while."""
        backoff = Backoff(_RESTART_S, _LONGEST_RESTART_S)
        loop = asyncio.get_running_loop()
        while True:
            proven = loop.call_later(_PROVEN_S, self.failed.discard, name)
            try:
                await part()
                if ends:
                    self.failed.discard(name)
                    return
                raise RuntimeError(f"{name} has ended by itself")
            except Exception:
                delay_s = backoff.next()
                _log.critical("%s has failed; it is started again in %g s", name, delay_s, exc_info=True)
            finally:
                proven.cancel()
            self.failed.add(name)
            await asyncio.sleep(delay_s)

    async def drain(self) -> None:
        """Sends every viewer to another node, in batches, and returns when all have gone or `drain_s` is over."""
        self.draining = True
        self.polls.drain()
        await drain(self.hub, self.config.drain_s)

    async def stop(self) -> None:
        """Stops every part and closes the connection to the broker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hub.close()
        await self.nats.close()
