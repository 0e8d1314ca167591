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
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Literal, Protocol

import msgspec

from broker.contract.errors import BrokerRefused, BrokerUnavailable, NotFound
from broker.contract.ports import EventLog, Interest, LiveEvent, Page
from broker.contract.position import Outcome, Position, Reason, decide, link
from broker.contract.snapshot import Snapshot
from broker.jetstream import runs
from broker.log import RateLimited
from ws_edge.encoding import websocket as frames
from ws_edge.fanout.replay import Replay, ReplayPage
from ws_edge.fanout.ring import Entry, Ring, Stretches, entry_of
from ws_edge.fanout.session import LiveSessions, Looked, Session, Viewer
from ws_edge.fanout.throttle import Throttle

State = Literal["opening", "sound", "repairing", "missing", "closed"]

_MAX_HELD: Final = 4096
"""Live events kept while a gap is read from the stream; beyond it they are read from there too."""
_PAGE: Final = 500
_RETRY_S: Final = 0.25
_LAG_S: Final = 0.05
"""A replica that lags behind its leader gets this long before it is asked again."""
_limited = RateLimited(logging.getLogger("testcast.edge"), per_s=10.0)


class Services(Protocol):
    """What a topic needs of its node."""

    @property
    def log(self) -> EventLog:
        """The event log of this node's connection."""

    replay: Replay
    epoch: str
    """This life of the stream; empty until the broker has been asked."""
    stale: bool
    """No leader has answered for a while: what is shown may be old."""

    def snapshot(self, test_id: str) -> Snapshot | None:
        """The newest snapshot known here."""


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
        self.live = LiveSessions()
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
        self._first = 0
        """The event that was taken when nothing was retained before it; 0: not known to be so of any."""
        self._stretches = Stretches()
        self._synced: tuple[object, bytes] = (None, b"")
        self._throttle: Throttle[Entry] = Throttle(progress_interval_s)
        self._throttle_timer: asyncio.TimerHandle | None = None
        self._high_water_bytes = high_water_bytes
        self._outbox: list[Entry] = []
        self._held: list[LiveEvent] = []
        self._interest: Interest | None = None
        self._fallback: Snapshot | None = None
        self._repairing: asyncio.Task[None] | None = None
        self._exists = False
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
        if self.state == "sound":
            self.pump(session)
        return session

    def remove(self, session: Session) -> None:
        """The viewer has gone."""
        self.live.discard(session)
        self.behind.discard(session)
        if not self.live and not self.behind:
            self.idle_since = self._loop.time()
            self._on_quiet(self)

    def pump(self, session: Session) -> None:
        """Writes what a session lacks, until its socket is full or it is current. Called whenever that may go on."""
        if session not in self.behind or session.reading or self.state in ("opening", "missing", "closed"):
            return
        out: list[bytes] = []
        full = self._advance(session, out)
        if out:
            session.viewer.write(b"".join(out))
        if full:  # the kernel may take it all in this very turn
            self._loop.call_soon(self._pump_again, session)
        elif session.settled and session.cursor == self.head:  # only now: what was written may have to wait
            self.behind.discard(session)
            self.live.add(session)

    def _pump_again(self, session: Session) -> None:
        if session in self.behind and session.viewer.transport.get_write_buffer_size() <= self._high_water_bytes // 2:
            self.pump(session)

    def _advance(self, session: Session, out: list[bytes]) -> bool:
        """Adds to `out` what comes next, until there is nothing more, or something has to be read first: False; or
        until it is as much as the socket should hold: True."""
        room = self._high_water_bytes // 2 - session.viewer.transport.get_write_buffer_size()
        while room >= 0:
            before = len(out)
            if not session.settled:
                if not self._settle(session, out):
                    return False
            elif session.cursor >= self.head:
                return False  # past the head: another edge's pace was ahead of ours, and the next flush comes by here
            elif session.cursor >= self._ring.after:
                self._add_stretch(session, self._ring.entries, out)
            else:
                retained = self._retained(session, session.cursor)
                if retained is None:
                    return False
                if session.cursor and not retained:
                    out.append(self._sync("reset", "expired"))
                    session.cursor = 0
                elif page := self._services.replay.cached(self.test_id, session.cursor):
                    self._add_stretch(session, page.entries, out)
                elif session.looked is not None:  # nothing behind it is retained any more
                    session.cursor = min(self.head, session.looked.tail)
            room -= sum(map(len, out[before:]))
        return True

    def _add_stretch(self, session: Session, entries: list[Entry], out: list[bytes]) -> None:
        frame, cursor = self._stretches.frame(entries, session.cursor, self.head)
        # Nothing up to the head although the stretch goes on behind it: what was there is not retained any more.
        session.cursor = cursor if cursor > session.cursor else self.head
        if frame:
            out.append(frame)

    def _settle(self, session: Session, out: list[bytes]) -> bool:
        """Decides a resume and adds its `sync`; False when something has to be read first."""
        asked, retained = session.asked, True
        if asked is not None and asked.seq and asked.epoch in (None, self.epoch):
            if asked.seq > self.tail and session.looked is None:
                self._start(self._look)
                return False
            if asked.seq < self._first:
                retained = False
            elif asked.seq < self._ring.after:
                known = self._retained(session, asked.seq)
                if known is None:
                    return False
                retained = known
        decision = decide(asked, self.epoch, self.tail, retained=retained)
        session.settled, session.cursor = True, decision.after
        out.append(self._sync(decision.outcome, decision.reason))
        return True

    def _retained(self, session: Session, seq: int) -> bool | None:
        """Whether the event at `seq`, which the ring does not reach back to, is retained; None: a read is under way."""
        page, looked = self._services.replay.cached(self.test_id, seq), session.looked
        if page is not None:
            retained = page.holds(seq)
        elif looked is not None and looked.newest <= seq < looked.tail:
            retained = looked.newest == seq
        else:
            self._read_page(session, seq)
            return None
        if not retained:  # nor is anything before it, whatever a page of earlier times says
            self._services.replay.forget(self.test_id, seq)
        return retained

    def _sync(self, outcome: Outcome, reason: Reason | None) -> bytes:
        """The frame; built once for all who join at the same point."""
        snapshot = self._services.snapshot(self.test_id) or self._fallback
        point = (outcome, reason, self.epoch, self.head, self._services.stale, snapshot)
        if point != self._synced[0]:
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
            self._synced = (point, frame)
        return self._synced[1]

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

    def since(self, seq: int) -> list[Entry] | None:
        """All events behind `seq` that have come, released or not; None when they are not all at hand."""
        if self.state != "sound" or self.epoch != self._services.epoch or seq < self._ring.after:
            return None
        return [entry for entry in (*self._ring.since(seq), *self._outbox, *self._throttle.held) if entry.seq > seq]

    def on_live(self, _test_id: str, event: LiveEvent) -> None:
        """Takes a live event. Called in the broker connection's reading loop."""
        if self.state == "sound":
            seq, predecessor, raw = event
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
            self._held.append(event)

    def _take(self, seq: int, raw: bytes) -> None:
        """The next event in order."""
        if not self.tail:
            self._first = seq
        self.tail = seq
        self.taken_at = now = self._loop.time()
        entry = entry_of(self.test_id, seq, raw)
        self._release(self._throttle.offer(entry, entry.kind, now))
        if self._throttle.due is not None and self._throttle_timer is None:
            self._throttle_timer = self._loop.call_at(self._throttle.due, self._on_window_end)

    def _on_window_end(self) -> None:
        self._throttle_timer = None
        self._release(self._throttle.expire(self._loop.time()))
        if self._throttle.due is not None:
            self._throttle_timer = self._loop.call_at(self._throttle.due, self._on_window_end)

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
        self._stretches.clear()
        bodies = [entry.body for entry in entries if entry.body]
        if bodies:
            refused = self.live.offer(frames.joined(bodies), self._high_water_bytes)
            self.sent_at = self._loop.time()
            for session in refused:
                self.live.discard(session)
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
        self.live.offer(frame, self._high_water_bytes)
        self.sent_at = self._loop.time()

    # -- repair --------------------------------------------------------------------------------------------------

    def verify(self, newest: int) -> None:
        """The stream's newest event of this run, as the leader vouches for it: one that we lack is read."""
        if newest > self.tail and self.state == "sound":
            self.gaps += 1
            self.state = "repairing"
            self._start(partial(self._catch_up, newest))

    def reconnected(self) -> None:
        """The broker was away: whatever was published meanwhile has to be read."""
        if self.state == "sound":
            self.state = "repairing"
            self._start(self._catch_up)

    def restart(self) -> None:
        """The stream is another one now: everything known is void, every viewer is told `reset epoch`."""
        if self.state in ("missing", "closed"):
            return
        self._resume_all(0)
        self.epoch = ""
        self._held.clear()
        if self._repairing is not None:
            self._repairing.cancel()
            self._repairing = None
        self.state = "opening"
        self._start(self._open)

    async def close(self) -> None:
        """Gives up the interest. The topic is of no more use."""
        self.state = "closed"
        if self._repairing is not None:
            self._repairing.cancel()
        if self._throttle_timer is not None:
            self._throttle_timer.cancel()
        if self._interest is not None:
            await self._interest.close()

    def _resume_all(self, tail: int) -> None:
        """What is held here does not lead on to what comes next: every viewer resumes, from where it is."""
        for session in self.live:
            session.cursor = self.head
        self.behind.update(self.live)
        self.live.clear()
        for session in self.behind:
            if session.settled:
                session.asked = Position(self.epoch, session.cursor)
            session.settled, session.looked, session.reading = False, None, False
        self._services.replay.forget(self.test_id)
        self._forget_events(tail)

    def _forget_events(self, tail: int) -> None:
        self.tail = self.head = tail
        self._first = 0
        self._ring.clear(tail)
        self._stretches.clear()
        self._outbox.clear()
        self._fallback = None
        self._throttle = Throttle(self._throttle.interval_s)
        if self._throttle_timer is not None:
            self._throttle_timer.cancel()
            self._throttle_timer = None

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
        """The splice: interest first, then the newest sequence; live events wait in between."""
        log = self._services.log
        if self._interest is None:
            self._interest = await log.follow(self.test_id, self.on_live)
        await self._interest.confirm()
        epoch = self._services.epoch or (await log.heads()).epoch
        self._held.clear()  # what has come until now, the answer takes in
        last = await log.last(self.test_id)
        if not last and not self._exists:
            last = await log.last(self.test_id, confirmed=True)
        if not last and not self._exists:
            self._declare_missing()
            return
        self._exists = True
        self._forget_events(last)
        self.epoch = epoch
        if last and self._services.snapshot(self.test_id) is None:
            with contextlib.suppress(NotFound):
                self._fallback = (await runs.read(log, self.test_id)).snapshot
        self._let_held_through()

    def _declare_missing(self) -> None:
        self.state = "missing"
        for session in tuple(self.behind):
            self.remove(session)
            session.viewer.session_missing(session)

    async def _catch_up(self, newest: int = 0) -> None:
        """Reads what was missed, in order, until nothing is known of that was not taken.

        Args:
            newest: what the leader says is the last event.
        """
        log = self._services.log
        while True:
            # From the tail itself on: only where that is still there is it certain that nothing is gone behind it.
            page = await log.read(self.test_id, max(0, self.tail - 1), _PAGE)
            self._take_page(page)
            if not page.complete:
                continue
            self._let_held_through()
            if self.state == "sound" and self.tail >= newest:
                return
            self.state = "repairing"
            await asyncio.sleep(_LAG_S)
            asked_of = len(self._held)
            newest = await log.last(self.test_id, confirmed=True)
            # A live event that the leader has not: gone already, or never the stream's.
            self._held[:asked_of] = [each for each in self._held[:asked_of] if each.seq <= newest]

    def _take_page(self, page: Page) -> None:
        if page.events and 0 < self.tail < page.events[0].seq:
            self._resume_all(page.events[0].seq - 1)
        for message in page.events:
            if message.seq > self.tail:
                self._take(message.seq, message.data)

    def _let_held_through(self) -> None:
        """Ends a splice or a catch-up: what was held is next, or old, or shows that there is more to read."""
        self.state = "sound"
        self.settle_at = self._loop.time() + 0.25
        held, self._held = self._held, []
        gaps = self.gaps
        for event in held:
            self.on_live(self.test_id, event)
        self.gaps = gaps

    async def _look(self) -> None:
        """Asks the leader: for a position past all that is known here, or events that a read did not find.

        The answer may be a `reset`, so it has to be certain: a leader that has been replaced and does not know it lacks
        what its successor has stored, and would have viewers throw good positions away.
        """
        asking, tail = tuple(self.behind), self.tail
        newest = await self._services.log.last(self.test_id, confirmed=True)
        if newest > self.tail:
            self.state = "repairing"
            await self._catch_up(newest)
            return
        for session in asking:
            session.looked = Looked(newest, tail)
        await asyncio.sleep(_LAG_S)
