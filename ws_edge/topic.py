"""A topic: an edge's view of one test, and the sessions of its viewers (DESIGN 5). The spine of the fan-out.

Two numbers: `tail`, the newest event taken from the broker, and `head`, the newest one *released* to viewers (progress
may be held back by the pace). A session is either live (it shares the topic's head and costs nothing) or behind (it has
a cursor of its own). Joining, resuming and being slow are one thing: being behind, and catching up from the ring or,
beyond it, from the stream.

Nothing here awaits a viewer. The only coroutines are the one that opens the topic or closes a gap (`_repair`), at most
one per topic, and the reads in `replay`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, Protocol

import msgspec

from broker import runs, subjects
from broker.bus import Bus, Message, Subscription
from broker.errors import BrokerRefused, BrokerUnavailable
from broker.log import RateLimited
from broker.position import Outcome, Position, Reason, decide, link
from broker.snapshot import Snapshot
from broker.streams import Streams
from ws_edge import frames
from ws_edge.entries import Entry, Ring, entry_of, stretch
from ws_edge.pacing import Pacer
from ws_edge.replay import Replay, ReplayPage

State = Literal["opening", "sound", "repairing", "missing", "closed"]

_MAX_HELD: Final = 4096
"""Live events kept while a gap is read from the stream; beyond it they are read from there too."""
_CHUNK_BYTES: Final = 32 * 1024
"""A replay is written in pieces of about this much, so that the high-water mark means something."""
_PAGE: Final = 500
_RETRY_S: Final = 0.25
_limited = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)


class Viewer(Protocol):
    """What a topic needs of a socket. None of it blocks, none of it raises."""

    @property
    def transport(self) -> asyncio.Transport:
        """Where frames are written; only while the session stands."""

    def session_missing(self, session: Session) -> None:
        """The test does not exist. The session has been removed already."""


class Services(Protocol):
    """What a topic needs of its node."""

    bus: Bus
    streams: Streams
    replay: Replay
    epoch: str
    """This life of the stream; empty until the broker has been asked."""
    stale: bool
    """No leader has answered for a while: what is shown may be old."""

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here."""


class Session:
    """One viewer's interest in one topic."""

    __slots__ = ("asked", "cursor", "looked", "reading", "settled", "topic", "viewer")

    def __init__(self, topic: Topic, viewer: Viewer, asked: Position | None) -> None:
        self.topic = topic
        self.viewer = viewer
        self.asked = asked
        self.cursor = 0
        """Everything up to here has been written to the socket; only meaningful while behind."""
        self.settled = False
        """The resume has been decided and its `sync` written."""
        self.looked = False
        """The leader was asked because the position is past all that is known here."""
        self.reading = False
        """A page is being read for it."""

    def close(self) -> None:
        """Ends it; harmless when it has ended."""
        self.topic.remove(self)


class Topic:
    """One test on this node."""

    def __init__(
        self,
        test_id: str,
        services: Services,
        *,
        progress_interval_s: float,
        high_water_bytes: int,
        on_quiet: Callable[[Topic], None],
    ) -> None:
        self.test_id = test_id
        self.state: State = "opening"
        self.epoch = ""
        """The life of the stream that `tail` and `head` belong to; empty until opened."""
        self.tail = 0
        self.head = 0
        self.live: dict[Session, asyncio.Transport] = {}
        self.behind: set[Session] = set()
        self.sent_at = 0.0
        """When something last went out to all live sessions, loop time."""
        self.taken_at = 0.0
        """When an event was last taken, loop time."""
        self.idle_since = 0.0
        """Since when it has no session, loop time."""
        self.settle_at = 0.0
        """When to ask the leader whether anything was missed, loop time."""
        self.gaps = 0
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._ring = Ring(0)
        self._pacer: Pacer[Entry] = Pacer(progress_interval_s)
        self._pace_timer: asyncio.TimerHandle | None = None
        self._high_water_bytes = high_water_bytes
        self._outbox: list[Entry] = []
        self._held: list[tuple[int, int, bytes]] = []
        self._subscription: Subscription | None = None
        self._fallback: Snapshot | None = None
        self._repairing: asyncio.Task[None] | None = None
        self._on_quiet = on_quiet
        self._start(self._open)

    def __repr__(self) -> str:
        sessions = f"live={len(self.live)} behind={len(self.behind)}"
        return f"<Topic {self.test_id} {self.state} tail={self.tail} head={self.head} {sessions} gaps={self.gaps}>"

    # -- viewers -------------------------------------------------------------------------------------------------

    def add(self, viewer: Viewer, asked: Position | None) -> Session:
        """A viewer joins or resumes. It is behind until it has all there is."""
        session = Session(self, viewer, asked)
        self.behind.add(session)
        self._loop.call_soon(self.pump, session)
        return session

    def remove(self, session: Session) -> None:
        """The viewer has gone."""
        self.live.pop(session, None)
        self.behind.discard(session)
        if not self.live and not self.behind:
            self.idle_since = self._loop.time()
            self._on_quiet(self)

    def pump(self, session: Session) -> None:
        """Writes what a session lacks, until its socket is full or it is current. Called whenever that may go on."""
        if session not in self.behind or session.reading or self.state in ("opening", "missing", "closed"):
            return
        transport = session.viewer.transport
        while transport.get_write_buffer_size() <= self._high_water_bytes // 2:
            if not session.settled:
                if not self._settle(session):
                    return
            elif session.cursor >= self.head:
                if session.cursor == self.head:
                    self.behind.discard(session)
                    self.live[session] = transport
                return  # past the head: another edge's pace was ahead of ours, and the next flush comes by here
            elif session.cursor >= self._ring.after:
                self._write_stretch(session, self._ring.entries)
            else:
                page = self._services.replay.cached(self.test_id, session.cursor)
                if page is None:
                    self._read_page(session, session.cursor)
                    return
                if session.cursor and not page.holds(session.cursor):
                    self._sync(session, "reset", "expired")
                    session.cursor = 0
                else:
                    self._write_stretch(session, page.entries)
        self._loop.call_soon(self._pump_again, session)  # the kernel may take it all in this very turn

    def _pump_again(self, session: Session) -> None:
        if session in self.behind and session.viewer.transport.get_write_buffer_size() <= self._high_water_bytes // 2:
            self.pump(session)

    def _write_stretch(self, session: Session, entries: list[Entry]) -> None:
        bodies, cursor = stretch(entries, session.cursor, self.head, _CHUNK_BYTES)
        # Nothing up to the head although the stretch goes on behind it: what was there is not retained any more.
        session.cursor = cursor if cursor > session.cursor else self.head
        if bodies:
            session.viewer.transport.write(frames.joined(bodies))

    def _settle(self, session: Session) -> bool:
        """Decides a resume and writes its `sync`; False when something has to be read first."""
        asked, retained = session.asked, True
        if asked is not None and asked.seq and asked.epoch in (None, self.epoch):
            if asked.seq > self.tail and not session.looked:
                self._start(self._look)
                return False
            if self._ring.after > asked.seq:
                page = self._services.replay.cached(self.test_id, asked.seq)
                if page is None:
                    self._read_page(session, asked.seq)
                    return False
                retained = page.holds(asked.seq)
        decision = decide(asked, self.epoch, self.tail, retained=retained)
        session.settled, session.cursor = True, decision.after
        self._sync(session, decision.outcome, decision.reason)
        return True

    def _sync(self, session: Session, outcome: Outcome, reason: Reason | None) -> None:
        snapshot = self._services.snapshot(self.test_id) or self._fallback
        frame = frames.control(
            "sync",
            testId=self.test_id,
            outcome=outcome,
            reason=reason,
            epoch=self.epoch,
            head=self.head,
            stale=self._services.stale or None,
            snapshot=None if snapshot is None else msgspec.to_builtins(snapshot),
        )
        session.viewer.transport.write(frame)

    def _read_page(self, session: Session, cursor: int) -> None:
        session.reading = True

        def on_page(page: ReplayPage) -> None:
            session.reading = False
            if session not in self.behind:
                return
            if page.last > cursor:
                self.pump(session)
            else:  # a lagging replica, or events that are gone: the leader knows
                self._start(self._look)

        self._services.replay.request(self.test_id, cursor, on_page)

    # -- events --------------------------------------------------------------------------------------------------

    def on_live(self, message: Message) -> None:
        """Takes a republished event. Called in the broker connection's reading loop."""
        seq, predecessor = message.header(b"Nats-Sequence"), message.header(b"Nats-Last-Sequence")
        if seq is None or predecessor is None:
            return  # not from the stream: somebody published here directly
        self._offer(int(seq), int(predecessor), message.data)

    def _offer(self, seq: int, predecessor: int, raw: bytes) -> None:
        if self.state == "sound":
            position = link(self.tail, seq, predecessor)
            if position == "next":
                self._take(seq, raw)
                return
            if position == "old":
                return
            self.gaps += 1
            self.state = "repairing"
            self._start(self._catch_up)
        if len(self._held) < _MAX_HELD:
            self._held.append((seq, predecessor, raw))

    def _take(self, seq: int, raw: bytes) -> None:
        """The next event in order."""
        self.tail = seq
        self.taken_at = now = self._loop.time()
        entry = entry_of(self.test_id, seq, raw)
        self._release(self._pacer.offer(entry, entry.kind, now))
        if self._pacer.due is not None and self._pace_timer is None:
            self._pace_timer = self._loop.call_at(self._pacer.due, self._on_pace)

    def _on_pace(self) -> None:
        self._pace_timer = None
        self._release(self._pacer.expire(self._loop.time()))
        if self._pacer.due is not None:
            self._pace_timer = self._loop.call_at(self._pacer.due, self._on_pace)

    def _release(self, entries: list[Entry]) -> None:
        if entries:
            if not self._outbox:
                self._loop.call_soon(self._flush)
            self._outbox.extend(entries)

    def _flush(self) -> None:
        """Writes what this turn of the loop has released: joined, encoded once, to every live session."""
        entries, self._outbox = self._outbox, []
        if not entries:
            return
        before, self.head = self.head, entries[-1].seq
        self._ring.extend(entries)
        bodies = [entry.body for entry in entries if entry.body]
        if bodies:
            frame = frames.joined(bodies)
            high_water = self._high_water_bytes
            fallen: list[Session] = []
            for session, transport in self.live.items():
                if transport.get_write_buffer_size() > high_water:
                    fallen.append(session)
                else:
                    transport.write(frame)
            self.sent_at = self._loop.time()
            for session in fallen:
                del self.live[session]
                session.cursor = before
                self.behind.add(session)
        self.pump_all()

    def pump_all(self) -> None:
        """Lets everybody who is behind go on."""
        for session in tuple(self.behind):
            self.pump(session)

    def heartbeat(self) -> None:
        """Tells every live session that nothing has happened, and up to where."""
        frame = frames.control("heartbeat", testId=self.test_id, head=self.head, stale=self._services.stale or None)
        for transport in self.live.values():
            if transport.get_write_buffer_size() <= self._high_water_bytes:
                transport.write(frame)
        self.sent_at = self._loop.time()

    # -- repair --------------------------------------------------------------------------------------------------

    def verify(self, newest: int) -> None:
        """The stream's newest event of this run, as the leader vouches for it: one that we lack is read."""
        if newest > self.tail and self.state == "sound":
            self.gaps += 1
            self.state = "repairing"
            self._start(self._catch_up)

    def reconnected(self) -> None:
        """The broker was away: whatever was published meanwhile has to be read."""
        if self.state == "sound":
            self.state = "repairing"
            self._start(self._catch_up)

    def restart(self) -> None:
        """The stream is another one now: everything known is void, every viewer is told `reset epoch`."""
        if self.state in ("missing", "closed"):
            return
        for session in (*self.live, *self.behind):
            if session.settled:
                session.settled, session.looked = False, False
                session.asked = Position(self.epoch, 1)
            self.behind.add(session)
        self.live.clear()
        self._forget_events(0)
        self._services.replay.forget(self.test_id)
        if self._repairing is not None:
            self._repairing.cancel()
            self._repairing = None
        was_open, self.state = self.state != "opening", "opening"
        self._start(self._reopen if was_open else self._open)

    async def close(self) -> None:
        """Gives up the interest. The topic is of no more use."""
        self.state = "closed"
        if self._repairing is not None:
            self._repairing.cancel()
        if self._pace_timer is not None:
            self._pace_timer.cancel()
        if self._subscription is not None:
            await self._subscription.close()

    def _forget_events(self, tail: int) -> None:
        self.tail = self.head = tail
        self._ring.clear(tail)
        self._outbox.clear()
        self._held.clear()
        self._fallback = None
        self._pacer = Pacer(self._pacer.interval_s)
        if self._pace_timer is not None:
            self._pace_timer.cancel()
            self._pace_timer = None

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `work`, again and again while the broker is away; at most one at a time."""
        if self._repairing is None:
            self._repairing = self._loop.create_task(self._until_done(work), name=f"topic-{self.test_id}")

    async def _until_done(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
                break
            except (BrokerUnavailable, BrokerRefused) as error:
                _limited.warning("topic %s: %s", self.test_id, error)
            except Exception:  # a topic that stops repairing itself would lose events without a word
                _limited.warning("topic %s", self.test_id, exc_info=True)
            await asyncio.sleep(_RETRY_S)
        self._repairing = None
        if self.state == "repairing":  # found while another repair was under way
            self._start(self._catch_up)
        self.pump_all()

    async def _open(self) -> None:
        await self._read_head(may_be_missing=True)

    async def _reopen(self) -> None:
        await self._read_head(may_be_missing=False)

    async def _read_head(self, *, may_be_missing: bool) -> None:
        """The splice: interest first, then the newest sequence; live events wait in between."""
        if self._subscription is None:
            self._subscription = await self._services.bus.subscribe(subjects.live(self.test_id), self.on_live)
        await self._services.bus.flush()
        epoch = self._services.epoch or (await self._services.streams.state(subjects.EVENTS)).epoch
        last = await self._services.streams.last(subjects.EVENTS, subjects.events(self.test_id))
        if last is None and may_be_missing:
            self._declare_missing()
            return
        held = self._held
        self._forget_events(0 if last is None else last.seq)
        self._held = held
        self.epoch = epoch
        if last is not None and self._services.snapshot(self.test_id) is None:
            self._fallback = (await runs.read(self._services.streams, self.test_id)).snapshot
        await self._let_held_through()

    def _declare_missing(self) -> None:
        self.state = "missing"
        for session in tuple(self.behind):
            self.remove(session)
            session.viewer.session_missing(session)

    async def _catch_up(self) -> None:
        """Reads what was missed, in order, then lets the live events through that came meanwhile."""
        while True:
            page = await self._services.streams.read(subjects.EVENTS, subjects.events(self.test_id), self.tail, _PAGE)
            for message in page.messages:
                if message.seq > self.tail:
                    self._take(message.seq, message.data)
            if page.complete:
                break
        await self._let_held_through()

    async def _let_held_through(self) -> None:
        """Ends a splice or a catch-up: what was held is next, or old, or shows that the replica read lags behind."""
        self.state = "sound"
        held, self._held = self._held, []
        for seq, predecessor, raw in held:
            self._offer(seq, predecessor, raw)
        self.settle_at = self._loop.time() + 0.25
        if self.state != "sound":
            self.gaps -= 1
            await asyncio.sleep(0.05)  # the replica needs a moment; `_until_done` starts the next round

    async def _look(self) -> None:
        """Asks the leader: for a position past all that is known here, or events that a read did not find."""
        last = await self._services.streams.last(subjects.EVENTS, subjects.events(self.test_id))
        if last is not None and last.seq > self.tail:
            self.state = "repairing"
            await self._catch_up()
            return
        retained = 0 if last is None else last.seq
        for session in tuple(self.behind):
            # Behind by events that are not in the stream any more: there is nothing to catch up with.
            session.looked = True
            known = session.cursor if session.settled else (session.asked.seq if session.asked else 0)
            if retained <= known < self.head and not session.reading:
                self._sync(session, "reset", "expired")
                session.settled, session.cursor = True, self.head
        await asyncio.sleep(0.05)
