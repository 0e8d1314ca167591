"""The hub: the topics of one node, and everything that has to happen to all of them once in a while.

Sockets and topics carry no timers for heartbeats, deadlines or checks: the hub sweeps all of them periodically.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Coroutine, Sequence
from typing import Any, Final, NamedTuple, Protocol

from broker import tracing
from broker.contract.errors import BrokerRefused, BrokerUnavailable
from broker.contract.ids import is_probe_id
from broker.contract.ports import MAX_HEADS, EventLog, Heads
from broker.contract.position import Position
from broker.contract.snapshot import Snapshot
from broker.log import RateLimited
from ws_edge.config import EdgeConfig
from ws_edge.encoding import Encoding
from ws_edge.fanout.figures import FanoutFigures, SocketFigures
from ws_edge.fanout.one_call import way_to_write
from ws_edge.fanout.proofs import OpenProofs
from ws_edge.fanout.replay import Replay
from ws_edge.fanout.ring import Entry
from ws_edge.fanout.session import Session, Viewer
from ws_edge.fanout.topic import LEADER_CHECK_EVERY_S, Topic
from ws_edge.fanout.traced import TracedTopic
from ws_edge.fanout.unreadable import UnreadableEvents

POLICY: Final = 1008
_TICK_S: Final = 0.25
_LINGER_S: Final = 5.0
"""How long a topic stays after its last viewer: a reload of the page finds it warm."""
_STALE_AFTER_S: Final = 5.0
_CLOSING_S: Final = 3.0
"""How long a client may take to answer a close frame."""
_FRAME_S: Final = 10.0
"""How long a client may take to send a frame that it has begun."""
_MAX_IDLE_BEATS: Final = 4
_limited = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)


class Socket(Viewer, Protocol):
    """What the hub needs of a socket beyond what its topics need."""

    sessions: dict[str, Session]
    closing_since: float
    """Loop time at which a close frame was sent, 0 while open."""
    partial_since: float
    """Loop time at which a frame began that is not whole yet, 0 when there is none."""
    idle_beats: int
    """How many heartbeats have come while it was interested in nothing; the first may have passed it over."""
    unsent: bytes
    """The head of its answer, which leaves with the first message."""

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake."""

    def goodbye(self, retry_after_ms: int, reason: str) -> None:
        """Sends the viewer to another node."""

    def abort(self) -> None:
        """Ends the connection at once."""


class Finite(Protocol):
    """A viewer that waits for nothing more once a run has ended."""

    def run_ended(self, test_id: str) -> None:
        """The run has ended, and viewers that are live have its last event. Said again and again."""


class PendingRequest(Protocol):
    """An HTTP connection whose request is not whole."""

    def too_late(self) -> None:
        """Ends it."""


class Snapshots(Protocol):
    """Where the hub looks for a run's snapshot."""

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest one known on this node, or None."""


class HubStatistics(NamedTuple):
    """The fan-out of one node in numbers."""

    topics: int
    sockets: int
    streams: int
    """Of these, streams of server-sent events."""
    live: int
    """Sessions that share their topic's position."""
    behind: int
    """Sessions that catch up: they join, resume or are slow."""
    gaps: int
    """How often live events were missing, since the start."""
    gaps_repaired: int
    """How many of these gaps were closed, or have no viewer any more."""
    oldest_behind_s: float
    """For how long the session has been behind that has been so for longest; 0 while none is."""
    ring_bytes: int
    pending_requests: int
    stale: bool


class Hub:
    """All topics and sockets of one node. All calls from the loop."""

    def __init__(self, log: EventLog, config: EdgeConfig, snapshots: Snapshots) -> None:
        self.log = log
        self._loop = asyncio.get_running_loop()
        self.time: Final = self._loop.time
        """The loop's clock, seconds. To look the loop up costs a system call (`getpid`, before Python 3.12)."""
        self.figures = FanoutFigures(time.monotonic)
        self.socket_figures = SocketFigures()
        self.unreadable = UnreadableEvents(asyncio.get_running_loop().time)
        self.replay = Replay(log, self.unreadable.note)
        self.write_all = way_to_write(config.io_uring)
        self.epoch = ""
        self.stale = False
        self.last_seq = 0
        self.on_disproved: list[Callable[[str, int], None]] = []
        """Each is called with a run of which a forged live event was believed, and its newest sequence."""
        self.config = config
        self.topics: dict[str, Topic] = {}
        self.sockets: set[Socket] = set()
        self.pending: dict[PendingRequest, float] = {}
        """HTTP connections with a request under way, and the loop time by which it must be whole."""
        self.finite: dict[str, set[Finite]] = {}
        """Viewers that leave a run when it has ended, by test id."""
        self.listeners: Sequence[Container[object]] = ()
        """Sockets that follow the list of tests or pictures, and so are interested in something."""
        self.proofs = OpenProofs()
        """When the proofs of its sockets end."""
        self._snapshots = snapshots
        self._leader_at = asyncio.get_running_loop().time()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._checking = False
        log.on_reconnect.append(self._on_reconnect)

    def __repr__(self) -> str:
        state = "stale" if self.stale else "current"
        return f"<Hub topics={len(self.topics)} sockets={len(self.sockets)} {state} {self.replay!r}>"

    def statistics(self) -> HubStatistics:
        """The node's fan-out as it is now. Runs of probes do not count."""
        viewed = [topic for topic in self.topics.values() if not is_probe_id(topic.test_id)]
        topics = [topic.statistics() for topic in viewed]
        now = self._loop.time()
        since = min((each.behind_since for topic in viewed for each in topic.behind), default=now)
        closed = self.figures.gaps
        return HubStatistics(
            topics=len(topics),
            sockets=len(self.sockets),
            streams=sum(socket.encoding.name != "websocket" for socket in self.sockets),
            live=sum(topic.live for topic in topics),
            behind=sum(topic.behind for topic in topics),
            gaps=closed + sum(topic.gaps for topic in topics),
            gaps_repaired=closed + sum(topic.repaired for topic in topics),
            oldest_behind_s=now - since,
            ring_bytes=sum(topic.ring_bytes for topic in topics),
            pending_requests=len(self.pending),
            stale=self.stale,
        )

    @property
    def stale_for_s(self) -> float | None:
        """How long no leader has answered, seconds; None while one does, and for its first 5 s."""
        return asyncio.get_running_loop().time() - self._leader_at if self.stale else None

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known on this node."""
        return self._snapshots.snapshot(test_id)

    def known_head(self, test_id: str) -> int:
        """The newest event of a run as far as this node knows it; 0 for none."""
        topic, snapshot = self.topics.get(test_id), self.snapshot(test_id)
        return max(0 if topic is None else topic.order.received, 0 if snapshot is None else snapshot.seq)

    async def head(self, test_id: str) -> int:
        """The newest event of a run as the leader has it; 0: certainly there is none.

        Raises:
            BrokerUnavailable: no leader.
        """
        return await self.log.last(test_id) or await self.log.last(test_id, confirmed=True)

    def since(self, test_id: str, seq: int) -> list[Entry] | None:
        """All events of a run after `seq` that have come to this node; None when they are not all here."""
        topic = self.topics.get(test_id)
        return None if topic is None else topic.since(seq)

    # -- viewers -------------------------------------------------------------------------------------------------

    def subscribe(self, viewer: Viewer, test_id: str, asked: Position | None) -> Session:
        """Adds a viewer to a test's topic, which is opened when the viewer is the first on this node."""
        topic = self.topics.get(test_id)
        if topic is not None and topic.state == "missing":
            self._drop(topic)
            topic = None
        if topic is None:
            kind = TracedTopic if tracing.on else Topic
            topic = self.topics[test_id] = kind(
                test_id,
                self,
                progress_interval_s=self.config.progress_interval_s,
                high_water_bytes=self.config.high_water_bytes,
                on_quiet=self._on_quiet,
                figures=FanoutFigures(time.monotonic) if is_probe_id(test_id) else self.figures,
            )
        return topic.add(viewer, asked)

    def deleted(self, test_id: str) -> None:
        """A run was deleted: nothing of it is kept here, and its viewers are told that there is no such test."""
        self.replay.forget(test_id)
        topic = self.topics.get(test_id)
        if topic is not None:
            topic.on_missing("deleted")
            self._drop(topic)

    def leaves_at_end(self, viewer: Finite, test_id: str) -> None:
        """The viewer is told of the run's end until it has left (`stays`)."""
        self.finite.setdefault(test_id, set()).add(viewer)

    def stays(self, viewer: Finite, test_id: str) -> None:
        """The viewer is not told any more; harmless when it was not."""
        viewers = self.finite.get(test_id)
        if viewers is not None:
            viewers.discard(viewer)
            if not viewers:
                del self.finite[test_id]

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Runs a background task that no caller awaits."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- sweeps --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Heartbeats, leader checks, deadlines, topics without viewers; until cancelled."""
        loop = asyncio.get_running_loop()
        next_idle_sweep = loop.time() + self.config.heartbeat_s
        while True:
            await asyncio.sleep(_TICK_S)
            now = loop.time()
            try:
                self._sweep_topics(now)
                self._sweep_deadlines(now)
                self.proofs.sweep()
                if now >= next_idle_sweep:
                    next_idle_sweep = now + self.config.heartbeat_s
                    self._sweep_idle_sockets()
            except Exception:  # what is wrong with one must not end the heartbeats and checks of all
                _limited.warning("a sweep failed", exc_info=True)
            if not self._checking:
                self.spawn(self._check_leader(now))

    async def close(self) -> None:
        """Closes every topic."""
        self.log.on_reconnect.remove(self._on_reconnect)
        self.replay.close()
        for task in tuple(self._tasks):
            task.cancel()
        for topic in tuple(self.topics.values()):
            await topic.close()

    def _sweep_topics(self, now: float) -> None:
        for topic in tuple(self.topics.values()):
            if topic.behind:
                topic.pump_all()
            if topic.test_id in self.finite and topic.ended and not topic.live.sending:
                for each in tuple(self.finite[topic.test_id]):
                    each.run_ended(topic.test_id)
            if topic.live:
                if now - topic.sent_at >= self.config.heartbeat_s:
                    topic.heartbeat()
            elif not topic.behind and now - topic.idle_since >= _LINGER_S:
                self._drop(topic)

    def _sweep_deadlines(self, now: float) -> None:
        """Ends what is only half there: requests, frames, closing handshakes."""
        for request in [each for each, deadline in self.pending.items() if now > deadline]:
            request.too_late()
        for socket in [each for each in self.sockets if each.closing_since or each.partial_since]:
            if socket.closing_since and now - socket.closing_since > _CLOSING_S:
                self.socket_figures.dropped("close_unanswered")
                socket.abort()
            elif not socket.closing_since and now - socket.partial_since > _FRAME_S:
                self.socket_figures.dropped("half_frame")
                socket.close(POLICY, f"a frame that has begun must be whole within {_FRAME_S:g} s")

    def _sweep_idle_sockets(self) -> None:
        """A socket without a live session gets no topic's heartbeat; one that is interested in nothing is closed."""
        beats: dict[Encoding, bytes] = {}
        for socket in tuple(self.sockets):
            if socket.closing_since or any(session.live is not None for session in socket.sessions.values()):
                continue
            if socket.unsent and not socket.idle_beats:
                socket.idle_beats = 1  # it has just come, and what it is answered is not decided yet
                continue
            if not socket.sessions and not any(socket in each for each in self.listeners):
                socket.idle_beats += 1
                if socket.idle_beats > _MAX_IDLE_BEATS:
                    self.socket_figures.dropped("nothing_subscribed")
                    socket.close(POLICY, "nothing was subscribed to")
                    continue
            if socket.waiting() == 0:
                encoding = socket.encoding
                if encoding not in beats:
                    beats[encoding] = encoding.control("heartbeat", stale=self.stale or None)
                socket.write(beats[encoding])

    def _on_quiet(self, topic: Topic) -> None:
        if topic.state == "missing":
            self._drop(topic)

    def _drop(self, topic: Topic) -> None:
        if self.topics.get(topic.test_id) is topic:
            del self.topics[topic.test_id]
            topic.figures.gaps += topic.order.gaps
            self.replay.forget(topic.test_id)
        self.spawn(topic.close())

    def _on_reconnect(self) -> None:
        for topic in self.topics.values():
            topic.reconnected()

    # -- the leader check ----------------------------------------------------------------------------------------

    async def _check_leader(self, now: float) -> None:
        """Asks the leader for events that may have been missed: after a splice, and where it has been quiet."""
        due = [topic for topic in self.topics.values() if topic.check_due(now)][:MAX_HEADS]
        if not due and self.epoch and now - self._leader_at < LEADER_CHECK_EVERY_S:
            return
        self._checking = True
        try:
            self._verify(due, await self.ask_leader(due), now)
        except (BrokerUnavailable, BrokerRefused) as error:
            if now - self._leader_at > _STALE_AFTER_S and not self.stale:
                self.stale = True
                _limited.warning("no leader answers, viewers may see old data: %s", error)
        finally:
            self._checking = False

    async def ask_leader(self, due: Sequence[Topic] = ()) -> Heads:
        """Learns the stream's epoch and newest sequences from its leader; a new epoch restarts every topic.

        Raises:
            BrokerUnavailable: no leader.
        """
        heads = await self.log.heads([topic.test_id for topic in due])
        self._leader_at, self.stale, self.last_seq = asyncio.get_running_loop().time(), False, heads.last_seq
        if self.epoch != heads.epoch:
            self.unreadable.forget()
        self.epoch = heads.epoch
        for topic in self.topics.values():
            topic.order.believe(heads.last_seq)
            if topic.epoch not in ("", heads.epoch):
                _limited.warning("the event stream was deleted and made again: every viewer is reset")
                topic.restart()
        return heads

    def _verify(self, due: Sequence[Topic], heads: Heads, asked_at: float) -> None:
        if heads.newest is None:
            return  # the answering replica lags behind its leader: asked again at the next tick
        now = asyncio.get_running_loop().time()
        for topic in due:
            newest = heads.newest.get(topic.test_id, 0)
            topic.verify(newest, (heads.bodies or {}).get(topic.test_id), asked_at)
            topic.check_at = now + LEADER_CHECK_EVERY_S

    def disproved(self, test_id: str, newest: int) -> None:
        """Called when a live event was found to be forged: whoever has used it is told."""
        self.figures.forged += 1
        for each in self.on_disproved:
            each(test_id, newest)
